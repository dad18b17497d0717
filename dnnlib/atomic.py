"""Files and folders that appear under their final name complete or not at all.

Until then a file is called `.NAME.<8 hex digits>.tmp` and a folder `NAME.incomplete-<8 hex
digits>`, beside their final place. What is renamed is on the disk: a power cut does not undo it.
"""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from dnnlib.errors import UserError
from dnnlib.locks import FILE_NAME, try_lock

_CURES = {
    errno.ENOSPC: "free some space or choose another folder, then run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file would be larger than the limit (see `ulimit -f`): raise it",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "you may not write there: choose another folder or change its permissions",
    errno.EPERM: "you may not write there: choose another folder or change its permissions",
    errno.ENOTDIR: "a part of this path is a file: choose another folder",
    errno.EEXIST: "a part of this path is a file: choose another folder",
    errno.ENOTEMPTY: "another command has made it meanwhile: remove it or choose another name",
}


def write_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """The one-line form of a failed write to `path`: what, where, the cure."""
    cure = _CURES.get(error.errno or 0, "check the folder and run the command again")
    return UserError(f"cannot write {os.fspath(path)}: {error.strerror or error}; {cure}")


def access_error(path: str | os.PathLike[str], error: OSError) -> UserError:
    """The one-line form of a file that could not be used, where nothing more is known."""
    cure = _CURES.get(error.errno or 0, "check the path, its permissions and the disk")
    return UserError(f"cannot use {os.fspath(path)}: {error.strerror or error}; {cure}")


def temporary_name(path: str | os.PathLike[str]) -> Path:
    """A new name beside `path` under which it can be written until it is complete."""
    path = Path(path)
    # Not the process id: on a shared disk two machines may write the same file.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def is_incomplete(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder is, by its name, one that is being written or was interrupted."""
    name = Path(path).name
    return bool(re.search(r"^\..*\.[0-9a-f]{8}\.tmp$|.\.incomplete-[0-9a-f]{8}$", name))


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
        _sync_folder(Path(path).parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # most often it has been renamed
            temporary.unlink()


@contextmanager
def folder_atomic(
    path: str | os.PathLike[str], *, replace: bool = False, journal: str | None = None
) -> Iterator[Path]:
    """Yields a temporary folder beside `path` and renames it to `path` when the block succeeds.

    What killed processes have left of the same folder is removed first, which one line on stderr
    says; what a live process is writing stays.

    Args:
        path: final name.
        replace: a folder that is there already stays until the new one is complete, and goes then.
        journal: name of a file by which work can go on. A temporary folder that has it is not
            removed, neither when the block fails nor later, but is yielded the next time. When the
            folder gets its name, all files in it go whose names begin like that.

    Raises:
        UserError: `path` exists already (unless `replace`), or cannot be written. The temporary
            folder is removed, unless it has its journal.
    """
    path = Path(path)
    left = _take_over_leftovers(path, journal)
    with contextlib.ExitStack() as stack:
        if left is not None:
            stack.enter_context(left.lock)
        if path.exists() and not replace:
            raise UserError(f"{path} exists already; remove it or choose another name")
        try:
            temporary = left.folder if left is not None else stack.enter_context(_locked_new(path))
            stack.callback(_remove_unless_kept, temporary, journal)
            yield temporary
            _sync_tree(temporary)
            if replace:
                remove_folder(path)
            temporary.rename(path)
            for file in [FILE_NAME] if journal is None else [FILE_NAME, f"{glob.escape(journal)}*"]:
                for done in path.glob(file):
                    done.unlink(missing_ok=True)
            _sync_folder(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise write_error(path, error) from error


@contextmanager
def _locked_new(path: Path) -> Iterator[Path]:
    """A new temporary folder beside `path`, locked as long as the block runs."""
    hidden = temporary_name(path)
    temporary = path.with_name(f"{path.name}.incomplete-{secrets.token_hex(4)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        hidden.mkdir()
        with open(hidden / FILE_NAME, "wb") as lock:
            with contextlib.suppress(OSError):  # a file system without locks
                try_lock(lock)
            hidden.rename(temporary)  # only now can others see it, and see that it is locked
            yield temporary
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _remove_unless_kept(folder: Path, journal: str | None) -> None:
    if journal is None or not (folder / journal).exists():
        shutil.rmtree(folder, ignore_errors=True)


def remove_folder(path: str | os.PathLike[str]) -> None:
    """Removes a folder in such a way that no part of it ever carries its name.

    It is renamed first. What then cannot be deleted, or is left by a kill, is `is_incomplete`. A
    folder that does not exist is no error.

    Raises:
        UserError: the folder cannot be renamed.
    """
    temporary = temporary_name(path)
    try:
        os.rename(path, temporary)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(path, error) from error
    shutil.rmtree(temporary, ignore_errors=True)


class _Leftover(NamedTuple):
    """A folder of a killed process that is now this one's."""

    folder: Path
    lock: IO[bytes]


def _take_over_leftovers(path: Path, journal: str | None) -> _Leftover | None:
    """Removes what killed processes have left of the folder `path`, but for one with a journal."""
    found: _Leftover | None = None
    for folder in sorted(path.parent.glob(f"{glob.escape(path.name)}.incomplete-*")):
        if not is_incomplete(folder):
            continue
        with contextlib.ExitStack() as stack:
            try:
                # For writing, as locks on NFS need it.
                lock = stack.enter_context(open(folder / FILE_NAME, "rb+"))
                if not try_lock(lock):
                    continue  # a live process is at it
            except FileNotFoundError:
                pass  # half removed: a writer's folder has it all the time
            except OSError:
                continue  # that cannot be told
            else:
                if journal is not None and (folder / journal).exists():
                    if found is None:
                        stack.pop_all()
                        found = _Leftover(folder, lock)
                    continue
            try:
                shutil.rmtree(folder)
            except OSError:  # not ours to remove, or another command was faster
                continue
        print(f"removed {folder}, which an interrupted command had left", file=sys.stderr)
    return found


def _sync_tree(folder: Path) -> None:
    """Waits until the files of a folder are on the disk; that may fail as writing them may."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(root)


def _sync_folder(folder: str | os.PathLike[str]) -> None:
    """Waits until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
