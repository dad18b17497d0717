"""Who may ask, and how often: hashed keys with scopes, and a limit per key and per address."""

import functools
import hashlib
import ipaddress
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import canonical_json, parse_json
from dnnlib.errors import UserError
from dnnlib.files import is_file, read_bytes

SCOPES = ("verify", "feedback", "metrics")
ANONYMOUS_SCOPES = frozenset({"verify", "feedback"})
_PREFIX = "gf_"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_MAX_BUCKETS = 100_000  # addresses that are remembered; the longest unseen goes first


@dataclass(frozen=True)
class CallerKey:
    """What is kept of a key; not the key."""

    name: str
    sha256: str  # of the key's text, which has 256 random bits: no slower hash is needed
    scopes: tuple[str, ...] = ("verify", "feedback")
    per_minute: int = 600  # pictures


class Keys:
    """The keys in a file, read again when the file changes: one a line, as JSON."""

    def __init__(self, path: str | None) -> None:
        """Reads the file; None: there are none.

        Raises:
            UserError: it cannot be read, or holds something else.
        """
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, CallerKey] = {}
        if path is not None:
            self.reload()

    def find(self, key: str) -> CallerKey | None:
        """The entry of a key that a caller showed; None: there is none."""
        # A table by hashes tells nothing by its time: who could choose a hash has the key.
        return self._keys.get(_hash(key))

    def reload(self) -> None:
        """Reads the file again if it is another one by now.

        Raises:
            UserError: as the constructor. The keys that were known stay.
        """
        if self._path is None:
            return
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = None
        if stamp is not None and stamp == self._stamp:
            return
        self._keys = {key.sha256: key for key in read_keys(self._path)}
        self._stamp = stamp


def read_keys(path: str | os.PathLike[str]) -> list[CallerKey]:
    """The entries of a file of keys.

    Raises:
        UserError: it cannot be read, or a line is no entry.
    """
    entries = []
    for number, line in enumerate(read_bytes(path, "the callers' keys").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
            entry = CallerKey(**values | {"scopes": tuple(values["scopes"])})
            is_right = re.fullmatch("[0-9a-f]{64}", entry.sha256) and set(entry.scopes) <= {*SCOPES}
            if not is_right or not isinstance(entry.per_minute, int) or entry.per_minute < 1:
                raise ValueError("a field has no such value")
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{os.fspath(path)}, line {number}: no entry of a caller's key ({error}); restore "
                "the file, or make the keys anew with serve-key"
            ) from error
        entries.append(entry)
    return entries


def add_key(path: str | os.PathLike[str], name: str, scopes: tuple[str, ...], rate: int) -> str:
    """Makes a key and adds its hash to a file, which is made if it is not there.

    Returns:
        The key, which stands nowhere else.

    Raises:
        UserError: the name is taken or is none, or the file cannot be written.
    """
    entries = read_keys(path) if is_file(path) else []
    if not _NAME.fullmatch(name):
        raise UserError(f"--name={name}: use 1 to 100 letters, digits and ._@+-")
    if any(entry.name == name for entry in entries):
        raise UserError(
            f"{os.fspath(path)} has a key called {name}; remove its line or use another"
        )
    key = _PREFIX + secrets.token_urlsafe(32)
    _write(path, [*entries, CallerKey(name, _hash(key), scopes, rate)])
    return key


def remove_key(path: str | os.PathLike[str], name: str) -> None:
    """Takes a key out of a file; a service that runs notices.

    Raises:
        UserError: it is not there, or the file cannot be written.
    """
    entries = read_keys(path)
    left = [entry for entry in entries if entry.name != name]
    if len(left) == len(entries):
        raise UserError(f"{os.fspath(path)} has no key called {name}; check --name")
    _write(path, left)


def _write(path: str | os.PathLike[str], entries: list[CallerKey]) -> None:
    with open_atomic(Path(path), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines(canonical_json(asdict(entry)) + "\n" for entry in entries)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class RateLimit:
    """Token buckets: each name may take `per_minute` at once, and as many again each minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Remembers nobody yet."""
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, since when

    def take(self, name: str, count: int, per_minute: int) -> int:
        """Takes so many tokens, if they are there.

        Returns:
            0; or the seconds after which they will be there.
        """
        now = self._clock()
        tokens, since = self._buckets.pop(name, (float(per_minute), now))
        tokens = min(float(per_minute), tokens + (now - since) * per_minute / 60)
        # More than ever fit are let through when all are there, and owed.
        needed = min(count, per_minute)
        wait = 0 if tokens >= needed else max(1, round((needed - tokens) * 60 / per_minute))
        self._buckets[name] = (tokens if wait else tokens - count, now)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return wait


@functools.lru_cache(10_000)
def address_name(host: str) -> str:
    """What shares a limit: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
