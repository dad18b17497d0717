"""What a run tells while it trains: log.txt, TensorBoard, the progress bar."""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dnnlib.atomic import write_error
from dnnlib.errors import UserError


class ProgressLog:
    """Lines to stdout and log.txt, scalars to TensorBoard, a bar on a terminal.

    Args:
        run_dir: where log.txt and the event file go.
        total_kimg: end of the bar.
        silent: write and show nothing, for all workers but the chief.
    """

    def __init__(self, run_dir: Path, total_kimg: float, *, silent: bool = False) -> None:
        path = Path(os.devnull) if silent else run_dir / "log.txt"
        try:
            self._file: IO[str] = open(  # noqa: SIM115 - closed by __exit__
                path, "a", encoding="utf-8", buffering=1
            )
        except OSError as error:
            raise write_error(path, error) from error
        self._silent = silent
        self._shown = 0.0
        self._writer = (
            tf.summary.create_noop_writer()
            if silent
            else tf.summary.create_file_writer(str(run_dir))
        )
        self._bar = tqdm(
            total=round(total_kimg, 3),
            unit="kimg",
            disable=silent or None,
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
        """Writes one line to log.txt and stdout, above the bar if there is one."""
        try:
            self._file.write(text + "\n")
        except OSError as error:
            raise write_error(self._file.name, error) from error
        if not self._silent:
            with tqdm.external_write_mode(file=sys.stdout):
                print(text, flush=True)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes TensorBoard scalars at `step`, in images shown."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
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


class Statistics:
    """Collects the statistics of the steps between two ticks and checks that they are finite."""

    def __init__(self) -> None:
        self._values: dict[str, list[tf.Tensor]] = defaultdict(list)

    def add(self, stats: dict[str, tf.Tensor]) -> None:
        """Keeps scalar tensors; they are not read yet, so that devices need not wait."""
        for name, value in stats.items():
            self._values[name].append(value)

    def last(self, name: str) -> float | None:
        """The newest value of one statistic."""
        values = self._values.get(name)
        return float(values[-1]) if values else None

    def values(self) -> dict[str, list[float]]:
        """All values since the last `take_means`.

        Raises:
            UserError: a value is not finite; the text names the statistic.
        """
        found = {name: [float(value) for value in values] for name, values in self._values.items()}
        for name, numbers in found.items():
            if not np.isfinite(numbers).all():
                raise UserError(
                    f"training diverged: {name} is not finite; the last checkpoint and snapshot "
                    "are intact: start again from a snapshot with --resume-pkl, or anew with "
                    "--resume=none, with a larger --gamma or other weights"
                )
        return found

    def restore(self, values: dict[str, list[float]]) -> None:
        """Takes over what `values` returned."""
        for name, numbers in values.items():
            self._values[name] = [tf.constant(number) for number in numbers]

    def take_means(self) -> dict[str, float]:
        """Means since the last call.

        Raises:
            UserError: a value is not finite.
        """
        means = {name: float(np.mean(numbers)) for name, numbers in self.values().items()}
        self._values.clear()
        return means
