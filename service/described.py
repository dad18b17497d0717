"""How the API describes itself: bodies for OpenAPI, and a page of it without outside resources."""

import html
import json
from typing import Any

TITLE = "Is this picture made by our generator?"
_STRING = {"type": "string"}
_FILE = _STRING | {"format": "binary"}


def _files(schema: dict[str, Any]) -> dict[str, Any]:
    """A form with a field `files`, as this schema says."""
    return {"schema": {"type": "object", "required": ["files"], "properties": {"files": schema}}}


VERIFY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _files({"type": "array", "items": _FILE}),
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {"url": _STRING | {"description": "where the service allows it"}},
                }
            },
        },
    }
}
VERIFY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`results`: an answer on each file, in order; `error` where there is none"
    },
    400: {"description": "no such request"},
    401: {"description": "no key, or one that is not known"},
    413: {"description": "too many files, or too large ones"},
    429: {"description": "too often, or too many wait: try again after `Retry-After` seconds"},
    503: {"description": "no verdict can be given now: try again after `Retry-After` seconds"},
}
REPORT_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": _files(_FILE)}}
}
REPORT_RESPONSES: dict[int | str, dict[str, Any]] = {
    **VERIFY_RESPONSES,
    200: {"description": "the report, in HTML", "content": {"text/html": {}}},
    400: {"description": "no such request, or no picture that can be read"},
    404: {"description": "this service gives no reports"},
}
FEEDBACK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "text": _STRING | {"maxLength": 2000},
                        "expected": _STRING | {"description": "what the verdict should have been"},
                        "id": _STRING | {"description": "of the answer"},
                        "sha256": _STRING | {"description": "of the picture's file"},
                        "verdict": _STRING,
                    },
                }
            }
        },
    }
}


def docs_page(schema: dict[str, Any]) -> str:
    """An OpenAPI schema as a page of plain HTML."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>API</title><link rel=stylesheet href=docs.css></head><body><main>"
        f"<h1>{html.escape(schema['info']['title'])}</h1>"
        "<p>The API, also as <a href=openapi.json>OpenAPI</a>. "
        "A key goes into the header <code>Authorization: Bearer KEY</code>.</p>"
        "<pre>curl -F files=@picture.png ADDRESS/v1/verify</pre>"
    ]
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(_operation(path, method, about))
    return "".join(parts) + "</main></body></html>"


def _operation(path: str, method: str, about: dict[str, Any]) -> str:
    text = about.get("description") or about.get("summary", "")
    found = f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    found += f"<p>{html.escape(text)}</p>"
    for kind, body in about.get("requestBody", {}).get("content", {}).items():
        shown = json.dumps(body["schema"], indent=2)
        found += f"<h3>{html.escape(kind)}</h3><pre>{html.escape(shown)}</pre>"
    rows = "".join(
        f"<tr><td>{html.escape(status)}</td><td>{html.escape(answer['description'])}</td></tr>"
        for status, answer in about.get("responses", {}).items()
    )
    return f"{found}<table><tr><th>status</th><th></th></tr>{rows}</table></section>"
