"""Standard output and error that take any text, and whose failures are one line."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from dnnlib.errors import UserError


class _Output:
    """Standard output; a full disk behind it becomes a UserError, a reader that has gone does not.

    Everything else is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _reporting():
            return self._stream.write(text)

    def flush(self) -> None:
        with _reporting():
            self._stream.flush()


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot write standard output: {error.strerror or error}; what it goes to must have "
            "room and be open"
        ) from error


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Within this block no text that is printed can end the process with a traceback.

    Characters that the streams' encoding lacks are written as `\\xe9`; a stream that was closed
    before the process began swallows what is printed.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                setattr(sys, name, stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
            elif hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout = _Output(sys.stdout)  # type: ignore[assignment]
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def discard_output() -> None:
    """Whatever standard output still holds goes nowhere: it could not be written."""
    if sys.stdout is None:
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
