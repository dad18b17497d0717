"""The regular lines of a run's log, and the times in them."""

import time

from dnnlib.format import format_time
from dnnlib.tflib.hardware import process_memory_gb
from dnnlib.tflib.machine import gpu_memory_gb
from training.config import TrainConfig
from training.progress_log import ProgressLog, Statistics
from training.schedule import learning_rates


class Tick:
    """Counts the ticks of a run.

    Args:
        config: of the run.
        log: where the lines go.
        elapsed: seconds that the run took before this process.
        number, num_images: of the last tick; at the beginning -1 and what was shown before.
        now: real images shown when this process began.

    Attributes:
        number: of the last tick.
        num_images: real images shown at the last tick.
    """

    def __init__(
        self,
        config: TrainConfig,
        log: ProgressLog,
        start: float,
        *,
        elapsed: float = 0.0,
        number: int = -1,
        num_images: int = 0,
        now: int = 0,
    ) -> None:
        self.number = number
        self.num_images = num_images
        self._config = config
        self._log = log
        self._start = start - elapsed
        self._timed_from = now  # images shown at `_last_end`
        self._last_end = time.time()
        self._maintenance = self._last_end - start

    def elapsed(self) -> float:
        """Seconds since the start of the run, those between its processes left out."""
        return time.time() - self._start

    def is_due(self, num_images: int) -> bool:
        """After the first iteration, then every `kimg` of the ticks, and at the end."""
        shown = num_images - self.num_images
        return shown > 0 and (
            self.number < 0
            or shown >= self._config.ticks.kimg * 1000
            or num_images >= self._config.total_kimg * 1000
        )

    def write(self, num_images: int, statistics: Statistics) -> None:
        """One tick: a line as users know it, a line of statistics, TensorBoard scalars.

        Args:
            num_images: real images shown.
            statistics: since the last tick; they are taken.
        """
        now = time.time()
        seconds = now - self._last_end
        timed_kimg = max(num_images - self._timed_from, 1) / 1000
        kimg = num_images / 1000
        means = statistics.take_means()
        self.number += 1
        self._log.line(
            f"tick {self.number:<5d} kimg {kimg:<8.1f} lod {0:<5.2f} "
            f"minibatch {self._config.minibatch:<4d} time {format_time(now - self._start):<12s} "
            f"sec/tick {seconds:<7.1f} sec/kimg {seconds / timed_kimg:<7.2f} "
            f"maintenance {self._maintenance:<6.1f} gpumem {gpu_memory_gb():.1f}"
        )
        shown = ("bit_accuracy", "loss_E_watermarks", "loss_G", "scores/fake", "scores/real")
        parts = [f"{name} {means[name]:.4f}" for name in shown if name in means]
        if parts:
            self._log.line("  " + "  ".join(parts))
        g_rate, e_rate, d_rate = learning_rates(self._config, num_images)
        scalars = {_tag(name): value for name, value in means.items()}
        scalars |= {
            "Progress/tick": self.number,
            "Progress/kimg": kimg,
            "Progress/lod": 0.0,
            "Progress/minibatch": self._config.minibatch,
            "Progress/G_lrate": g_rate,
            "Progress/E_lrate": e_rate,
            "Progress/D_lrate": d_rate,
            "Timing/sec_per_tick": seconds,
            "Timing/sec_per_kimg": seconds / timed_kimg,
            "Timing/maintenance_sec": self._maintenance,
            "Timing/total_sec": now - self._start,
            "Timing/total_hours": (now - self._start) / 3600,
            "Resources/peak_gpu_mem_gb": gpu_memory_gb(),
            "Resources/process_mem_gb": process_memory_gb(),
        }
        self._log.scalars(scalars, num_images)
        self.num_images = self._timed_from = num_images
        self._last_end = time.time()
        self._maintenance = self._last_end - now


def _tag(name: str) -> str:
    """TensorBoard's name of a statistic."""
    if name == "bit_accuracy":
        return "Progress/bit_accuracy"
    return f"Loss/{name}"
