"""The application: what is answered at which path."""

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from dnnlib.errors import UserError
from service.core import Service
from service.described import (
    FEEDBACK_BODY,
    REPORT_BODY,
    REPORT_RESPONSES,
    TITLE,
    VERIFY_BODY,
    VERIFY_RESPONSES,
    docs_page,
)
from service.feedback import parse_feedback
from service.judging import Judging
from service.middleware import LOG, Around, Direct, Endpoint
from service.receiving import read_files, read_small
from service.resolution import add_resolution
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
    *("/v1/verify", "/v1/report", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics"),
    *("/docs", "/matches/byBinding", "/matches/byContent", *_PAGE_FILES),
})  # fmt: skip


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
        async with service.in_time():
            if request.headers.get("content-type", "").startswith("application/json"):
                uploads = [await service.fetched(await read_small(request))]
            else:
                uploads = await read_files(request, limits)
            service.admit(request, "verify", len(uploads))
            results = await service.verify(uploads)
        request.scope["told"] = results
        return Response(_ENCODE({"results": results}), media_type="application/json")

    @app.post("/v1/report", openapi_extra=REPORT_BODY, responses=REPORT_RESPONSES)
    async def report(request: Request) -> Response:
        """A signed document on one picture: the verdict, what it follows from, and the picture."""
        service.admit(request, "verify", 0)
        async with service.in_time():
            uploads = await read_files(request, limits)
            if len(uploads) != 1:
                raise HTTPException(400, "a report is on one picture")
            service.admit(request, "verify")
            name, document = await service.report(uploads[0])
        headers = {"content-disposition": f'attachment; filename="report-{name[:12]}.html"'}
        return Response(document, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """Which model pictures are compared with, and how verdicts are reached."""
        about = {"reveal": service.settings.reveal, "reports": service.reports is not None}
        return {"models": [service.judging.basis.to_dict() | about]}

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
