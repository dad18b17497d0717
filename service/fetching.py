"""Pictures by address: fetched from public hosts only, whatever names and redirects say."""

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 3
_PIECE = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Resolve = Callable[[str, int], list[str]]


class FetchError(Exception):
    """An address that gives no picture; the text is for the caller."""


def fetch(url: str, max_bytes: int, timeout: float, resolve: Resolve | None = None) -> bytes:
    """What lies at an address.

    The name is resolved once, all that it stands for has to be public, and that very address is
    connected to, so that a name that changes in between gains nothing. Redirects are followed by
    the same rules. Credentials in an address and ports other than 80 and 443 are refused.

    Args:
        url: http or https.
        max_bytes: more are not read.
        timeout: seconds for all of it.
        resolve: name and port -> addresses; None: the system's.

    Raises:
        FetchError: it is not allowed, not there, too large or too slow.
    """
    deadline = time.monotonic() + timeout
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _checked(url)
        address = _public_address(parts, resolve or _resolve)
        answer = _get(parts, address, deadline)
        try:
            location = answer.headers.get("Location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                url = urljoin(url, location)
                continue
            if answer.status != 200:
                raise FetchError(f"the host answered {answer.status}")
            return _read(answer, max_bytes, deadline)
        finally:
            answer.close()
    raise FetchError(f"more than {_MAX_REDIRECTS} redirects")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError("this is no address") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise FetchError("only http and https addresses are fetched")
    if parts.username is not None or parts.password is not None:
        raise FetchError("addresses with a user or password are not fetched")
    if port not in (None, *_PORTS.values()):
        raise FetchError("only ports 80 and 443 are fetched from")
    return parts


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(text: str) -> bool:
    """Whether an IP address is one that anybody on the Internet may be sent to."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 or address.sixtofour is not None or address.teredo is not None:
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    return address.is_global and not address.is_multicast and not address.is_reserved


def _public_address(parts: SplitResult, resolve: Resolve) -> str:
    host = str(parts.hostname)
    try:
        found = resolve(host, parts.port or _PORTS[parts.scheme])
    except (OSError, UnicodeError) as error:
        raise FetchError("there is no such host") from error
    # One of several that is private is enough: which is taken must not be a matter of luck.
    if not found or not all(map(is_public, found)):
        raise FetchError("this host is not a public one")
    return found[0]


def _get(parts: SplitResult, address: str, deadline: float) -> urllib3.BaseHTTPResponse:
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    left = max(0.1, deadline - time.monotonic())
    common: Any = {"port": port, "timeout": urllib3.Timeout(total=left), "retries": False}
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(
            address, server_hostname=host, assert_hostname=host, **common
        )
    else:
        pool = urllib3.HTTPConnectionPool(address, **common)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"[{host}]" if ":" in host else host
    headers = {"Host": shown, "User-Agent": "gan-fingerprints", "Accept": "image/*"}
    try:
        return pool.urlopen(
            "GET", path, headers=headers, redirect=False, preload_content=False,
            decode_content=False, assert_same_host=False,
        )  # fmt: skip
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise FetchError("the host cannot be reached") from error


def _read(answer: urllib3.BaseHTTPResponse, max_bytes: int, deadline: float) -> bytes:
    content = bytearray()
    try:
        while piece := answer.read1(_PIECE):  # type: ignore[attr-defined]
            content += piece
            if len(content) > max_bytes:
                raise FetchError("the file is too large")
            if time.monotonic() > deadline:
                raise FetchError("the host is too slow")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise FetchError("the file cannot be read") from error
    return bytes(content)
