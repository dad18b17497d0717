"""Finds the run that a command goes on with, and says what differs."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from dnnlib.atomic import is_incomplete
from dnnlib.config import load_json, save_json, to_dict
from dnnlib.errors import UserError
from dnnlib.run_dir import create_run_dir
from dnnlib.run_lock import FILE_NAME as LOCK_FILE
from dnnlib.run_lock import try_lock
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
    lock: IO[bytes]


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


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`name (before, now ...)` of every entry that is not the same; nested ones by dotted names."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{text}" for text in differences(old, new)]
        elif old != new:
            found.append(f"{name} ({old}, now {new})")
    return found


def find_folder(result_dir: str, resume: str, config: TrainConfig, num_images: int) -> RunFolder:
    """The locked folder of the run to go on with, or of a new one; its settings are written.

    Args:
        result_dir: parent of the run folders.
        resume: `auto`, `none`, or a run folder.
        config: of the command.
        num_images: of the data set.

    Raises:
        UserError: the folder named is in use, of other settings, finished, or no run at all.
    """
    found = _find_or_create(result_dir, resume, config, num_images)
    # At once: a folder without settings is not one to go on with.
    save_json(config, found.path / SETTINGS_FILE)
    return found


def _find_or_create(
    result_dir: str, resume: str, config: TrainConfig, num_images: int
) -> RunFolder:
    if resume not in ("auto", "none"):
        return _named(Path(resume), config, num_images)
    if resume == "auto":
        for path in _newest_first(Path(result_dir)):
            found = _continue(path, config, num_images)
            if found is not None:
                return found
    while True:
        path = create_run_dir(result_dir, config.description)
        lock = try_lock(path)
        if lock is not None:  # else another command was faster to go on with it
            return RunFolder(path, lock)


def find_threads(result_dir: str, resume: str, config: TrainConfig, num_images: int) -> int | None:
    """Threads per operation of the run that `find_folder` would go on with; None if it is new."""
    folders = [] if resume == "none" else _newest_first(Path(result_dir))
    for path in [Path(resume)] if resume not in ("auto", "none") else folders:
        position = read_position(path)
        if position is None or (resume == "auto" and position.finished):
            continue
        if not _differences(path, config, num_images, position):
            return int(position.environment.get("threads") or 0) or None
    return None


def _newest_first(result_dir: Path) -> list[Path]:
    if not result_dir.is_dir():
        return []
    found = [path for path in result_dir.iterdir() if re.match(r"\d{5,}-", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]), reverse=True)


def _continue(path: Path, config: TrainConfig, num_images: int) -> RunFolder | None:
    """The folder, if it holds a run that `auto` goes on with."""
    if not os.access(path, os.W_OK):
        return None
    if not (path / SETTINGS_FILE).is_file() and not _is_new(path, config):
        return None
    lock = try_lock(path)
    if lock is None:
        return None
    # Read behind the lock: nobody changes it any more.
    if not (path / SETTINGS_FILE).is_file():
        return RunFolder(path, lock)
    position = read_position(path)
    finished = position is not None and position.finished
    if finished or _differences(path, config, num_images, position):
        lock.close()
        return None
    return RunFolder(path, lock)


def _is_new(path: Path, config: TrainConfig) -> bool:
    """Whether the folder has the name of such a run, which was killed before it wrote a file."""
    if path.name.partition("-")[2] != config.description or not path.is_dir():
        return False
    names = {file.name for file in path.iterdir() if not is_incomplete(file)}
    return names <= {LOCK_FILE}


def _named(path: Path, config: TrainConfig, num_images: int) -> RunFolder:
    flag = f"--resume={path}"
    if not (path / SETTINGS_FILE).is_file():
        raise UserError(f"{flag} is no run folder (it has no {SETTINGS_FILE}); name one, or `auto`")
    lock = try_lock(path)
    if lock is None:
        raise UserError(f"{flag} is in use by another process; wait for it or choose another run")
    position = read_position(path)
    different = _differences(path, config, num_images, position)
    if different:
        lock.close()
        raise UserError(
            f"{flag} is a run of other settings: {', '.join(different)}; repeat its flags, or "
            "start a new run with --resume=none"
        )
    if position is not None and position.finished and config.total_kimg <= _kimg(position):
        lock.close()
        raise UserError(
            f"{flag} has finished at {_kimg(position):g} kimg; raise --total-kimg to go on with it"
        )
    return RunFolder(path, lock)


def _differences(
    path: Path, config: TrainConfig, num_images: int, position: Position | None
) -> list[str]:
    """What differs between a run's settings and those of the command."""
    now = settings_of(config, num_images)
    if position is not None:
        return differences(position.settings, now)
    # Stopped before its first checkpoint.
    try:
        before = load_json(TrainConfig, path / SETTINGS_FILE)
    except UserError:
        return [f"{SETTINGS_FILE} cannot be read"]
    return differences(settings_of(before, num_images), now)


def _kimg(position: Position) -> float:
    return position.num_images / 1000
