"""Paths and URLs, against a server on this machine that misbehaves on request."""

import contextlib
import errno
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest

from dnnlib import cache, download
from dnnlib.download import cached_path, open_url_or_path
from dnnlib.errors import UserError

CONTENT = np.random.RandomState(0).bytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; the attributes say how badly."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1"):
        super().__init__((host, 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.break_after: list[int] = []  # bytes to send before the connection is cut, per request
        self.extra_length = 0  # added to Content-Length
        self.status = 200
        self.content_type = "application/octet-stream"
        self.ranges = True
        self.range_shift = 0
        self.redirect = ""
        self.requests: list[dict[str, str]] = []
        self.drip = 0.0  # seconds between single bytes
        self.without_length = False

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}/some/model%20one.pkl?version=2"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append({key.lower(): value for key, value in self.headers.items()})
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        begin = 0
        status = server.status
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if begin < len(server.content) else 416
        body = server.content[begin:]
        self.send_response(status)
        if not server.without_length:
            self.send_header("Content-Length", str(len(body) + server.extra_length))
        self.send_header("Content-Type", server.content_type)
        if server.etag:
            self.send_header("ETag", server.etag)
        if status == 206:
            begin += server.range_shift
            last, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {begin}-{last}/{total}")
        self.end_headers()
        if server.break_after:
            body = body[: server.break_after.pop(0)]
        with contextlib.suppress(ConnectionError):  # the client may have seen enough
            for byte in body if server.drip else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(server.drip)
            if not server.drip:
                self.wfile.write(body)


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Server()) as server:
        yield server


def failure(*args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        open_url_or_path(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def left_in(folder: Path) -> list[str]:
    return sorted(path.name.split("model_one.pkl", 1)[1] for path in folder.iterdir())


# ---- Names.


def test_a_path_stays_a_path(tmp_path):
    path = tmp_path / "a:b.pkl"
    path.write_bytes(CONTENT)
    assert open_url_or_path(path) == path
    assert open_url_or_path(str(path), sha256=SHA256.upper()) == path
    assert "is not the expected file" in failure(path, sha256="0" * 64)


def test_paths_that_are_no_files(tmp_path):
    missing = tmp_path / "missing.pkl"
    assert failure(missing).startswith(f"{missing} does not exist")
    assert failure(tmp_path).startswith(f"{tmp_path} is not a regular file")
    assert "is not a regular file" in failure("/dev/null")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("gdrive:networks/stylegan2.pkl", "gdrive: names are not supported"),
        ("gdrive://networks/stylegan2.pkl", "gdrive: names are not supported"),
        ("http://example.invalid/model.pkl", "plain http can be altered on its way; use https"),
        ("http://127.0.0.1.example.invalid/model.pkl", "plain http"),
        ("ftp://example.invalid/model.pkl", "only paths and https URLs"),
        ("file:///etc/passwd", "only paths and https URLs"),
        ("https://[bad/model.pkl", "only paths and https URLs"),
        ("https:///model.pkl", "only paths and https URLs"),
    ],
)
def test_refused_by_name(url, reason, tmp_path):
    message = failure(url, tmp_path / "cache")
    assert message.startswith(f"{url}: ")
    assert reason in message
    assert not (tmp_path / "cache").exists()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(cache.CACHE_VARIABLE, raising=False)
    assert cache.default_cache_dir() == tmp_path / ".cache/gan-fingerprints"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.default_cache_dir() == tmp_path / ".cache/gan-fingerprints"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.default_cache_dir() == Path("/xdg/gan-fingerprints")
    monkeypatch.setenv(cache.CACHE_VARIABLE, "~/mine")
    assert cache.default_cache_dir() == tmp_path / "mine"


def test_cached_names_are_distinct_and_harmless():
    urls = [
        "https://a.example/x/model.pkl",
        "https://b.example/x/model.pkl",
        "https://a.example/x/model.pkl?v=2",
        "https://a.example/x/..%2f..%2fetc%2fmodel.pkl",
        "https://a.example/",
    ]
    paths = [cached_path(url, "/cache") for url in urls]
    assert len(set(paths)) == len(urls)
    assert all(path.parent == Path("/cache") for path in paths)
    assert [path.name[13:] for path in paths] == ["model.pkl"] * 4 + ["file"]


