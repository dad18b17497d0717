"""One detector behind all requests: who may ask, what waits, what is answered."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from dnnlib.ahead import num_cores
from dnnlib.images import UnreadableImageError
from fingerprints.detection.detector import Finding
from fingerprints.handles import SOFT_BINDING
from gan_fingerprints.work.credentials import CredentialsOf
from service.answers import answer_of, error_of
from service.batching import Batcher, QueueFullError
from service.callers import ANONYMOUS_SCOPES, Keys, RateLimit, address_name
from service.feedback import Feedback
from service.fetching import FetchError, fetch
from service.judging import Basis, Judging, UnavailableError
from service.log_lines import write_waiting
from service.measuring import Measures
from service.middleware import LOG
from service.pictures import Picture
from service.receiving import Upload
from service.reporting import Reports
from service.resolution import Manifests
from service.settings import Settings


class Service:
    """One detector behind all requests, and what keeps count of them."""

    def __init__(self, judging: Judging, settings: Settings) -> None:
        """Nothing runs before `running`.

        Raises:
            UserError: the callers' keys or the feedback's file cannot be used.
        """
        limits = settings.limits
        self.judging = judging
        self.settings = settings
        self.measures = Measures()
        self.keys = Keys(settings.keys)
        self.manifests = Manifests(settings.manifests)
        self.alg = settings.c2pa_alg or SOFT_BINDING
        self.credentials = CredentialsOf(self.alg, settings.c2pa_anchors) if settings.c2pa else None
        self.feedback = None if settings.feedback is None else Feedback(settings.feedback)
        self.reports = None if settings.report_key is None else Reports(settings.report_key)
        self._rates = RateLimit()
        self._readers = ThreadPoolExecutor(num_cores(), "read")
        self._fetchers = ThreadPoolExecutor(4, "fetch")
        self.batcher: Batcher[Picture, tuple[Finding, Basis] | str] = Batcher(
            judging.judge,
            max_batch=limits.max_batch,
            max_wait=limits.max_wait,
            capacity=limits.queue,
            on_batch=self.measures.on_batch,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Judges, and looks at the registry, as long as the block lasts."""
        tasks = [asyncio.create_task(self.batcher.run()), asyncio.create_task(self._refresh())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.batcher.close()
            self._readers.shutdown()
            self._fetchers.shutdown(wait=False, cancel_futures=True)
            self.judging.close()

    async def _refresh(self) -> None:
        """Looks at the registry and at the callers' keys again and again."""
        problem = None
        while True:
            self.measures.is_ready.set(self.judging.problem is None)
            self.measures.registered.set(self.judging.basis.registered)
            await asyncio.sleep(self.settings.refresh)
            try:
                is_new = await asyncio.to_thread(self.judging.refresh)
                self.measures.refreshes.inc(is_new)
                self.keys.reload()
                self.manifests.reload()
                found = self.judging.problem
            except Exception as error:  # whatever it is, the next look may go well
                found = f"{type(error).__name__}: {error}"
            if found != problem:
                LOG.warning("registry or keys: %s", found or "well again")
            problem = found
            write_waiting()

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Ends a request that takes too long.

        Raises:
            HTTPException: 503.
        """
        seconds = self.settings.limits.timeout
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            self.measures.refused.labels("time-out").inc()
            raise HTTPException(
                503, f"not done within {seconds:g} s; try again", {"Retry-After": "5"}
            ) from error

    def admit(self, request: Request, scope: str, count: int = 1) -> None:
        """Lets a caller pass who may, and not too often.

        Raises:
            HTTPException: 401, 403 or 429.
        """
        per_minute = self.settings.limits.anonymous
        name = "address " + address_name(request.client.host if request.client else "")
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if kind:
            entry = self.keys.find(shown.strip()) if kind.lower() == "bearer" else None
            if entry is None:
                # Guesses count as requests of their address.
                self._take(name, 1, max(1, per_minute))
                raise HTTPException(401, "this key is not known", {"WWW-Authenticate": "Bearer"})
            if scope not in entry.scopes:
                raise HTTPException(403, f"this key is not for {scope}")
            name, per_minute = f"key {entry.name}", entry.per_minute
        elif scope not in ANONYMOUS_SCOPES or not per_minute:
            raise HTTPException(401, "this needs a key", {"WWW-Authenticate": "Bearer"})
        self._take(name, count, per_minute)

    def _take(self, name: str, count: int, per_minute: int) -> None:
        wait = self._rates.take(name, count, per_minute)
        if wait:
            raise self.refusal("rate", f"more than {per_minute} pictures a minute", wait)

    def refusal(self, reason: str, text: str, wait: int) -> HTTPException:
        """429, counted."""
        self.measures.refused.labels(reason).inc()
        return HTTPException(429, text, {"Retry-After": str(wait)})

    async def verify(self, uploads: Sequence[Upload]) -> list[dict[str, Any]]:
        """An answer on each file, in order.

        Raises:
            HTTPException: 429 if too many wait, 503 if the registry cannot be read.
        """
        try:
            with self.batcher.reserved(len(uploads)):
                self.measures.pending.set(self.batcher.pending)
                pictures = [await self._read(upload) for upload in uploads]
                good = [one for one in pictures if isinstance(one, Picture)]
                found = iter(await self.batcher.submit(good))
        except QueueFullError as error:
            wait = self.batcher.retry_after
            raise self.refusal("queue", "too many pictures wait", wait) from error
        except UnavailableError as error:
            LOG.error("no verdict: %s", error)
            raise HTTPException(
                503, "no verdict can be given now; try again", {"Retry-After": "5"}
            ) from error
        answers = []
        for upload, picture in zip(uploads, pictures, strict=True):
            result = next(found) if isinstance(picture, Picture) else picture
            if isinstance(result, str):
                self.measures.unreadable.inc()
                answers.append(error_of(upload.name, result))
                continue
            finding, basis = result
            assert isinstance(picture, Picture)
            answer = answer_of(upload.name, picture, finding, basis, self.settings.reveal)
            answer |= await self._credentials_of(upload, finding, basis)
            self.measures.on_verdict(answer["verdict"])
            answers.append(answer)
        self.measures.pending.set(self.batcher.pending)
        return answers

    async def report(self, upload: Upload) -> tuple[str, bytes]:
        """A file's hash, and a signed report on it.

        Raises:
            HTTPException: as `verify`; 404 if none are given, 400 if it cannot be read.
        """
        if self.reports is None:
            raise HTTPException(404, "this service gives no reports")
        (answer,) = await self.verify([upload])
        if "error" in answer:
            raise HTTPException(400, answer["error"])
        work = functools.partial(self.reports.document, answer, upload.content)
        document = await asyncio.get_running_loop().run_in_executor(self._readers, work)
        return answer["sha256"], document

    async def _credentials_of(
        self, upload: Upload, finding: Finding, basis: Basis
    ) -> dict[str, Any]:
        """What the picture says of itself, where that is read; and whether it is true."""
        if self.credentials is None:
            return {}
        owner = finding.fingerprint
        handle = None if owner is None else basis.handle_of(owner.id)
        work = functools.partial(self.credentials.read, upload.content)
        read = await asyncio.get_running_loop().run_in_executor(self._readers, work)
        return self.credentials.values(read, handle, finding.verdict.is_ours)

    async def _read(self, upload: Upload) -> Picture | str:
        """The picture; or why there is none."""
        pictures = self.judging.pictures
        if (later := pictures.later(upload.content)) is not None:
            return later
        work = functools.partial(pictures.read, upload.content)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        except UnreadableImageError as error:
            return str(error)

    async def fetched(self, body: bytes) -> Upload:
        """The picture at the address in `{"url": ...}`.

        Raises:
            HTTPException: 400 for what is no such text, 403 if addresses are not taken, 422 if it
                cannot be fetched.
        """
        if not self.settings.allow_urls:
            raise HTTPException(403, "this service takes no addresses; send the picture")
        try:
            url = json.loads(body)["url"]
            if not isinstance(url, str) or len(url) > 2000:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HTTPException(400, 'send {"url": "https://..."}') from error
        limits = self.settings.limits
        work = functools.partial(fetch, url, limits.max_bytes, limits.timeout / 2)
        try:
            content = await asyncio.get_running_loop().run_in_executor(self._fetchers, work)
        except FetchError as error:
            raise HTTPException(422, f"the address gives no picture: {error}") from error
        return Upload(None, content)
