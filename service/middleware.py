"""Around every request: headers that browsers obey, counts, and a line in the log."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.measuring import Measures

LOG = logging.getLogger("gan_fingerprints.service")

# No outside resources, no frames, nothing remembered.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


Endpoint = Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI middleware: some endpoints are called without the layers of the application.

    These know dependencies, response models and more that such endpoints have no use for.
    """

    def __init__(
        self,
        app: Any,
        endpoints: Mapping[tuple[str, str], Endpoint],
        on_problem: Callable[[Request, Any], Awaitable[Response]],
    ) -> None:
        """
        Args:
            app: for everything else.
            endpoints: (method, path) -> what answers.
            on_problem: what makes an answer of an HTTPException.
        """
        self._app = app
        self._endpoints = endpoints
        self._on_problem = on_problem

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers, or passes a request on."""
        endpoint = scope["type"] == "http" and self._endpoints.get((scope["method"], scope["path"]))
        if not endpoint:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except HTTPException as error:
            response = await self._on_problem(request, error)
        except Exception:
            LOG.exception("a mistake of the service's own")
            response = JSONResponse({"error": "this went wrong here"}, 500)
        await response(scope, receive, send)


class Around:
    """ASGI middleware; `paths` are those that are counted by name, all others together."""

    def __init__(self, app: Any, measures: Measures, paths: frozenset[str]) -> None:
        """Wraps an application."""
        self._app = app
        self._measures = measures
        self._paths = paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        status = 500

        async def send_more(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                taken = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _RAW_HEADERS if name not in taken),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            seconds = time.monotonic() - start
            self._measures.on_request(path, status, seconds)
            told = "".join(
                f", sha256 {one['sha256']}: {one['verdict']}"
                for one in scope.get("told", ())
                if "verdict" in one
            )
            text = "%s %s %d %.1f ms%s"
            LOG.info(text, scope["method"], path, status, 1000 * seconds, told)
