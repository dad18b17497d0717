"""A run folder belongs to one process at a time; the lock ends with it, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import IO

from dnnlib.atomic import write_error

FILE_NAME = ".lock"


def try_lock(run_dir: str | os.PathLike[str]) -> IO[bytes] | None:
    """Locks a run folder until the returned file is closed or the process ends.

    Returns:
        The open lock file, or None when a live process holds the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(run_dir) / FILE_NAME
    try:
        file = open(path, "ab")  # noqa: SIM115 - the lock lives as long as it is open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
    except OSError as error:
        raise write_error(path, error) from error
    return file
