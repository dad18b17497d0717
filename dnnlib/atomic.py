"""Files and folders that appear under their final name complete or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dnnlib.errors import UserError

_CURES = {
    errno.ENOSPC: "free some space or choose another folder, then run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file would be larger than the limit (see `ulimit -f`): raise it",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "you may not write there: choose another folder or change its permissions",
    errno.EPERM: "you may not write there: choose another folder or change its permissions",
    errno.ENOTDIR: "a part of this path is a file: choose another folder",
    errno.EEXIST: "a part of this path is a file: choose another folder",
}


def write_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """The one-line form of a failed write to `path`: what, where, the cure."""
    cure = _CURES.get(error.errno or 0, "check the folder and run the command again")
    return UserError(f"cannot write {os.fspath(path)}: {error.strerror or error}; {cure}")


def temporary_name(path: str | os.PathLike[str]) -> Path:
    """The name beside `path` under which it is written until it is complete."""
    path = Path(path)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def open_atomic(path: str | os.PathLike[str], mode: str = "wb", **kwargs: Any) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` and renames it to `path` when the block succeeds.

    Args:
        path: final name; an existing file is replaced in one step.
        mode: "wb" or "w".
        kwargs: further arguments of `open`.

    Raises:
        UserError: no space, no permission or no such folder. Nothing is left behind.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, mode, **kwargs) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `path` and renames it to `path` when the block succeeds.

    Raises:
        UserError: `path` exists already, or cannot be written. The temporary folder is removed.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} exists already; remove it or choose another name")
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
