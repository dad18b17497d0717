"""Turns the name of a file, a path or an https URL, into a file on this machine.

What was downloaded once is kept in a cache folder. A download that breaks off is kept as well and
goes on where it stopped, in the same command or in the next one.
"""

import hashlib
import http.client
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from dnnlib.atomic import write_error
from dnnlib.cache import default_cache_dir
from dnnlib.errors import UserError
from dnnlib.format import format_bytes

ATTEMPTS = 4
RETRY_SECONDS = 0.5  # doubled after each failure
TIMEOUT_SECONDS = (20, 60)  # to connect, between two pieces
SLOW_SECONDS = 60.0  # in which at least ...
SLOW_BYTES = 1 << 16  # ... so many have to come
MAX_BYTES = 4 << 30  # of a file; the largest published networks are a tenth of this
CHUNK_BYTES = 1 << 18
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_url(name: str | os.PathLike[str]) -> bool:
    """Whether `name` is meant as a URL (of any scheme, also one that is refused)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|gdrive:", os.fspath(name)) is not None


def cached_path(url: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where `open_url_or_path` keeps the file of `url`; a file put there by hand is used."""
    url = url.partition("#sha256=")[0]
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rsplit("/", 1)[-1])[-80:]
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name or 'file'}"


def open_url_or_path(
    name: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    sha256: str | None = None,
) -> Path:
    """The local file that `name` stands for; a URL is downloaded unless it is in the cache.

    Args:
        name: path, or https URL, to which `#sha256=` and 64 hex digits may be added. Plain http is
            accepted from this machine itself (127.0.0.1, ::1, localhost), for tests and local
            mirrors.
        cache_dir: folder for downloads; by default `default_cache_dir()`.
        sha256: what the file's SHA-256 must be, 64 hex digits; None checks the length alone.

    Raises:
        UserError: no such file, a URL of another kind, no network, an incomplete transfer, no
            space, or another hash. A complete file or none is left under its final name.
    """
    if not is_url(name):
        path = Path(name)
        if not path.is_file():
            wrong = "is not a regular file" if path.exists() else "does not exist"
            raise UserError(f"{os.fspath(name)} {wrong}; check the path, or give an https URL")
        if sha256 is not None:
            _check_hash(path, os.fspath(name), sha256)
        return path
    url, sha256 = _split_checksum(os.fspath(name), sha256)
    _check_url(url)
    path = cached_path(url, cache_dir)
    if not path.is_file():  # a cache that may only be read is fine when it has the file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One process at a time downloads it; the others wait and find it there.
            with FileLock(path.with_name(f"{path.name}.lock")):
                if not path.is_file():
                    _Download(url, path, sha256).run()
                    return path
        except OSError as error:
            raise write_error(error.filename or path, error) from error
    recorded = _sidecar(path)
    if sha256 is None and recorded.is_file():
        sha256 = recorded.read_text(encoding="ascii", errors="replace").strip()
    if sha256 is not None:
        _check_hash(path, f"{path} (the cached {url})", sha256)
    return path


def _split_checksum(url: str, sha256: str | None) -> tuple[str, str | None]:
    """A URL without its `#sha256=...`, and what the file's SHA-256 must be."""
    bare, mark, wanted = url.partition("#sha256=")
    if not mark:
        return url, sha256
    if not re.fullmatch("[0-9a-fA-F]{64}", wanted):
        raise UserError(f"{bare}: behind #sha256= there must be 64 hex digits, not {wanted!r}")
    return bare, wanted.lower()


def _sidecar(path: Path) -> Path:
    """What was downloaded once must not change on the disk: the SHA-256 that it had."""
    return path.with_name(f"{path.name}.sha256")


def _check_url(url: str) -> None:
    scheme = url.partition(":")[0].lower()
    if scheme == "gdrive":
        raise UserError(
            f"{url}: gdrive: names are not supported; get the file, whether it is one of this "
            "method or plain StyleGAN2, with a browser and give its path, or the https URL where "
            "its owner keeps it today"
        )
    try:
        host = urlsplit(url).hostname
    except ValueError:  # for example brackets without an address
        host = None
    if scheme not in ("http", "https") or not host:
        raise UserError(f"{url}: only paths and https URLs are supported; download it by hand")
    if scheme == "http" and host not in _LOOPBACK:
        raise UserError(f"{url}: plain http can be altered on its way; use https")


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_hash(path: Path, where: str, sha256: str) -> None:
    found = _hash(path)
    if found != sha256.lower():
        raise UserError(
            f"{where} is not the expected file: its SHA-256 is {found}, expected "
            f"{sha256.lower()}; delete it and get it again"
        )


class _BrokenOffError(Exception):
    """The transfer stopped; trying again may help."""


