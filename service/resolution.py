"""C2PA's soft binding resolution API: from a fingerprint to the manifests that were stripped.

The paths and answers are those of the specification (C2PA Soft Binding API, 2.1 and later): the
value of a binding comes in base64, an answer is `{"matches": [{"manifestId": "..."}]}`.
"""

import base64
import binascii
import os
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException

from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import read_bytes
from service.receiving import Upload, read_body, read_small

MAX_RESULTS = 1000
_MAX_VALUE = 1000
BYTES = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string"}}}}}


class Manifests:
    """Which manifests have which binding: a file that `generate-images --c2pa` writes."""

    def __init__(self, path: str | None) -> None:
        """Reads the file; None: there are none.

        Raises:
            UserError: it cannot be read, or holds something else.
        """
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._ids: dict[tuple[str, str], list[str]] = {}
        self.reload()

    def reload(self) -> None:
        """Reads the file again if it is another one by now.

        Raises:
            UserError: as the constructor. What was known stays.
        """
        if self._path is None:
            return
        content = None
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        if stamp is None or stamp != self._stamp:
            content = read_bytes(self._path, "the list of manifests")
        if content is None:
            return
        ids: dict[tuple[str, str], list[str]] = {}
        for number, line in enumerate(content.splitlines(), 1):
            try:
                entry = parse_json(line)
                key = (str(entry["alg"]), str(entry["value"]))
                ids.setdefault(key, []).append(str(entry["manifestId"]))
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self._path}, line {number}: no entry of a manifest; name a manifests.jsonl "
                    "of generate-images --c2pa"
                ) from error
        self._ids, self._stamp = ids, stamp

    def find(self, alg: str, value: str, most: int) -> dict[str, Any]:
        """The answer on a binding, the newest manifests first."""
        found = self._ids.get((alg, value), [])[::-1][:most]
        return {"matches": [{"manifestId": name} for name in found]}


def add_resolution(app: FastAPI, service: Any) -> None:
    """Adds the paths.

    Args:
        app: of the service.
        service: the `Service`.
    """

    def answer(wanted: str, value: str, most: int | None) -> dict[str, Any]:
        if most is not None and not 1 <= most <= MAX_RESULTS:
            raise HTTPException(400, f"maxResults is 1 to {MAX_RESULTS}")
        found: dict[str, Any] = service.manifests.find(wanted, value, most or 10)
        return found

    @app.get("/matches/byBinding")
    async def by_binding(
        request: Request, alg: str, value: str, maxResults: int | None = None
    ) -> dict[str, Any]:
        """Manifests that have a soft binding; `value` in base64."""
        service.admit(request, "verify")
        return answer(alg, _decoded(value), maxResults)

    @app.post("/matches/byBinding")
    async def by_binding_posted(request: Request, maxResults: int | None = None) -> dict[str, Any]:
        """The same, of `{"alg": "...", "value": "..."}`."""
        service.admit(request, "verify")
        try:
            values = parse_json(await read_small(request))
            wanted, value = values["alg"], values["value"]
        except (ValueError, TypeError, KeyError) as error:
            raise HTTPException(400, 'send {"alg": "...", "value": "<base64>"}') from error
        return answer(str(wanted), _decoded(value), maxResults)

    @app.post("/matches/byContent", openapi_extra=BYTES)
    async def by_content(request: Request, maxResults: int | None = None) -> dict[str, Any]:
        """Manifests of the fingerprint that a picture carries; the body is its file."""
        service.admit(request, "verify")
        async with service.in_time() as share:
            content = await read_body(request, service.settings.limits.max_bytes, share)
            (result,) = await service.verify([Upload(None, content)])
        if "error" in result:
            raise HTTPException(400, result["error"])
        handle = result.get("handle")
        return {"matches": []} if handle is None else answer(service.alg, handle, maxResults)


def _decoded(value: object) -> str:
    """A value in base64 as text; what is none matches nothing.

    Raises:
        HTTPException: it is no base64.
    """
    if not isinstance(value, str) or len(value) > _MAX_VALUE:
        raise HTTPException(400, "value is a text in base64")
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, "value is no base64") from error
