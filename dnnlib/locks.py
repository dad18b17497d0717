"""Locks on open files: they end with the process that holds them, however that ends.

For work that others wait for, `filelock.FileLock` is used as it is. Here is what it has not: locks
that move with the folder that the file is in, and that several may share.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

FILE_NAME = ".lock"  # in a folder that belongs to one process at a time


def try_lock(file: IO[Any]) -> bool:
    """Locks an open file until it is closed; False when another holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share_lock(file: IO[Any]) -> None:
    """Shares an open file with all who share it, once nobody has it alone.

    Raises:
        OSError: the file system has no locks.
    """
    fcntl.flock(file, fcntl.LOCK_SH)


def try_lock_folder(folder: str | os.PathLike[str]) -> IO[bytes] | None:
    """Locks a folder until the returned file is closed or the process ends.

    Returns:
        The open lock file, or None when a live process holds the folder.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    file = open(Path(folder) / FILE_NAME, "ab")  # noqa: SIM115 - it stays open
    is_held = False
    try:
        is_held = try_lock(file)
    finally:
        if not is_held:
            file.close()
    return file if is_held else None
