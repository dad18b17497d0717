"""The service's parts by themselves: queue, limits, fetching by address; and the command's end."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from dnnlib.errors import UserError
from service import callers, fetching
from service.batching import Batcher, QueueFullError
from service.callers import RateLimit, address_name
from service.fetching import FetchError, fetch, is_public
from service.judging import divide
from service.log_lines import LogLines
from tests.support.bulk import Place
from tests.support.paths import ROOT
from tests.support.service import png


def run_batches(work, requests: list[list[int]], **choices):
    """Results of several requests at once, and the sizes of the batches."""
    sizes: list[int] = []

    async def all_of_them():
        options = {"max_batch": 4, "max_wait": 0.05, "capacity": 100} | choices
        batcher = Batcher(work, on_batch=lambda size, _: sizes.append(size), **options)
        runner = asyncio.create_task(batcher.run())

        async def one(items):
            with batcher.reserved(len(items)):
                return await batcher.submit(items)

        found = await asyncio.gather(*map(one, requests), return_exceptions=True)
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        batcher.close()
        assert batcher.pending == 0
        return found

    return asyncio.run(all_of_them()), sizes


def test_each_request_gets_its_own_results() -> None:
    requests = [[i, 100 + i] for i in range(9)]
    found, sizes = run_batches(lambda items: [10 * i for i in items], requests)
    assert found == [[10 * i for i in items] for items in requests]
    assert max(sizes) == 4
    assert sum(sizes) == 18
    assert len(sizes) < 9  # they were put together


def test_an_error_reaches_all_of_its_batch_and_no_other() -> None:
    def work(items):
        if 3 in items:
            raise UserError("bad")
        return items

    found, _ = run_batches(work, [[0], [1], [2], [3], [4]])
    assert all(isinstance(one, UserError) for one in found[:4])
    assert found[4] == [4]


def test_a_full_queue_refuses() -> None:
    found, _ = run_batches(lambda items: items, [[1, 2], [3], [4]], capacity=3)
    assert found[:2] == [[1, 2], [3]]
    assert isinstance(found[2], QueueFullError)


@pytest.mark.parametrize(
    ("count", "parts"),
    [(1, [1]), (2, [1, 1]), (3, [4]), (8, [4, 4]), (9, [16]), (21, [16, 4, 1]), (64, [16] * 4)],
)
def test_programs_for_a_batch(count, parts) -> None:
    """No program runs that is less than half full, but for single pictures."""
    found = list(divide(count, [1, 4, 16]))
    assert [size for _, _, size in found] == parts
    assert [start for start, _, _ in found[1:]] == [stop for _, stop, _ in found[:-1]]
    assert found[-1][1] == count


def test_lines_of_the_log_wait_but_not_for_long(capfd) -> None:
    lines = LogLines()
    lines.emit(logging.makeLogRecord({"msg": "one", "levelno": logging.INFO}))
    assert capfd.readouterr().err == ""
    lines.emit(logging.makeLogRecord({"msg": "two", "levelno": logging.WARNING}))
    assert capfd.readouterr().err == "one\ntwo\n"
    lines.emit(logging.makeLogRecord({"msg": "three", "levelno": logging.INFO}))
    lines.close()
    assert capfd.readouterr().err == "three\n"


def test_rate_limit() -> None:
    now = [0.0]
    rates = RateLimit(lambda: now[0])
    assert [rates.take("a", 1, 60) for _ in range(60)] == [0] * 60
    assert rates.take("a", 1, 60) == 1
    assert rates.take("b", 1, 60) == 0
    now[0] = 2.0
    assert [rates.take("a", 1, 60) for _ in range(2)] == [0, 0]
    assert rates.take("a", 30, 60) == 30
    now[0] = 1000.0
    assert rates.take("a", 90, 60) == 0  # more than ever fits: owed
    assert rates.take("a", 1, 60) > 30


def test_rate_limit_remembers_no_more_than_it_may(monkeypatch) -> None:
    monkeypatch.setattr(callers, "_MAX_BUCKETS", 3)
    rates = RateLimit()
    for number in range(10):
        rates.take(str(number), 1, 60)
    assert len(rates._buckets) == 3


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
    ],
)
def test_address_name(host, name) -> None:
    assert address_name(host) == name


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "no JSON",
        '{"name":"a","sha256":"x","scopes":["verify"],"per_minute":1}',
        '{"name":"a","sha256":"%s","scopes":["all"],"per_minute":1}' % ("a" * 64),
        '{"name":"a","sha256":"%s","scopes":["verify"],"per_minute":0}' % ("a" * 64),
    ],
)
def test_damaged_keys_are_told(tmp_path, line) -> None:
    (tmp_path / "keys").write_text(line)
    with pytest.raises(UserError, match="line 1"):
        callers.read_keys(tmp_path / "keys")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "localhost", ""),
    ],
)
def test_private_addresses(address) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/a.png", "file:///etc/passwd", "http://", "//example.org", "x"),
        *("http://user@example.org/", "http://example.org:22/", "http://example.org:99999/"),
        *("gopher://example.org", "http://[::1", "data:image/png;base64,AA"),
    ],
)
def test_refused_addresses(url) -> None:
    with pytest.raises(FetchError):
        fetch(url, 1000, 5, resolve=lambda host, port: pytest.fail("resolved"))


@pytest.mark.parametrize("found", [[], ["127.0.0.1"], ["93.184.215.14", "10.0.0.1"]])
def test_hosts_behind_which_something_private_is(found) -> None:
    with pytest.raises(FetchError, match="not a public one"):
        fetch("http://example.org/a.png", 1000, 5, resolve=lambda host, port: found)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        target = {"/away": "http://inner.example/secret", "/round": "/round", "/on": "/picture"}
        if self.path in target:
            self.send_response(302)
            self.send_header("Location", target[self.path])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        if self.path == "/slow":
            for _ in range(40):
                time.sleep(0.1)
                self.wfile.write(b"a")
                self.wfile.flush()
        self.wfile.write(b"picture" if self.path != "/large" else bytes(5000))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[dict[str, list[str]]]:
    """A host `pub.example`, which for this test counts as a public one; name -> addresses."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setattr(fetching, "_PORTS", {"http": listening.server_port, "https": 443})
        monkeypatch.setattr(fetching, "is_public", lambda text: text == "127.0.0.1")
        yield {"pub.example": ["127.0.0.1"], "inner.example": ["10.0.0.1"]}
        listening.shutdown()


