"""Numbered result folders: `<result-dir>/00000-<description>`, `00001-...`."""

import os
import re
from pathlib import Path

from dnnlib.atomic import write_error
from dnnlib.errors import UserError

FINISHED = "_finished.txt"  # empty; there when the command has come to its end
LOG = "log.txt"


def create_run_dir(result_dir: str | os.PathLike[str], description: str) -> Path:
    """Creates the next numbered folder; safe when several processes do so at once.

    Args:
        result_dir: parent folder, created if missing.
        description: what follows the five-digit number.

    Raises:
        UserError: the folder cannot be created.
    """
    parent = Path(result_dir)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 0
        for entry in parent.iterdir():
            match = re.match(r"(\d+)-", entry.name)
            if match:
                number = max(number, int(match.group(1)) + 1)
        while True:
            # A lock folder of the number alone decides the race between processes that start at
            # once with different descriptions.
            claim = parent / f".{number:05d}.claim"
            path = parent / f"{number:05d}-{description}"
            try:
                claim.mkdir()
            except FileExistsError:
                number += 1
                continue
            try:
                if any(parent.glob(f"{number:05d}-*")):
                    number += 1
                    continue
                path.mkdir()
                return path
            finally:
                claim.rmdir()
    except (NotADirectoryError, FileExistsError) as error:
        raise UserError(f"--result-dir={parent}: a part of this path is a file") from error
    except OSError as error:
        raise write_error(parent, error) from error


def check_result_dir(result_dir: str | os.PathLike[str]) -> None:
    """Whether folders can be made below `result_dir`; nothing is written.

    Raises:
        UserError: a part of the path is a file, or may not be written.
    """
    path = Path(os.path.abspath(result_dir))
    while not path.exists() and path != path.parent:
        path = path.parent
    if not path.is_dir():
        raise UserError(f"--result-dir={result_dir}: {path} is a file; name another folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"--result-dir={result_dir}: you may not write in {path}; name another")


def mark_finished(run_dir: Path) -> None:
    """Leaves the file that says that a command has come to its end, as published.

    Raises:
        UserError: it cannot be written.
    """
    try:
        (run_dir / FINISHED).touch()
    except OSError as error:
        raise write_error(run_dir / FINISHED, error) from error


def unmark_finished(run_dir: Path) -> None:
    """Takes it away, where a finished run is made longer."""
    (run_dir / FINISHED).unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Appends one line in a single write, so that no half line is left by an interrupt.

    It is on the disk when this returns.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(f"{line}\n".encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from error