# ---- Transfers.


def test_a_url_is_downloaded_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "new" / "cache"))
    path = open_url_or_path(server.url)
    assert path == cached_path(server.url)
    assert path.name.endswith("-model_one.pkl")
    assert path.read_bytes() == CONTENT
    assert open_url_or_path(server.url, sha256=SHA256) == path
    assert len(server.requests) == 1
    assert left_in(path.parent) == ["", ".lock", ".sha256"]


def test_a_file_put_there_by_hand_is_used(server, tmp_path):
    path = cached_path(server.url, tmp_path)
    path.write_bytes(b"by hand")
    assert open_url_or_path(server.url, tmp_path).read_bytes() == b"by hand"
    message = failure(server.url, tmp_path, sha256=SHA256)
    assert str(path) in message
    assert "delete it" in message
    assert server.requests == []


def test_an_interrupted_transfer_goes_on_in_the_same_call(server, tmp_path):
    server.break_after = [400_000, 500_000]
    path = open_url_or_path(server.url, tmp_path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    ranges = [request.get("range") for request in server.requests]
    assert ranges[0] is None
    # The client may not have seen the last bytes of a broken connection.
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in ranges[1:]]
    assert 0 < starts[0] <= 400_000
    assert starts[0] < starts[1] <= 900_000
    assert [request.get("if-range") for request in server.requests] == [None, '"one"', '"one"']


