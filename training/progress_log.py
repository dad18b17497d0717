"""What a run tells while it trains: log.txt, TensorBoard, the progress bar."""

import math
import os
import sys
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import IO, TextIO

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tqdm import tqdm

from dnnlib.atomic import write_error
from dnnlib.errors import UserError


class ProgressLog:
    """Lines to a stream and log.txt, scalars to TensorBoard, a bar on a terminal.

    Args:
        run_dir: where log.txt and the event file go.
        total_kimg: end of the bar.
        silent: write and show nothing, for all workers but the chief.
        bar: show how far it is; False where somebody else does.
        out: where lines go beside log.txt; stdout unless given.
    """

    def __init__(
        self,
        run_dir: Path,
        total_kimg: float,
        *,
        silent: bool = False,
        bar: bool = True,
        out: TextIO | None = None,
    ) -> None:
        path = Path(os.devnull) if silent else run_dir / "log.txt"
        try:
            self._file: IO[str] = open(  # noqa: SIM115 - closed by __exit__
                path, "a", encoding="utf-8", buffering=1
            )
        except OSError as error:
            raise write_error(path, error) from error
        self._silent = silent
        self._out = out or sys.stdout
        self._shown = 0.0
        self._writer = (
            tf.summary.create_noop_writer()
            if silent
            else tf.summary.create_file_writer(str(run_dir))
        )
        self._bar = tqdm(
            total=round(total_kimg, 3),
            unit="kimg",
            disable=silent or not bar or None,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._writer.close()
        self._file.close()

    def line(self, text: str) -> None:
        """Writes one line to log.txt and the stream, above the bar if there is one."""
        try:
            self._file.write(text + "\n")
        except OSError as error:
            raise write_error(self._file.name, error) from error
        if not self._silent:
            with tqdm.external_write_mode(file=self._out):
                print(text, file=self._out, flush=True)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes TensorBoard scalars at `step`, in images shown.

        As `simple_value`, which old readers know and new ones convert.
        """
        summary = Summary(
            value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        )
        with self._writer.as_default(step=step):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString())
        self._writer.flush()

    def progress(self, kimg: float, statistics: "Statistics") -> None:
        """Moves the bar; twice a second at most, since reading a statistic waits for the device."""
        if self._bar.disable or time.monotonic() - self._shown < 0.5:
            return
        if self._bar.n == 0:
            # The first iteration compiles; the time left is told from the second on.
            self._bar.initial = self._bar.n = kimg
            self._bar.unpause()
        accuracy = statistics.last("bit_accuracy")
        if accuracy is not None:
            self._bar.set_postfix_str(f"bit accuracy {accuracy:.3f}", refresh=False)
        self._bar.update(kimg - self._bar.n)
        self._shown = time.monotonic()


SKIPPED = "skipped/"  # statistics that are 1 where an update was skipped; the rest names which
MAX_IN_A_ROW = 8  # values that are not finite, or skipped updates, before training has diverged
_LAG = 4  # iterations after which a value is looked at: devices need not wait for it


class Statistics:
    """Collects the statistics of the steps between two ticks.

    A value that is not finite is left out of the means: the update that goes with it was skipped,
    see `training.adam`. Several in a row end the run.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[tf.Tensor]] = defaultdict(list)
        self._unseen: deque[dict[str, tf.Tensor]] = deque()
        self._in_a_row: dict[str, int] = defaultdict(int)

    def add(self, stats: dict[str, tf.Tensor]) -> None:
        """Keeps scalar tensors; they are read a few iterations later.

        Raises:
            UserError: too many in a row were not finite; the text names the statistic.
        """
        for name, value in stats.items():
            self._values[name].append(value)
        self._unseen.append(stats)
        while len(self._unseen) > _LAG:
            self._check(self._unseen.popleft())

    def _check(self, stats: dict[str, tf.Tensor]) -> None:
        """Counts what is not finite, statistics first: they tell more than a skipped update."""
        for name, value in sorted(stats.items(), key=lambda item: item[0].startswith(SKIPPED)):
            number = float(value)
            skipped = name.startswith(SKIPPED)
            bad = number > 0 if skipped else not math.isfinite(number)
            self._in_a_row[name] = self._in_a_row[name] + 1 if bad else 0
            if self._in_a_row[name] >= MAX_IN_A_ROW:
                what = f"the gradients of {name.removeprefix(SKIPPED)}" if skipped else name
                raise UserError(
                    f"training diverged: {what} not finite {MAX_IN_A_ROW} times in a row, and "
                    "their updates were skipped; the last checkpoint and snapshot are intact: "
                    "start again from a snapshot with --resume-pkl, or anew with --resume=none, "
                    "with a larger --gamma or other weights"
                )

    def last(self, name: str) -> float | None:
        """The newest value of one statistic."""
        values = self._values.get(name)
        return float(values[-1]) if values else None

    def values(self) -> dict[str, list[float]]:
        """All finite values since the last `take_means`.

        Raises:
            UserError: too many in a row were not finite.
        """
        while self._unseen:
            self._check(self._unseen.popleft())
        found = {name: [float(value) for value in values] for name, values in self._values.items()}
        return {name: list(filter(math.isfinite, numbers)) for name, numbers in found.items()}

    def restore(self, values: dict[str, list[float]]) -> None:
        """Takes over what `values` returned."""
        for name, numbers in values.items():
            self._values[name] = [tf.constant(number) for number in numbers]

    def take_means(self) -> tuple[dict[str, float], int]:
        """Means of the finite values since the last call, and the number of skipped updates.

        Raises:
            UserError: too many in a row were not finite.
        """
        values = self.values()
        self._values.clear()
        means = {name: float(np.mean(numbers)) for name, numbers in values.items() if numbers}
        skipped = sum(sum(numbers) for name, numbers in values.items() if name.startswith(SKIPPED))
        return means, round(skipped)
