"""What people say on answers, one JSON line each, in a file of the inventor's."""

import os
import re
import secrets
import threading
from datetime import UTC, datetime
from typing import Any

from dnnlib.atomic import write_error
from dnnlib.canonical_json import canonical_json, parse_json
from dnnlib.errors import UserError

_MAX_TEXT = 2000  # characters
_MAX_FILE = 100_000_000  # bytes
_FIELDS = {"id", "sha256", "verdict", "expected", "text"}


def parse_feedback(body: bytes) -> dict[str, Any]:
    """An entry, with an id of its own and the time.

    Args:
        body: JSON with `text`, and, of the answer that it is about, `id` (kept as `answer`),
            `sha256`, `verdict`; `expected`: what the verdict should have been.

    Raises:
        ValueError: it is no such JSON; says why.
    """
    try:
        values = parse_json(body)
    except ValueError as error:
        raise ValueError("this is no JSON") from error
    if not isinstance(values, dict) or set(values) - _FIELDS:
        raise ValueError(f"expected an object with some of {', '.join(sorted(_FIELDS))}")
    if not all(isinstance(value, str) and len(value) <= _MAX_TEXT for value in values.values()):
        raise ValueError(f"every value is a text of at most {_MAX_TEXT} characters")
    if not re.fullmatch("([0-9a-f]{64})?", values.get("sha256", "")):
        raise ValueError("sha256 is that of a picture's file, in hex")
    if not values.get("text") and not values.get("expected"):
        raise ValueError("text or expected is missing")
    if "id" in values:
        values["answer"] = values.pop("id")
    return {
        "id": secrets.token_hex(8),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **values,
    }


class Feedback:
    """The file."""

    def __init__(self, path: str) -> None:
        """Makes it, for its owner alone, if it is not there.

        Raises:
            UserError: it cannot be written.
        """
        self._path = path
        self._lock = threading.Lock()
        self._append(b"")

    def add(self, entry: dict[str, Any]) -> None:
        """Adds an entry, which is on the disk then.

        Raises:
            UserError: it cannot be written, or the file is full; no part of it is left.
        """
        line = canonical_json(entry).encode("utf-8", "surrogatepass") + b"\n"
        with self._lock:
            self._append(line)

    def _append(self, line: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "ab", buffering=0) as file:
                size = os.fstat(descriptor).st_size
                if size + len(line) > _MAX_FILE:
                    raise UserError(f"{self._path} is full; move it away")
                try:
                    if file.write(line) != len(line):
                        raise OSError(28, "No space left on device")
                    os.fsync(descriptor)
                except OSError:
                    os.truncate(descriptor, size)
                    raise
        except OSError as error:
            raise write_error(self._path, error) from error