def test_an_interrupted_transfer_goes_on_in_the_next_call(server, tmp_path):
    server.break_after = [300_000] + [0] * (download.ATTEMPTS - 1)
    message = failure(server.url, tmp_path)
    assert message.startswith(f"cannot download {server.url}: ")
    assert "KiB are kept" in message
    assert str(cached_path(server.url, tmp_path)) in message
    assert left_in(tmp_path) == [".lock", ".part", ".part.tag"]
    kept = cached_path(server.url, tmp_path).with_name(
        cached_path(server.url, tmp_path).name + ".part"
    )
    size = kept.stat().st_size
    assert 0 < size <= 300_000
    server.requests.clear()
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
    assert [request["range"] for request in server.requests] == [f"bytes={size}-"]
    assert left_in(tmp_path) == ["", ".lock", ".sha256"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    server.break_after = [400_000]
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
    assert "range" in server.requests[1]


def test_a_file_that_changed_meanwhile_is_not_mixed(server, tmp_path):
    server.break_after = [300_000] + [0] * (download.ATTEMPTS - 1)
    failure(server.url, tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_there_is_no_resuming(server, tmp_path, etag):
    server.etag = etag
    server.break_after = [400_000]
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
    assert [request.get("range") for request in server.requests] == [None, None]


def test_another_part_than_asked_for_is_not_used(server, tmp_path):
    server.range_shift = 1
    server.break_after = [400_000]
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
    assert ["range" in request for request in server.requests] == [False, True, False]


def test_wrong_length(server, tmp_path):
    server.extra_length = 10
    message = failure(server.url, tmp_path)
    assert "run the command again" in message
    assert not cached_path(server.url, tmp_path).exists()


def test_wrong_hash(server, tmp_path):
    message = failure(server.url, tmp_path, sha256="0" * 64)
    assert f"its SHA-256 is {SHA256}, expected {'0' * 64}" in message
    assert left_in(tmp_path) == [".lock"]


def test_a_part_without_its_version_is_thrown_away(server, tmp_path):
    path = cached_path(server.url, tmp_path)
    path.with_name(f"{path.name}.part").write_bytes(b"x" * 100)
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    path = cached_path(server.url, tmp_path)
    path.with_name(f"{path.name}.part").write_bytes(CONTENT + b"more")
    path.with_name(f"{path.name}.part.tag").write_text('"one"')
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_not_found_is_final(server, tmp_path):
    server.status = 404
    message = failure(server.url, tmp_path)
    assert "the server answered 404 Not Found" in message
    assert str(cached_path(server.url, tmp_path)) in message
    assert len(server.requests) == 1


def test_server_trouble_is_tried_again(server, tmp_path):
    server.status = 503
    assert "503 Service Unavailable" in failure(server.url, tmp_path)
    assert len(server.requests) == download.ATTEMPTS


def test_a_web_page_is_not_a_file(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    assert "a web page, not a file" in failure(server.url, tmp_path)


def test_a_redirect_to_plain_http_is_refused(server, tmp_path):
    # 127.0.0.2 is this machine as well, but not one of the names that may use plain http.
    with serving(Server("127.0.0.2")) as other:
        server.redirect = other.url
        message = failure(server.url, tmp_path)
        assert len(other.requests) == 1
    assert message.startswith(f"{other.url}: plain http can be altered on its way")
    assert left_in(tmp_path) == [".lock"]


def test_a_redirect_within_the_rules_is_followed(server, tmp_path):
    with serving(Server()) as other:
        server.redirect = other.url
        path = open_url_or_path(server.url, tmp_path)
    assert path == cached_path(server.url, tmp_path)
    assert path.read_bytes() == CONTENT


def test_no_server(server, tmp_path):
    url = server.url
    server.server_close()
    message = failure(url, tmp_path)
    assert "no connection" in message
    assert f"put it at {cached_path(url, tmp_path)}" in message


def test_two_at_a_time_download_once(server, tmp_path):
    with ThreadPool(4) as pool:
        paths = pool.map(lambda _: open_url_or_path(server.url, tmp_path, sha256=SHA256), range(4))
    assert len(set(paths)) == 1
    assert len(server.requests) == 1


def test_no_space_in_the_cache(server, tmp_path):
    path = cached_path(server.url, tmp_path)
    path.with_name(f"{path.name}.part").symlink_to("/dev/full")
    message = failure(server.url, tmp_path)
    assert message.startswith(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
    assert "free some space" in message
    assert not path.exists()


def test_a_cache_folder_that_cannot_be_made(server, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    message = failure(server.url, blocker / "cache")
    assert message.startswith(f"cannot write {blocker}")
    assert "a part of this path is a file" in message
    assert server.requests == []


# ---- Servers that give too much or too slowly, files that change.


def test_a_server_that_drips(server, tmp_path, monkeypatch):
    """Every byte comes in time, the file never would."""
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.drip = 0.01
    begin = time.monotonic()
    message = failure(server.url, tmp_path)
    assert time.monotonic() - begin < 10
    assert "less than 64.0 KiB a minute came; run the command again" in message
    assert ".part" in left_in(tmp_path)  # what came is kept


@pytest.mark.parametrize("says_so", [True, False])
def test_a_file_that_is_too_large(server, tmp_path, monkeypatch, says_so):
    monkeypatch.setattr(download, "MAX_BYTES", len(CONTENT) - 1)
    server.without_length = not says_so
    assert "it is larger than 1.4 MiB" in failure(server.url, tmp_path)
    assert "" not in left_in(tmp_path)


def test_a_checksum_in_the_url(server, tmp_path):
    path = open_url_or_path(f"{server.url}#sha256={SHA256.upper()}", tmp_path)
    assert path.read_bytes() == CONTENT
    assert path == cached_path(server.url, tmp_path)
    assert path == cached_path(f"{server.url}#sha256={SHA256}", tmp_path)
    assert "is not the expected file" in failure(f"{server.url}#sha256={'0' * 64}", tmp_path)
    assert "must be 64 hex digits, not 'abc'" in failure(f"{server.url}#sha256=abc", tmp_path)
    path.unlink()
    assert "the download was deleted" in failure(f"{server.url}#sha256={'0' * 64}", tmp_path)
    assert not path.exists()


def test_a_cached_file_that_changed_is_not_used(server, tmp_path):
    path = open_url_or_path(server.url, tmp_path)
    assert open_url_or_path(server.url, tmp_path) == path
    content = bytearray(CONTENT)
    content[1000] ^= 1
    path.write_bytes(content)
    assert "is not the expected file: its SHA-256 is" in failure(server.url, tmp_path)
    path.unlink()
    assert open_url_or_path(server.url, tmp_path).read_bytes() == CONTENT
