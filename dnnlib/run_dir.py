"""Numbered result folders: `<result-dir>/00000-<description>`, `00001-...`."""

import os
import re
from pathlib import Path

from dnnlib.atomic import write_error
from dnnlib.errors import UserError


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
