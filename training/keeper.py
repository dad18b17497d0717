"""What a run keeps beside its networks, and when."""

import time
from pathlib import Path

from training.checkpoint import Checkpoints, Position
from training.progress_log import ProgressLog, Statistics
from training.resume import differences, environment_of, settings_of
from training.run import Run
from training.tick import Tick


class Keeper:
    """What a run has to keep beside its variables, and the checkpoints that keep it.

    Goes on from the newest checkpoint, if there is one.
    """

    def __init__(self, run: Run, log: ProgressLog, run_dir: Path, start: float) -> None:
        config = run.config
        self._run = run
        self._run_dir = run_dir
        self._checkpoints = Checkpoints(run_dir, run.variables(), config.checkpoints.keep)
        self._settings = settings_of(config, run.dataset.num_images)
        self._environment = environment_of(
            ops=run.execution.ops, threads=run.threads, devices=run.devices.num_replicas
        )
        self._bit_exact = True
        self.statistics = Statistics()
        self.outputs_due = False
        position = self._checkpoints.restore()
        self.resumed = position is not None
        if position is None:
            self.tick = Tick(config, log, start, num_images=run.num_images, now=run.num_images)
        else:
            run.iteration, run.num_images = position.iteration, position.num_images
            self.statistics.restore(position.statistics)
            self.outputs_due = position.outputs_due
            self.tick = Tick(
                config,
                log,
                start,
                elapsed=position.elapsed,
                number=position.tick,
                num_images=position.tick_images,
                now=position.num_images,
            )
            if run.devices.is_chief:
                _cut_metric_files(run_dir, position.metric_files)
            self._say_resumed(position, log)
        self._last = time.monotonic()

    def _say_resumed(self, position: Position, log: ProgressLog) -> None:
        log.line(f"Going on with {self._run_dir} at kimg {self._run.kimg:.3f}")
        different = differences(position.environment, self._environment)
        self._bit_exact = position.bit_exact and not different
        if different:
            log.line(
                f"warning: {', '.join(different)}: the run goes on, but its weights will not be "
                "bit-identical to those of a run that was never stopped"
            )

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self._run.config.checkpoints.minutes * 60

    def save(self, *, finished: bool = False) -> None:
        """Writes a checkpoint, once for all workers.

        Raises:
            UserError: a statistic or a variable is not finite, or the folder cannot be written.
        """
        run = self._run
        self._last = time.monotonic()
        if not run.devices.is_chief:
            return
        self._checkpoints.save(
            Position(
                iteration=run.iteration,
                num_images=run.num_images,
                tick=self.tick.number,
                tick_images=self.tick.num_images,
                outputs_due=self.outputs_due,
                elapsed=self.tick.elapsed(),
                statistics=self.statistics.values(),
                metric_files={
                    path.name: path.stat().st_size for path in self._run_dir.glob("metric-*")
                },
                settings=self._settings,
                environment=self._environment,
                bit_exact=self._bit_exact,
                finished=finished,
            )
        )


def _cut_metric_files(run_dir: Path, sizes: dict[str, int]) -> None:
    """Takes away what was measured behind the checkpoint: it will be measured again."""
    for path in run_dir.glob("metric-*"):
        size = sizes.get(path.name, 0)
        if path.stat().st_size > size:
            with open(path, "r+b") as file:
                file.truncate(size)
