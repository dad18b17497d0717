"""The application: what is answered at which path."""

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from dnnlib.ahead import num_cores
from dnnlib.errors import UserError
from dnnlib.images import UnreadableImageError
from fingerprints.detection.detector import Finding
from fingerprints.handles import SOFT_BINDING
from gan_fingerprints.work.credentials import CredentialsOf
from service.answers import answer_of, error_of
from service.batching import Batcher, QueueFullError
from service.callers import ANONYMOUS_SCOPES, Keys, RateLimit, address_name
from service.described import FEEDBACK_BODY, TITLE, VERIFY_BODY, VERIFY_RESPONSES, docs_page
from service.feedback import Feedback, parse_feedback
from service.fetching import FetchError, fetch
from service.judging import Basis, Judging, UnavailableError
from service.log_lines import write_waiting
from service.measuring import Measures
from service.middleware import LOG, Around, Direct, Endpoint
from service.pictures import Picture
from service.receiving import Upload, read_files, read_small
from service.resolution import Manifests, add_resolution
from service.settings import Settings

# As JSONResponse does it, which makes an encoder each time.
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/docs.css": ("docs.css", "text/css; charset=utf-8"),
}
_PATHS = frozenset({
    *("/v1/verify", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics", "/docs"),
    *("/matches/byBinding", "/matches/byContent", *_PAGE_FILES),
})  # fmt: skip


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


def create_app(judging: Judging, settings: Settings) -> Around:
    """The application, for uvicorn or another ASGI server.

    Raises:
        UserError: as `Service`.
    """
    service = Service(judging, settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title=TITLE, version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.exception_handler(HTTPException)(_problem)
    verify = _add_api(app, service)
    _add_state(app, service)
    if settings.manifests is not None:
        add_resolution(app, service)
    _add_page(app)
    # What carries the load goes past the framework, which takes 0.1 ms for a request.
    direct = Direct(app, {("POST", "/v1/verify"): verify}, _problem)
    return Around(direct, measures=service.measures, paths=_PATHS)


async def _problem(_: Request, error: Any) -> JSONResponse:
    """Errors as JSON: `{"error": "..."}`."""
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _add_api(app: FastAPI, service: Service) -> Endpoint:
    """Adds the paths; gives that of `/v1/verify`."""
    limits = service.settings.limits

    @app.post("/v1/verify", openapi_extra=VERIFY_BODY, responses=VERIFY_RESPONSES)
    async def verify(request: Request) -> Response:
        """Says of each picture whether this generator made it."""
        service.admit(request, "verify", 0)
        try:
            async with asyncio.timeout(limits.timeout):
                if request.headers.get("content-type", "").startswith("application/json"):
                    uploads = [await service.fetched(await read_small(request))]
                else:
                    uploads = await read_files(request, limits)
                service.admit(request, "verify", len(uploads))
                results = await service.verify(uploads)
        except TimeoutError as error:
            service.measures.refused.labels("time-out").inc()
            raise HTTPException(
                503, f"not done within {limits.timeout:g} s; try again", {"Retry-After": "5"}
            ) from error
        request.scope["told"] = results
        return Response(_ENCODE({"results": results}), media_type="application/json")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """Which model pictures are compared with, and how verdicts are reached."""
        return {"models": [service.judging.basis.to_dict() | {"reveal": service.settings.reveal}]}

    @app.post("/v1/feedback", openapi_extra=FEEDBACK_BODY, status_code=202)
    async def feedback(request: Request) -> dict[str, str]:
        """Takes what somebody has to say on an answer: no picture, its hash only."""
        service.admit(request, "feedback")
        if service.feedback is None:
            raise HTTPException(404, "this service takes no feedback")
        try:
            entry = parse_feedback(await read_small(request))
            await asyncio.to_thread(service.feedback.add, entry)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        except UserError as error:
            LOG.error("feedback is lost: %s", error)
            raise HTTPException(503, "it cannot be kept now; try again") from error
        return {"id": entry["id"]}

    return verify


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process runs."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether verdicts can be given: 200, or 503."""
        if service.judging.problem is not None:
            return JSONResponse({"status": "the registry cannot be read"}, 503)
        if service.batcher.pending >= service.settings.limits.queue:
            return JSONResponse({"status": "the queue is full"}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Counts for Prometheus; with callers' keys, a key with the scope `metrics`."""
        if service.settings.keys is not None:
            service.admit(request, "metrics", 0)
        return Response(generate_latest(service.measures.collected), media_type="text/plain")


def _add_page(app: FastAPI) -> None:
    for path, (name, kind) in _PAGE_FILES.items():
        answer = functools.partial(FileResponse, PAGE / name, media_type=kind)
        app.add_api_route(path, _sender(answer), include_in_schema=False)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html; charset=utf-8")


def _sender(answer: functools.partial[FileResponse]) -> Any:
    async def send() -> Response:
        return answer()

    return send


logging.getLogger("gan_fingerprints").addHandler(logging.NullHandler())
