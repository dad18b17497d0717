"""The training loop: reads like a table of contents, the work is done elsewhere."""

import signal
import time
from pathlib import Path

import numpy as np

from dnnlib.errors import Terminated
from dnnlib.format import format_time
from dnnlib.interrupts import Interrupts, interrupts
from metrics.evaluate import evaluate
from metrics.report import report
from training.checkpoint import remove_remains
from training.keeper import Keeper
from training.out_of_memory import suggesting
from training.progress_log import ProgressLog
from training.run import Run


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
    start = time.time()
    run.trace()
    config, devices = run.config, run.devices
    if devices.is_chief:
        remove_remains(run_dir)
    with (
        devices.reporting_lost_workers(),
        ProgressLog(run_dir, config.total_kimg, silent=not devices.is_chief) as log,
        interrupts() as interrupted,
    ):
        _describe(run, log)
        keeper = Keeper(run, log, run_dir, start)
        if not keeper.resumed:
            run.grids.save_reals(run.dataset, run_dir)
            with suggesting(config, devices.num_replicas):
                run.grids.save(run_dir, "init")
        with run.dataset.batches(
            config.minibatch,
            config.seed,
            config.mirror_augment,
            first=run.iteration,
            rows=devices.rows(config.minibatch),
        ) as batches:
            while not (stop := devices.agree(interrupted.is_set)):
                if keeper.outputs_due:
                    _write_outputs(run, log, run_dir, keeper, interrupted)
                    continue
                if run.is_done:
                    break
                with suggesting(config, devices.num_replicas):
                    keeper.statistics.add(run.train_iteration(batches))
                log.progress(run.kimg, keeper.statistics)
                if keeper.tick.is_due(run.num_images):
                    keeper.tick.write(run.num_images, keeper.statistics)
                    keeper.outputs_due = True
                if keeper.is_due():
                    keeper.save()
        if stop:
            _stop(run, log, run_dir, keeper, interrupted)
        _finish(run, log, run_dir, keeper, interrupted)


def _describe(run: Run, log: ProgressLog) -> None:
    config = run.config
    log.line(
        f"Training {config.config} on {run.dataset.name}: {run.dataset.num_images} images of "
        f"{run.dataset.resolution}x{run.dataset.resolution}, {config.num_bits} bits, "
        f"minibatch {config.minibatch} in slices of {config.minibatch_gpu}, seed {config.seed}, "
        f"to {config.total_kimg:g} kimg; {run.devices.describe()}, {run.execution.label}"
    )
    for name, network in (("G", run.networks.G), ("D", run.networks.D), ("E", run.networks.E)):
        count = sum(int(np.prod(v.shape)) for v in network.named_trainables().values())
        log.line(f"{name}: {count} parameters")


def _write_outputs(
    run: Run, log: ProgressLog, run_dir: Path, keeper: Keeper, interrupted: Interrupts
) -> None:
    """Image grids and snapshots with metrics, at their ticks; `-init` shows the beginning."""
    ticks, number = run.config.ticks, keeper.tick.number
    if number > 0 and number % ticks.image_ticks == 0:
        run.grids.save(run_dir, _kimg_text(run))
    if number > 0 and number % ticks.snapshot_ticks == 0:
        name = f"network-snapshot-{_kimg_text(run)}"
        run.save(run_dir / f"{name}.pkl")
        _evaluate(run, log, run_dir, name, keeper, interrupted)
    keeper.outputs_due = False


def _stop(
    run: Run, log: ProgressLog, run_dir: Path, keeper: Keeper, interrupted: Interrupts
) -> None:
    """After Ctrl-C or SIGTERM: everything is saved, and the log says how to go on."""
    keeper.save()
    if run.devices.agree(interrupted.signal == signal.SIGTERM):
        log.line(f"Terminated; {_how_to_go_on(run_dir)}")
        raise Terminated
    if keeper.tick.num_images != run.num_images:
        keeper.tick.write(run.num_images, keeper.statistics)
    path = run_dir / f"network-snapshot-{_kimg_text(run)}.pkl"
    run.save(path)
    log.line(f"Interrupted; wrote {path}; {_how_to_go_on(run_dir)}")
    run.devices.wait()  # else the others would end while the chief writes, and seem lost
    raise KeyboardInterrupt


def _finish(
    run: Run, log: ProgressLog, run_dir: Path, keeper: Keeper, interrupted: Interrupts
) -> None:
    """The last grids, snapshot and metrics."""
    run.grids.save(run_dir, _kimg_text(run))
    run.save(run_dir / "network-final.pkl")
    _evaluate(run, log, run_dir, "network-final", keeper, interrupted)
    keeper.save(finished=True)
    elapsed = format_time(keeper.tick.elapsed())
    log.line(f"Finished after {elapsed}: {run_dir / 'network-final.pkl'}")
    run.devices.wait()


def _evaluate(
    run: Run,
    log: ProgressLog,
    run_dir: Path,
    name: str,
    keeper: Keeper,
    interrupted: Interrupts,
) -> None:
    """Metrics may take hours: Ctrl-C ends them at once, since everything is written before."""
    if not run.config.metrics:
        return
    keeper.save()
    try:
        with interrupted.at_once():
            results = evaluate(run.config.metrics, run.context)
    except KeyboardInterrupt:
        path = run_dir / f"{name}.pkl"
        log.line(f"Interrupted; wrote {path} without its metrics; {_how_to_go_on(run_dir)}")
        if interrupted.signal == signal.SIGTERM:
            raise Terminated from None
        raise
    for result in results if run.devices.is_chief else ():
        log.line(report(result, run_dir, name))
        log.scalars(
            {f"Metrics/{key}": value for key, value in result.values.items()}, run.num_images
        )


def _how_to_go_on(run_dir: Path) -> str:
    return f"the same command goes on with {run_dir} (or --resume={run_dir})"


def _kimg_text(run: Run) -> str:
    return f"{round(run.kimg):06d}"
