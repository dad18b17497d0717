"""Around every request: headers that browsers obey, counts, and a line in the log."""

import logging
import time
from typing import Any

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
            self._measures.requests.labels(path, str(status)).inc()
            self._measures.seconds.labels(path).observe(seconds)
            LOG.info("%s %s %d %.1f ms", scope["method"], path, status, 1000 * seconds)
