"""Keeps the programs that XLA compiles, so that the next command does not compile them again.

TensorFlow has such a cache but trusts its files: one that is damaged ends the command. So every
file gets a checksum when the command that wrote it ends, and a command that finds itself alone
removes what has none, or another one, before TensorFlow looks.

Programs for CPUs alone are kept, and only for the very same CPU: other programs could contain
instructions that it lacks.
"""

import atexit
import hashlib
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path
from typing import IO

from dnnlib.cache import default_cache_dir
from dnnlib.locks import share_lock, try_lock
from dnnlib.tflib.hardware import cpu_identity

VARIABLE = "GAN_FINGERPRINTS_XLA_CACHE"  # 0 switches it off
LIMIT_BYTES = 512 << 20  # of all programs for one CPU and version; the oldest go first
FREE_BYTES = 1 << 30  # on the disk; with less, TensorFlow may fail to write and give up
_DIRECTORY_FLAG = "--tf_xla_persistent_cache_directory"
_locks: list[IO[bytes]] = []  # held until the process ends


def enable() -> Path | None:
    """Sets TF_XLA_FLAGS so that programs are kept; call it before TensorFlow is imported.

    Returns:
        The folder. None where nothing is kept: it is switched off, TensorFlow is there already,
        TF_XLA_FLAGS names a folder of the user's own, or ours cannot be used safely.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if (
        os.environ.get(VARIABLE) == "0"
        or _DIRECTORY_FLAG.lstrip("-") in flags
        or "tensorflow" in sys.modules
    ):
        return None
    try:
        folder = default_cache_dir() / "xla" / cache_key()
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
        if any(character.isspace() for character in str(folder)) or not _is_private(folder):
            return None  # flags end at a space; and programs must not come from somebody else
        if shutil.disk_usage(folder).free < FREE_BYTES:
            return None
        _lock_and_clean(folder)
    except (OSError, importlib.metadata.PackageNotFoundError):
        return None
    ours = f"{_DIRECTORY_FLAG}={folder} --tf_xla_persistent_cache_device_types=CPU"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {ours}".strip()
    atexit.register(seal, folder)
    return folder


def cache_key() -> str:
    """What a compiled program depends on besides its source, as the name of a folder.

    TensorFlow's version, the CPU, how many of its cores this process may use, and XLA's flags.
    """
    parts = [
        cpu_identity(),
        str(len(os.sched_getaffinity(0))),
        os.environ.get("XLA_FLAGS", ""),
        os.environ.get("TF_XLA_FLAGS", ""),
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return f"{importlib.metadata.version('tensorflow')}-{digest}"


def seal(folder: Path) -> None:
    """Writes the checksums of new programs; what cannot be written is compiled again.

    New is also one that another command compiled at the same time, and put in the place of ours.
    """
    try:
        for entry in folder.glob("*.pb"):
            path = _checksum_path(entry)
            if not path.exists() or path.stat().st_mtime_ns < entry.stat().st_mtime_ns:
                path.write_text(_checksum(entry))
    except OSError:
        pass


def _is_private(folder: Path) -> bool:
    """Whether nobody else can write there, neither in the folder nor replace it."""
    return all(
        path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o022
        for path in (folder, folder.parent)
    )


def _lock_and_clean(folder: Path) -> None:
    """Shares the folder with other commands until the process ends.

    The one that is alone cleans it up first: while others run, none of their files disappears,
    and what they have added since is whole, for TensorFlow renames a file when it is complete.
    """
    lock = open(folder / "lock", "wb")  # noqa: SIM115  it stays open
    if try_lock(lock):
        _clean(folder)
    share_lock(lock)
    _locks.append(lock)


def _clean(folder: Path) -> None:
    for path in folder.iterdir():
        # What an interrupted command left, or a checksum without its program.
        if path.name.endswith(".tmp") or (
            path.suffix == ".sha256" and not path.with_suffix("").exists()
        ):
            path.unlink()
    total = 0
    entries = sorted(folder.glob("*.pb"), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries:
        total += entry.stat().st_size
        if total > LIMIT_BYTES or not _is_whole(entry):
            entry.unlink()
            _checksum_path(entry).unlink(missing_ok=True)


def _is_whole(entry: Path) -> bool:
    path = _checksum_path(entry)
    return path.exists() and path.read_bytes() == _checksum(entry).encode()


def _checksum_path(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.sha256")


def _checksum(entry: Path) -> str:
    with open(entry, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
