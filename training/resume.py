"""Finds the run that a command goes on with, and says what differs."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from dnnlib.atomic import is_incomplete, write_error
from dnnlib.config import complete, differences, load_json, save_json, to_dict
from dnnlib.errors import UserError
from dnnlib.locks import FILE_NAME as LOCK_FILE
from dnnlib.locks import try_lock_folder
from dnnlib.run_dir import create_run_dir
from dnnlib.tflib.hardware import cpu_identity
from training.checkpoint import Position, read_position
from training.config import TrainConfig

SETTINGS_FILE = "training_options.json"

# Settings that may differ when a run goes on: how long it is, what is written when, paths; and how
# it is computed, which `differences` reports.
_FREE = {
    "data_dir", "total_kimg", "metrics", "ticks", "checkpoints", "inception", "ops", "num_gpus",
}  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, which this process holds as long as `lock` is open."""

    path: Path
    position: Position | None  # of its newest checkpoint; None: there is none
    lock: IO[bytes] | None  # None: it was only looked at

    @property
    def threads(self) -> int | None:
        """Threads per operation that the run has had; None if that is not known."""
        if self.position is None:
            return None
        return int(self.position.environment.get("threads") or 0) or None

    def close(self) -> None:
        """Lets others have the folder."""
        if self.lock is not None:
            self.lock.close()


def settings_of(config: TrainConfig, num_images: int) -> dict[str, Any]:
    """What must be the same when a run goes on.

    Args:
        config: of the run.
        num_images: of the data set, which the order of images depends on.
    """
    settings = {name: value for name, value in to_dict(config).items() if name not in _FREE}
    # As JSON keeps them.
    settings["modulated_log2"] = list(settings["modulated_log2"])
    return settings | {"dataset_images": num_images}


def environment_of(**more: Any) -> dict[str, Any]:
    """What the last bits of the weights depend on beside the settings.

    Args:
        more: what only the caller knows: `--ops` as resolved, threads, number of devices.
    """
    try:
        cpu = hashlib.sha256(cpu_identity().encode()).hexdigest()[:12]
    except OSError:
        cpu = "unknown"
    return {
        "tensorflow": tf.__version__,
        "numpy": np.__version__,  # it does not promise the same random numbers for ever
        "cpu": cpu,
        **more,
    }


def find_run(
    result_dir: str, resume: str, config: TrainConfig, num_images: int, *, is_chief: bool = True
) -> RunFolder | None:
    """The run that a command goes on with, locked; nothing is written.

    Args:
        result_dir: parent of the run folders.
        resume: `auto`, `none`, or a run folder.
        config: of the command.
        num_images: of the data set.
        is_chief: False for the other workers of a run: their chief has the lock, they only look.

    Returns:
        None if a new run has to be begun.

    Raises:
        UserError: the folder named is in use, of other settings, finished, or no run at all.
    """
    if resume == "none":
        return None
    if resume != "auto":
        return _named(Path(resume), config, num_images, is_chief)
    for path in _newest_first(Path(result_dir)):
        found = _open(path, config, is_chief)
        if found is None:
            continue
        finished = found.position is not None and found.position.finished
        if not finished and not _differences(found, config, num_images):
            return found
        found.close()
    return None


def begin_run(result_dir: str, config: TrainConfig) -> RunFolder:
    """The locked folder of a new run.

    Raises:
        UserError: it cannot be made.
    """
    while True:
        path = create_run_dir(result_dir, config.description)
        lock = _try_lock(path)
        if lock is not None:  # else another command was faster to go on with it
            return RunFolder(path, None, lock)


def write_settings(folder: RunFolder, config: TrainConfig) -> None:
    """Writes what the run's command has settled; a folder without it is not one to go on with."""
    save_json(config, folder.path / SETTINGS_FILE)


def _newest_first(result_dir: Path) -> list[Path]:
    if not result_dir.is_dir():
        return []
    found = [path for path in result_dir.iterdir() if re.match(r"\d{5,}-", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]), reverse=True)


def _try_lock(path: Path) -> IO[bytes] | None:
    try:
        return try_lock_folder(path)
    except OSError as error:
        raise write_error(path / LOCK_FILE, error) from error


def _open(path: Path, config: TrainConfig, is_chief: bool) -> RunFolder | None:
    """A folder that may hold a run; None if it does not, or is in use."""
    if not os.access(path, os.W_OK):
        return None
    if not (path / SETTINGS_FILE).is_file() and not _is_new(path, config):
        return None
    lock = _try_lock(path) if is_chief else None
    if is_chief and lock is None:
        return None
    # Read behind the lock: nobody changes it any more.
    return RunFolder(path, read_position(path), lock)


def _is_new(path: Path, config: TrainConfig) -> bool:
    """Whether the folder has the name of such a run, which was killed before it wrote a file."""
    if path.name.partition("-")[2] != config.description or not path.is_dir():
        return False
    names = {file.name for file in path.iterdir() if not is_incomplete(file)}
    return names <= {LOCK_FILE}


def _named(path: Path, config: TrainConfig, num_images: int, is_chief: bool) -> RunFolder:
    flag = f"--resume={path}"
    if not (path / SETTINGS_FILE).is_file():
        raise UserError(f"{flag} is no run folder (it has no {SETTINGS_FILE}); name one, or `auto`")
    lock = _try_lock(path) if is_chief else None
    if is_chief and lock is None:
        raise UserError(f"{flag} is in use by another process; wait for it or choose another run")
    found = RunFolder(path, read_position(path), lock)
    position = found.position
    different = _differences(found, config, num_images)
    if different:
        found.close()
        raise UserError(
            f"{flag} is a run of other settings: {', '.join(different)}; repeat its flags, or "
            "start a new run with --resume=none"
        )
    if position is not None and position.finished and config.total_kimg <= _kimg(position):
        found.close()
        raise UserError(
            f"{flag} has finished at {_kimg(position):g} kimg; raise --total-kimg to go on with it"
        )
    return found


def _differences(folder: RunFolder, config: TrainConfig, num_images: int) -> list[str]:
    """What differs between a run's settings and those of the command."""
    now = settings_of(config, num_images)
    if folder.position is not None:
        before = complete(TrainConfig, folder.position.settings)
        return differences({name: v for name, v in before.items() if name not in _FREE}, now)
    if not (folder.path / SETTINGS_FILE).is_file():
        return []  # killed before its first file
    # Stopped before its first checkpoint.
    try:
        earlier = load_json(TrainConfig, folder.path / SETTINGS_FILE)
    except UserError:
        return [f"{SETTINGS_FILE} cannot be read"]
    return differences(settings_of(earlier, num_images), now)


def _kimg(position: Position) -> float:
    return position.num_images / 1000
