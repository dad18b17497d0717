"""What a run tells while it trains: log.txt, TensorBoard, the progress bar."""

import sys
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
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
    """

    def __init__(self, run_dir: Path, total_kimg: float) -> None:
        try:
            self._file: IO[str] = open(  # noqa: SIM115 - closed by __exit__
                run_dir / "log.txt", "a", encoding="utf-8", buffering=1
            )
        except OSError as error:
            raise write_error(run_dir / "log.txt", error) from error
        self._shown = 0.0
        self._writer = tf.summary.create_file_writer(str(run_dir))
        self._bar = tqdm(
            total=round(total_kimg, 3),
            unit="kimg",
            disable=None,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._writer.close()
        self._file.close()

    def line(self, text: str) -> None:
        """Writes one line to log.txt and stdout, above the bar if there is one."""
        try:
            self._file.write(text + "\n")
        except OSError as error:
            raise write_error(self._file.name, error) from error
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

    def take_means(self) -> dict[str, float]:
        """Means since the last call.

        Raises:
            UserError: a value is not finite.
        """
        means = {}
        for name, values in self._values.items():
            numbers = np.array([float(value) for value in values])
            if not np.isfinite(numbers).all():
                raise UserError(
                    f"training diverged: {name} is not finite; the last snapshot is intact, start "
                    "again from it with --resume-pkl, or with a larger --gamma or other weights"
                )
            means[name] = float(numbers.mean())
        self._values.clear()
        return means
