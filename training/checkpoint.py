"""Checkpoints: everything that a run needs to go on exactly as if it had not stopped.

A checkpoint is a folder `<run>/checkpoints/000017` with TensorFlow's `variables.*` and with
`position.json`. It appears complete or not at all; the highest number is the newest.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tensorflow as tf

from dnnlib.atomic import folder_atomic, is_incomplete, remove_folder
from dnnlib.config import load_json, save_json
from dnnlib.errors import UserError
from dnnlib.tflib.write_errors import convert_write_errors

FOLDER = "checkpoints"
_POSITION = "position.json"
_VARIABLES = "variables"


@dataclass(frozen=True)
class Position:
    """Where a run is, beside its variables. All random numbers follow from seed and position."""

    iteration: int
    num_images: int  # real images shown
    tick: int  # number of the last tick
    tick_images: int  # real images shown at the last tick
    outputs_due: bool  # whether grids, snapshot and metrics of the last tick are to be written
    elapsed: float  # seconds of training, those of earlier processes included
    statistics: dict[str, list[float]]  # values since the last tick
    metric_files: dict[str, int]  # bytes of every metric-* file so far
    settings: dict[str, Any]  # of the run, see `training.resume`
    environment: dict[str, Any]  # what the bits of the weights depend on beside the settings
    bit_exact: bool  # whether the environment was the same all the time
    finished: bool  # whether the run had reached its end
    skipped_updates: int = 0  # up to the last tick


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folder = run_dir / FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    complete = (path for path in found if re.fullmatch(r"\d{6,}", path.name))
    return sorted(complete, key=lambda path: int(path.name))


def read_position(run_dir: Path) -> Position | None:
    """The position of the newest checkpoint that can be read; None where there is none."""
    for path in reversed(list_checkpoints(run_dir)):
        try:
            return load_json(Position, path / _POSITION)
        except UserError:
            continue  # `Checkpoints.restore` says so
    return None


@dataclass(frozen=True)
class Cures:
    """What to do where a run cannot go on, in words."""

    diverged: str
    unreadable: str  # none of the checkpoints can be read


OF_TRAINING = Cures(
    "start anew with a larger --gamma or other weights of the losses (--resume=none)",
    "start a new run with --resume=none, from a snapshot with --resume-pkl",
)
P = TypeVar("P")


class Checkpoints(Generic[P]):
    """Writes and reads the checkpoints of one run, whose folder this process has locked.

    Args:
        run_dir: the run folder.
        variables: all variables, by a name that does not change.
        keep: how many checkpoints are kept; older ones go when a newer one is complete.
        kind: dataclass of the positions.
        cures: what errors say to do.
    """

    def __init__(
        self,
        run_dir: Path,
        variables: Mapping[str, tf.Variable],
        keep: int,
        kind: type[P],
        cures: Cures = OF_TRAINING,
    ) -> None:
        self._run_dir = run_dir
        self._kind = kind
        self._cures = cures
        self._variables = variables
        self._keep = keep
        self._checkpoint = tf.train.Checkpoint(variables=dict(variables))

    def save(self, position: P) -> Path:
        """Writes a checkpoint.

        Raises:
            UserError: a variable is not finite, or the folder cannot be written; the older
                checkpoints stay.
        """
        check_finite(self._variables, self._cures.diverged)
        before = list_checkpoints(self._run_dir)
        number = int(before[-1].name) + 1 if before else 0
        path = self._run_dir / FOLDER / f"{number:06d}"
        with folder_atomic(path) as folder:
            with convert_write_errors(path):
                self._checkpoint.write(str(folder / _VARIABLES))
            save_json(position, folder / _POSITION)
        for old in before[: max(len(before) + 1 - self._keep, 0)]:
            remove_folder(old)
        return path

    def restore(self) -> P | None:
        """Gives the variables the values of the newest checkpoint that is whole.

        Says on stderr which ones are damaged.

        Returns:
            The position, or None if there is no checkpoint.

        Raises:
            UserError: there are checkpoints, and none of them is whole.
        """
        found = list_checkpoints(self._run_dir)
        for path in reversed(found):
            try:
                position = load_json(self._kind, path / _POSITION)
                self._checkpoint.read(str(path / _VARIABLES)).assert_consumed()
            # IndexError: TensorFlow, where a file ends too early.
            except (UserError, tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"warning: {path} cannot be read ({reason})", file=sys.stderr)
                continue
            return position
        if found:
            raise UserError(
                f"no checkpoint in {self._run_dir / FOLDER} can be read; {self._cures.unreadable}"
            )
        return None


def check_finite(variables: Mapping[str, tf.Variable], cure: str = OF_TRAINING.diverged) -> None:
    """Before variables are written: what holds something else would replace what is good.

    Args:
        variables: by name.
        cure: what to do then.

    Raises:
        UserError: a variable is not finite; names it.
    """
    for name, variable in variables.items():
        finite = tf.math.is_finite(variable) if variable.dtype.is_floating else True
        if not tf.reduce_all(finite):
            raise UserError(
                f"training diverged: {name} is not finite; the last checkpoint is kept; {cure}"
            )


def remove_remains(run_dir: Path) -> None:
    """Removes what a killed process has left half written in a run folder that is locked."""
    for folder in (run_dir, run_dir / FOLDER):
        for path in folder.iterdir() if folder.is_dir() else ():
            if not is_incomplete(path):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
