"""Lines of the log: written together every now and then, since each write lets requests wait."""

import logging
import os
import sys
import time

_WAIT = 0.2  # seconds that a line of no urgency may wait for the next


class LogLines(logging.Handler):
    """Writes to stderr.

    Warnings are written at once, other lines when `_WAIT` has passed since the last write, and at
    the end. What is lost when the process is killed, or the disk is full, are lines, not answers.
    """

    def __init__(self) -> None:
        """Takes the process's stderr."""
        super().__init__()
        self._lines: list[str] = []
        self._written = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line."""
        try:
            self._lines.append(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
        now = time.monotonic()
        if record.levelno >= logging.WARNING or now - self._written > _WAIT:
            self._written = now
            self.flush()

    def flush(self) -> None:
        """Writes what has waited."""
        lines, self._lines = self._lines, []
        content = "".join(lines).encode("utf-8", "backslashreplace")
        try:
            while content:
                content = content[os.write(sys.stderr.fileno(), content) :]
        except (OSError, ValueError):  # there is nobody to tell
            return

    def close(self) -> None:
        """Writes what has waited."""
        self.flush()
        super().close()


def write_waiting() -> None:
    """Writes the lines that wait, wherever they do."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogLines):
            handler.flush()
