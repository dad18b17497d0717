"""The tool that torments the service counts rightly what becomes of requests."""

import asyncio
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools import serve_faults
from tools.http_load import Reply, ask_all, get_request, verify_request
from tools.serve_faults import Fault, Load, World


def world(**choices: Any) -> World:
    values: dict[str, Any] = {
        "folder": Path(), "registry": "", "serving": None, "requests": [b"a", b"b"],
        "licensees": ["licensee-0", None],
    }  # fmt: skip
    return World(**values | choices)


def reply(number: int, status: int = 200, **values: Any) -> Reply:
    return Reply(number, status, 0.1, json.dumps({"results": [values]}).encode())


def test_replies_are_counted() -> None:
    load = Load(world(), lambda answer, sent: answer.get("problem"))
    sent = load._requests()
    for _ in range(9):
        next(sent)
    ours = {"verdict": "licensee", "licensee": "licensee-0"}
    noise = {"verdict": "not-ours", "licensee": None}
    for found in (
        reply(0, **ours),
        reply(1, **noise),
        reply(2, **noise),  # ours, and not found
        reply(3, **ours),  # noise, and called ours
        reply(4, **ours, problem="x"),
        Reply(5, 503, 0.1, b""),
        Reply(6, 0, 0.1, b""),
        Reply(7, 200, 0.1, b"<html>"),
    ):
        load._take(found)
    tally = load.tally
    assert (tally.right, tally.errors, tally.lost) == (2, {"503": 1, "no connection": 1}, 1)
    assert tally.wrong == [
        "not-ours None in place of licensee-0",
        "licensee licensee-0 in place of None",
        "x",
        "no answer: b'<html>'",
    ]
    assert not tally.is_well


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        answer = {"verdict": "not-ours", "licensee": None, "revoked": None}
        body = json.dumps({"results": [answer]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_fault_without_effect_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_faults, "CLIENTS", 1)

    class Serving:
        port = 0

    with HTTPServer(("127.0.0.1", 0), _Handler) as listening:
        Serving.port = listening.server_port
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        place = world(serving=Serving(), requests=[verify_request([b"a"])], licensees=[None])
        fault = Fault("nothing", lambda _: None, seconds=0.1, must_fail=True)
        tally = asyncio.run(serve_faults.torment(place, fault))
        listening.shutdown()
    assert tally.right > 0
    assert (tally.num_errors, tally.lost) == (0, 0)
    assert tally.again is not None
    assert tally.no_effect
    assert not tally.is_well


def test_a_refused_connection_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found: list[Reply] = []
    asyncio.run(ask_all(port, [(7, get_request("/"))], 2, found.append))
    assert [(one.number, one.status) for one in found] == [(7, 0)]