class _Download:
    """One download: `path`.part grows, `path`.part.tag says which version of the file it is."""

    def __init__(self, url: str, path: Path, sha256: str | None) -> None:
        self.url = url
        self.path = path
        self.sha256 = sha256
        self.part = path.with_name(f"{path.name}.part")
        self.tag = path.with_name(f"{path.name}.part.tag")
        self.by_hand = (
            f"download it on another machine, then give its path or put it at {self.path}"
        )

    def run(self) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self.transfer()
                break
            except _BrokenOffError as error:
                if attempt == ATTEMPTS - 1:
                    kept = self.part.stat().st_size if self.part.exists() else 0
                    again = f"run the command again ({format_bytes(kept)} are kept)"
                    raise UserError(
                        f"cannot download {self.url}: {error}; {again} or {self.by_hand}"
                    ) from error
                time.sleep(RETRY_SECONDS * 2**attempt)
        found = _hash(self.part)
        if self.sha256 is not None and found != self.sha256.lower():
            self.forget()
            raise UserError(
                f"{self.url} is not the expected file: its SHA-256 is {found}, expected "
                f"{self.sha256.lower()}; the download was deleted, {self.by_hand}"
            )
        _sidecar(self.path).write_text(f"{found}\n", encoding="ascii")
        os.replace(self.part, self.path)
        self.forget()

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def failure(self, reason: str) -> UserError:
        """What ends the download at once, because trying again would not help."""
        return UserError(f"cannot download {self.url}: {reason}; check the URL or {self.by_hand}")

    def transfer(self) -> None:
        """Gets what is missing of the file into `part`."""
        headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts what is stored
        have = self.part.stat().st_size if self.part.exists() else 0
        tag = self.tag.read_text() if self.tag.exists() else ""
        if have and tag:
            # The server sends the rest if the file is still the one that we began with, else all.
            headers |= {"Range": f"bytes={have}-", "If-Range": tag}
        try:
            with requests.get(
                self.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS
            ) as response:
                self.receive(response, have)
        except (requests.Timeout, requests.ConnectionError) as error:
            if isinstance(error, requests.exceptions.SSLError):
                raise self.failure("the server's certificate was not accepted") from error
            raise _BrokenOffError("no connection, or it was lost") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise _BrokenOffError("the connection was lost") from error
        except (urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
            raise _BrokenOffError("the connection was lost") from error
        except requests.RequestException as error:
            raise self.failure(" ".join(str(error).split())) from error

    def chunks(self, response: requests.Response, start: int, total: int | None) -> Iterator[bytes]:
        """What comes, as it comes; too much or too slowly ends it."""
        if total is not None and total > MAX_BYTES:
            raise self.too_large()
        size, since, mark = start, time.monotonic(), start
        while chunk := response.raw.read1(CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_BYTES:
                self.forget()
                raise self.too_large()
            if time.monotonic() - since >= SLOW_SECONDS:
                if size - mark < SLOW_BYTES:
                    raise _BrokenOffError(f"less than {format_bytes(SLOW_BYTES)} a minute came")
                since, mark = time.monotonic(), size
            yield chunk

    def too_large(self) -> UserError:
        return self.failure(f"it is larger than {format_bytes(MAX_BYTES)}")

    def receive(self, response: requests.Response, have: int) -> None:
        for step in (*response.history, response):
            _check_url(step.url)
        status = response.status_code
        if status == 416:  # what is kept does not fit the server's file
            self.forget()
            raise _BrokenOffError("the server has another version of the file")
        if status == 429 or status >= 500:
            raise _BrokenOffError(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise self.failure(f"the server answered {status} {response.reason}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise self.failure("the server answered with a web page, not a file")
        start = 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if status == 206:
            range_ = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "")
            )
            if range_ is None or int(range_[1]) != have:
                self.forget()
                raise _BrokenOffError("the server sent another part than the one asked for")
            start, total = have, int(range_[2])
        self.tag.write_text(_version(response))
        with (
            open(self.part, "ab" if start else "wb") as file,
            tqdm(
                total=total,
                initial=start,
                desc=self.path.name.partition("-")[2],
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                disable=None,
                file=sys.stderr,
            ) as bar,
        ):
            for chunk in self.chunks(response, start, total):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        size = self.part.stat().st_size
        if total is not None and size != total:
            if size > total:
                self.forget()
            raise _BrokenOffError(f"{size} of {total} bytes came")


def _version(response: requests.Response) -> str:
    """What identifies this version of the file for If-Range; empty: it cannot be resumed."""
    etag = response.headers.get("ETag", "")
    # A weak tag promises the same meaning, not the same bytes.
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
