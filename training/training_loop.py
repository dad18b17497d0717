"""The training loop: reads like a table of contents, the work is done elsewhere."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnnlib.errors import Terminated
from dnnlib.format import format_time
from dnnlib.interrupts import Interrupts, interrupts
from dnnlib.run_dir import mark_finished, unmark_finished
from metrics.evaluate import evaluate
from metrics.report import report
from training.channels import find_channel
from training.checkpoint import remove_remains
from training.grids import Appearance
from training.keeper import Keeper
from training.out_of_memory import suggesting
from training.probes import accuracies_after_edits
from training.progress_log import ProgressLog
from training.run import Run
from training.state import RunState
from training.tick import Ticker

_TRIED = 16  # pictures that are edited at a tick, in each way


def train(run: Run, run_dir: Path) -> None:
    """Trains until the configuration's `total_kimg` and leaves everything in the run's folder.

    A run that was stopped goes on from its newest checkpoint.

    Args:
        run: what is trained.
        run_dir: its folder, which the chief of its workers has locked.

    Raises:
        UserError: bad input, a full disk, too little memory, a statistic that is not finite.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint and a snapshot have been written.
        Terminated: after SIGTERM, when a checkpoint has been written.
    """
    run.begin()
    devices = run.devices
    if devices.is_chief:
        remove_remains(run_dir)
    with (
        devices.reporting_lost_workers(),
        ProgressLog(run_dir, run.config.total_kimg, silent=not devices.is_chief) as log,
        interrupts() as interrupted,
    ):
        _Training(run, run_dir, log, Keeper(run, run_dir), interrupted).go()


@dataclass
class _Training:
    """A run in its folder, from its beginning or its newest checkpoint to its end."""

    run: Run
    run_dir: Path
    log: ProgressLog
    keeper: Keeper
    interrupted: Interrupts

    @property
    def state(self) -> RunState:
        return self.run.state

    def go(self) -> None:
        run, config = self.run, self.run.config
        self.describe()
        if run.devices.is_chief:
            unmark_finished(self.run_dir)
        if not self.keeper.restore(self.log):
            run.grids.save_reals(run.dataset, self.run_dir)
            with suggesting(config, run.devices.num_replicas):
                run.grids.save(self.run_dir, "init")
        with run.dataset.batches(
            config.minibatch,
            config.seed,
            config.mirror_augment,
            first=self.state.iteration,
            rows=run.devices.rows(config.minibatch),
        ) as batches:
            ticker = Ticker(config, self.log, self.state, run.grids.look, self.try_edits())
            while not (stop := run.devices.agree(self.interrupted.is_set)):
                if self.state.outputs_due:
                    self.write_outputs()
                    continue
                if run.is_done:
                    break
                with suggesting(config, run.devices.num_replicas):
                    self.state.statistics.add(run.train_iteration(batches))
                self.log.progress(self.state.kimg, self.state.statistics)
                if ticker.is_due():
                    ticker.write()
                    self.state.outputs_due = True
                if self.keeper.is_due():
                    self.keeper.save()
        if stop:
            self.stop(ticker)
        self.finish()

    def try_edits(self) -> Callable[[Appearance], dict[str, float]] | None:
        """For a run whose decoder learns to read edited pictures."""
        decode = self.run.context.decode
        if decode is None or not find_channel(self.run.config.channel).spares_latent:
            return None
        few = slice(_TRIED)
        return lambda seen: accuracies_after_edits(seen.images[few], seen.bits[few], decode)

    def describe(self) -> None:
        run, config = self.run, self.run.config
        self.log.line(
            f"Training {config.config} on {run.dataset.name}: {run.dataset.num_images} images of "
            f"{run.dataset.resolution}x{run.dataset.resolution}, {config.num_bits} bits, minibatch "
            f"{config.minibatch} in slices of {config.minibatch_gpu}, seed {config.seed}, "
            f"to {config.total_kimg:g} kimg; {run.devices.describe()}, {run.execution.label}"
            f"{_of_many_devices(run.devices.num_replicas)}"
        )
        for line in run.notes:
            self.log.line(line)
        for name, network in run.networks.items()[:-1]:
            count = sum(int(np.prod(v.shape)) for v in network.named_trainables().values())
            self.log.line(f"{name}: {count} parameters")

    def write_outputs(self) -> None:
        """Image grids and snapshots with metrics, at their ticks and at the end, as published."""
        ticks, number, done = self.run.config.ticks, self.state.tick, self.run.is_done
        if done or number % ticks.image_ticks == 0:
            self.run.grids.save(self.run_dir, self.kimg_text)
        due = number % ticks.snapshot_ticks == 0 and (number > 0 or ticks.first_snapshot)
        if done or due:
            name = f"network-snapshot-{self.kimg_text}"
            self.run.save(self.run_dir / f"{name}.pkl")
            self.evaluate(name)
        self.state.outputs_due = False

    def stop(self, ticker: Ticker) -> None:
        """After Ctrl-C or SIGTERM: everything is saved, and the log says how to go on."""
        self.keeper.save()
        if self.run.devices.agree(self.interrupted.signal == signal.SIGTERM):
            self.log.line(f"Terminated; {self.how_to_go_on}")
            raise Terminated
        if self.state.tick_images != self.state.num_images:
            ticker.write()
        path = self.run_dir / f"network-snapshot-{self.kimg_text}.pkl"
        self.run.save(path)
        self.log.line(f"Interrupted; wrote {path}; {self.how_to_go_on}")
        # Else the others would end while the chief writes, and seem lost.
        self.run.devices.wait()
        raise KeyboardInterrupt

    def finish(self) -> None:
        """What says that the run is complete."""
        self.run.save(self.run_dir / "network-final.pkl")
        self.keeper.save(finished=True)
        if self.run.devices.is_chief:
            mark_finished(self.run_dir)
        elapsed = format_time(self.state.seconds())
        self.log.line(f"Finished after {elapsed}: {self.run_dir / 'network-final.pkl'}")
        self.run.devices.wait()

    def evaluate(self, name: str) -> None:
        """Metrics may take hours: Ctrl-C ends them at once, since everything is written before."""
        run = self.run
        if not run.config.metrics:
            return
        self.keeper.save()
        try:
            with self.interrupted.at_once():
                results = evaluate(run.config.metrics, run.context)
        except KeyboardInterrupt:
            path = self.run_dir / f"{name}.pkl"
            self.log.line(f"Interrupted; wrote {path} without its metrics; {self.how_to_go_on}")
            if self.interrupted.signal == signal.SIGTERM:
                raise Terminated from None
            raise
        for result in results if run.devices.is_chief else ():
            self.log.line(report(result, self.run_dir, name))
            values = {f"Metrics/{key}": value for key, value in result.values.items()}
            self.log.scalars(values, self.state.num_images)

    @property
    def how_to_go_on(self) -> str:
        return f"the same command goes on with {self.run_dir} (or --resume={self.run_dir})"

    @property
    def kimg_text(self) -> str:
        """As file names have it: floored, as published."""
        return f"{self.state.num_images // 1000:06d}"


def _of_many_devices(count: int) -> str:
    """What users of the published code have to know, whose default is one GPU."""
    if count == 1:
        return ""
    return (
        f" (all {count} devices share each minibatch; the published default is --num-gpus=1, "
        "with a minibatch smaller by that factor)"
    )
