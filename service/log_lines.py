"""Lines of the log: written together every now and then, since each write lets requests wait."""

import io
import logging
import os
import sys
import time

_WAIT = 0.2  # seconds that a line of no urgency may wait for the next


class LogLines(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr.

    Warnings are written at once, other lines when `_WAIT` has passed since the last write, when
    there are many, and at the end. What is lost when the process is killed are lines, not answers.
    """

    def __init__(self) -> None:
        """Takes the process's stderr."""
        # What is behind sys.stderr, without its habit to write at every end of a line.
        descriptor = os.dup(sys.stderr.fileno())
        binary = os.fdopen(descriptor, "wb")
        super().__init__(io.TextIOWrapper(binary, "utf-8", errors="backslashreplace"))
        self._is_urgent = False
        self._written = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line."""
        self._is_urgent = record.levelno >= logging.WARNING
        super().emit(record)

    def flush(self) -> None:
        """Called after every line."""
        now = time.monotonic()
        if self._is_urgent or now - self._written > _WAIT:
            self._written = now
            super().flush()

    def write_all(self) -> None:
        """What has waited."""
        self._is_urgent = True
        self.flush()

    def close(self) -> None:
        """Writes what has waited."""
        self.write_all()
        super().close()


def write_waiting() -> None:
    """Writes the lines that wait, wherever they do."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogLines):
            handler.write_all()