def get(server, path: str, timeout: float = 5) -> bytes:
    resolve = lambda host, port: server[host]  # noqa: E731
    return fetch(f"http://pub.example{path}", 1000, timeout, resolve=resolve)


def test_fetched(server) -> None:
    assert get(server, "/picture") == get(server, "/on") == b"picture"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/away", "not a public one"),
        ("/round", "redirects"),
        ("/none", "answered 404"),
        ("/large", "too large"),
    ],
)
def test_not_fetched(server, path, reason) -> None:
    with pytest.raises(FetchError, match=reason):
        get(server, path)


def test_slow_hosts_are_left(server) -> None:
    start = time.monotonic()
    with pytest.raises(FetchError):
        get(server, "/slow", timeout=0.5)
    assert time.monotonic() - start < 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.slow  # a process with TensorFlow
def test_sigterm_answers_what_was_taken(place: Place) -> None:
    """A request whose upload is half there when the signal comes gets its verdict."""
    port = free_port()
    command = ["run_fingerprints.py", "serve", f"--network={place.network}", f"--port={port}"]
    flags = [f"--registry={place.registry}", "--ops=reference", "--timeout=30"]
    process = subprocess.Popen(
        [sys.executable, *command, *flags], cwd=ROOT, env=os.environ, stderr=subprocess.PIPE
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                break
            except urllib.error.URLError:
                assert process.poll() is None
                time.sleep(0.2)
        part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body = part + png(np.ones((8, 8))) + b"\r\n--b--\r\n"
        head = (
            "POST /v1/verify HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body[:50])
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[50:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"verdict":"not-ours"' in answer
        assert process.wait(30) == 128 + signal.SIGTERM
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port))
    finally:
        process.kill()
        process.communicate()
