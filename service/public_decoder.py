"""The decoder in the browser: which files that takes, and how pages and programs get them."""

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from dnnlib.errors import UserError

VENDOR = Path(__file__).parent / "page" / "vendor"  # onnxruntime-web; `make browser-decoder`
LOCAL = Path(__file__).parent / "page" / "local.js"
RUNTIME = {
    "ort.wasm.min.mjs": "text/javascript",
    "ort-wasm-simd-threaded.mjs": "text/javascript",
    "ort-wasm-simd-threaded.wasm": "application/wasm",
}
PATHS = ("/local.js", "/decoder.onnx", *(f"/vendor/{name}" for name in RUNTIME))
# What stays as it is need not be sent again; the browser asks whether it does.
_MAX_LOGIT = 1e6  # of which decoders are far
_HEADERS = {"cache-control": "private, no-cache"}


def check_runtime() -> None:
    """
    Raises:
        UserError: onnxruntime-web is not here.
    """
    missing = [name for name in RUNTIME if not (VENDOR / name).is_file()]
    if missing:
        raise UserError(
            f"--public-decoder needs onnxruntime-web, and {VENDOR / missing[0]} is not there; run: "
            "make browser-decoder"
        )


def check_logits(values: Any, num_bits: int, most: int) -> list[np.ndarray]:
    """What browsers send that have read pictures themselves: float64 [B] of each.

    Args:
        values: of JSON, lists of B numbers.
        num_bits: B.
        most: pictures of a request.

    Raises:
        HTTPException: 400 for anything else, 413 for too many.
    """
    try:
        rows = np.array(values, np.float64)
        if rows.ndim != 2 or rows.shape[1] != num_bits or not (np.abs(rows) <= _MAX_LOGIT).all():
            raise ValueError
    except (ValueError, TypeError) as error:
        raise HTTPException(
            400, f'send {{"logits": [[...], ...]}}, {num_bits} finite numbers for each picture'
        ) from error
    if not 1 <= len(rows) <= most:
        raise HTTPException(413, f"1 to {most} pictures a request")
    return list(rows)


def add_public_decoder(app: FastAPI, model: bytes) -> None:
    """Adds the paths.

    Args:
        app: of the service.
        model: the decoder, ONNX.
    """

    def add(path: str, answer: Any) -> None:
        async def send() -> Response:
            found: Response = answer()
            return found

        app.add_api_route(path, send, include_in_schema=False)

    for name, kind in RUNTIME.items():
        add(
            f"/vendor/{name}",
            lambda name=name, kind=kind: FileResponse(
                VENDOR / name, media_type=kind, headers=_HEADERS
            ),
        )
    add("/local.js", lambda: FileResponse(LOCAL, media_type="text/javascript; charset=utf-8"))
    add("/decoder.onnx", lambda: Response(model, media_type="application/octet-stream"))
