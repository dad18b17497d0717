"""The checkpoints of a run: what goes into one beside the variables, and when one is due."""

import time
from pathlib import Path

from dnnlib.config import differences
from training.checkpoint import Checkpoints, Position
from training.progress_log import ProgressLog
from training.resume import environment_of, settings_of
from training.run import Run


class Keeper:
    """Writes a run's state and variables into checkpoints, and reads them back.

    Args:
        run: whose variables and state are kept.
        run_dir: its folder, which this process has locked.
    """

    def __init__(self, run: Run, run_dir: Path) -> None:
        self._run = run
        self._run_dir = run_dir
        keep = run.config.checkpoints.keep
        self._checkpoints = Checkpoints(run_dir, run.variables(), keep, Position)
        self._settings = settings_of(run.config, run.dataset.num_images)
        self._environment = environment_of(
            ops=run.execution.ops, threads=run.threads, devices=run.devices.num_replicas
        )
        self._last = time.monotonic()

    def restore(self, log: ProgressLog) -> bool:
        """Goes on from the newest checkpoint, which the log says.

        Returns:
            Whether there was one.
        """
        position = self._checkpoints.restore()
        self._last = time.monotonic()
        if position is None:
            return False
        state = self._run.state
        state.iteration, state.num_images = position.iteration, position.num_images
        state.tick, state.tick_images = position.tick, position.tick_images
        state.outputs_due, state.elapsed = position.outputs_due, position.elapsed
        state.skipped_updates = position.skipped_updates
        state.statistics.restore(position.statistics)
        if self._run.devices.is_chief:
            _cut_metric_files(self._run_dir, position.metric_files)
        log.line(f"Going on with {self._run_dir} at kimg {state.kimg:.3f}")
        different = differences(position.environment, self._environment)
        state.bit_exact = position.bit_exact and not different
        if different:
            log.line(
                f"warning: {', '.join(different)}: the run goes on, but its weights will not be "
                "bit-identical to those of a run that was never stopped"
            )
        return True

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self._run.config.checkpoints.minutes * 60

    def save(self, *, finished: bool = False) -> None:
        """Writes a checkpoint, once for all workers.

        Raises:
            UserError: a statistic or a variable is not finite, or the folder cannot be written.
        """
        self._last = time.monotonic()
        if not self._run.devices.is_chief:
            return
        state = self._run.state
        self._checkpoints.save(
            Position(
                iteration=state.iteration,
                num_images=state.num_images,
                tick=state.tick,
                tick_images=state.tick_images,
                outputs_due=state.outputs_due,
                elapsed=state.seconds(),
                statistics=state.statistics.values(),
                metric_files={
                    path.name: path.stat().st_size for path in self._run_dir.glob("metric-*")
                },
                settings=self._settings,
                environment=self._environment,
                bit_exact=state.bit_exact,
                finished=finished,
                skipped_updates=state.skipped_updates,
            )
        )


def _cut_metric_files(run_dir: Path, sizes: dict[str, int]) -> None:
    """Takes away what was measured behind the checkpoint: it will be measured again."""
    for path in run_dir.glob("metric-*"):
        size = sizes.get(path.name, 0)
        if path.stat().st_size > size:
            with open(path, "r+b") as file:
                file.truncate(size)
