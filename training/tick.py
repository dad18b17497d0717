"""The regular lines of a run's log, and the times in them."""

import math
import time
from collections.abc import Callable

from dnnlib.format import format_time
from dnnlib.tflib.hardware import process_memory_gb
from dnnlib.tflib.machine import gpu_memory_gb
from training.config import TrainConfig
from training.grids import Appearance
from training.loss import PATH_LENGTH_WEIGHT, TERMS, weights_of
from training.progress_log import SKIPPED, ProgressLog
from training.schedule import lazy_ratio, learning_rates
from training.state import RunState


class Ticker:
    """Writes the ticks of a run. Made where training begins or goes on.

    Args:
        config: of the run.
        log: where the lines go.
        state: of the run; its tick is moved.
        look: at the pictures of the generator average; all workers call it.
        try_edits: on these pictures: bit accuracy by edit; None: of no interest.
    """

    def __init__(
        self,
        config: TrainConfig,
        log: ProgressLog,
        state: RunState,
        look: Callable[[], Appearance],
        try_edits: Callable[[Appearance], dict[str, float]] | None = None,
    ) -> None:
        self._look = look
        self._try_edits = try_edits
        self._warned = False
        self._config = config
        self._log = log
        self._state = state
        if state.tick < 0:
            state.tick_images = state.num_images
        self._timed_from = state.num_images  # images shown at `_last_end`
        self._last_end = time.time()
        self._maintenance = self._last_end - state.started

    def is_due(self) -> bool:
        """After the first iteration, then every `kimg` of the ticks, and at the end."""
        shown = self._state.num_images - self._state.tick_images
        return shown > 0 and (
            self._state.tick < 0
            or shown >= self._config.ticks.kimg * 1000
            or self._state.num_images >= self._config.total_kimg * 1000
        )

    def write(self) -> None:
        """One tick: a line as users know it, a line of statistics, TensorBoard scalars.

        The statistics since the last tick are taken.
        """
        state, schedule = self._state, self._config.schedule
        now, elapsed = time.time(), state.seconds()
        seconds = now - self._last_end
        timed_kimg = max(state.num_images - self._timed_from, 1) / 1000
        means, skipped = state.statistics.take_means()
        seen = self._look()
        means |= {"psnr_latents": seen.psnr_latents}
        between = f"between latents {seen.psnr_latents:.1f} dB"
        if self._config.num_bits:
            means |= {"psnr_fingerprints": seen.psnr_fingerprints}
            between = f"between fingerprints {seen.psnr_fingerprints:.1f} dB, {between}"
        state.skipped_updates += skipped
        state.tick += 1
        self._log.line(
            f"tick {state.tick:<5d} kimg {state.kimg:<8.1f} lod {0:<5.2f} "
            f"minibatch {self._config.minibatch:<4d} time {format_time(elapsed):<12s} "
            f"sec/tick {seconds:<7.1f} sec/kimg {seconds / timed_kimg:<7.2f} "
            f"maintenance {self._maintenance:<6.1f} gpumem {gpu_memory_gb():.1f}"
        )
        shown = (
            "bit_accuracy",
            "bit_accuracy_edited",
            "loss_E_watermarks",
            "loss_E_labels",
            "loss_G",
            "scores/fake",
            "scores/real",
        )
        parts = [f"{name} {means[name]:.4f}" for name in shown if name in means]
        self._log.line("  " + "  ".join(parts))
        self._log.line(f"  PSNR {between}")
        edited = self._try_edits(seen) if self._try_edits is not None else {}
        if edited:
            texts = (f"{name} {value:.3f}" for name, value in edited.items())
            self._log.line("  bit accuracy after " + "  ".join(texts))
        if seen.ignores_latent and means.get("bit_accuracy", 0) > _LEARNED:
            self._warn_of_collapse()
        if skipped:
            self._log.line(f"  skipped {skipped} updates, whose gradients were not finite")
        rates = learning_rates(self._config, state.num_images)
        scalars = published_scalars(self._config, means, state.kimg) | {
            **{f"Progress/bit_accuracy/{name}": value for name, value in edited.items()},
            "Progress/tick": state.tick,
            "Progress/kimg": state.kimg,
            "Progress/lod": 0.0,
            "Progress/minibatch": self._config.minibatch,
            "Progress/G_lrate": rates.G,
            "Progress/E_lrate": rates.E,
            "Progress/D_lrate": rates.D,
            "Timing/sec_per_tick": seconds,
            "Timing/sec_per_kimg": seconds / timed_kimg,
            "Timing/maintenance_sec": self._maintenance,
            "Timing/total_sec": elapsed,
            "Timing/total_hours": elapsed / 3600,
            "Timing/total_days": elapsed / 86400,
            "Train/skipped_updates": state.skipped_updates,
            "TrainG/learning_rate": rates.G * lazy_ratio(schedule.g_reg_interval),
            "TrainE/learning_rate": rates.E * lazy_ratio(schedule.g_reg_interval),
            "TrainD/learning_rate": rates.D * lazy_ratio(schedule.d_reg_interval),
            "Resources/total_days": elapsed / 86400,
            "Resources/peak_gpu_mem_gb": gpu_memory_gb(),
            "Resources/process_mem_gb": process_memory_gb(),
        }
        if not self._config.num_bits:  # there is no decoder
            scalars = {name: v for name, v in scalars.items() if name not in _OF_DECODER}
        self._log.scalars(scalars, state.num_images)
        state.tick_images = self._timed_from = state.num_images
        self._last_end = time.time()
        self._maintenance = self._last_end - now

    def _warn_of_collapse(self) -> None:
        """Once: a generator that ignores its latent is an easy one to read, and of no use."""
        if self._warned:
            return
        self._warned = True
        self._log.line(
            "  warning: the fingerprint changes the pictures as much as the latent does; look at "
            "fakes-watermarks-same-*.png, and if all pictures of one fingerprint are alike, start "
            "anew with a larger --latentsRecL2-weight or a smaller --watermarkCls-weight"
        )


_OF_DECODER = {"Progress/E_lrate", "TrainE/learning_rate"}
_LEARNED = 0.7  # bit accuracy from which on the fingerprint is there to be compared


def published_scalars(
    config: TrainConfig, means: dict[str, float], kimg: float
) -> dict[str, float]:
    """Statistics under their TensorBoard names, with the values that the published code gives them.

    It logs the terms of the loss times their weights, but the regularisers without theirs; what
    the steps return is the other way round.

    Args:
        config: of the run.
        means: of the statistics, as the steps return them.
        kimg: where the run is, which weights may depend on.
    """
    weights = weights_of(config.loss, kimg)
    factors = {term.statistic: getattr(weights, name) for name, term in TERMS.items()}
    factors["pl_penalty"] = 1 / PATH_LENGTH_WEIGHT
    gamma = config.loss.gamma
    factors["gradient_penalty"] = 2 / gamma if gamma else math.nan  # it cannot be told
    scalars = {}
    for name, value in means.items():
        value *= factors.get(name, 1.0)
        if name.startswith(("bit_accuracy", "psnr_", "augment_p")):
            scalars[f"Progress/{name}"] = value
        elif name.startswith(SKIPPED):
            network = name.removeprefix(SKIPPED)
            if not network.endswith("_reg"):
                scalars[f"Train{network}/overflow_frequency"] = value
        elif math.isfinite(value):
            scalars[f"Loss/{name}"] = value
    return scalars
