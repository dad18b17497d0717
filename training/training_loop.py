"""The training loop: reads like a table of contents, the work is done elsewhere."""

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import tensorflow as tf

from dnnlib.config import save_json
from dnnlib.errors import UserError
from dnnlib.format import format_time
from dnnlib.tflib.device import gpu_memory_gb, process_memory_gb
from dnnlib.tflib.execution import Execution, resolve_execution
from metrics.context import MetricContext
from metrics.evaluate import check_metrics, evaluate
from metrics.feature_extractors import check_inception
from metrics.report import report
from metrics.sampling import make_context
from training.config import TrainConfig
from training.dataset import Dataset
from training.decoding import fill_batch, make_function
from training.image_grid import grid_size, save_grid
from training.networks.generator import Generator
from training.out_of_memory import suggesting
from training.progress_log import ProgressLog, Statistics
from training.schedule import learning_rates
from training.setup import make_networks, make_steps
from training.snapshot import load_networks, save_snapshot


class Run:
    """One training run: networks, data, position. Making one checks all inputs.

    Raises:
        UserError: a snapshot, metric or data set that does not fit.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset) -> None:
        tf.random.set_seed(config.seed)
        self.config = config
        self.dataset = dataset
        self.networks = make_networks(config)
        self.num_images = 0  # real images shown
        self.iteration = 0
        self.pl_mean = 0.0
        if config.resume_pkl is not None:
            self._resume(config.resume_pkl)
        self.execution = resolve_execution(config.ops, config.precision)
        self.steps = make_steps(config, self.networks, self.execution)
        self.steps.pl_mean.assign(self.pl_mean)
        self.context = self._metric_context()
        self.grids = _Grids(self.networks.Gs, config.seed, config.minibatch_gpu, self.execution)

    @property
    def kimg(self) -> float:
        """Real images shown, in thousands."""
        return self.num_images / 1000

    def train_iteration(self, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
        """One minibatch through all phases that are due; returns their statistics."""
        config, schedule, steps = self.config, self.config.schedule, self.steps
        step = tf.constant(self.iteration, tf.int64)
        rates = tf.constant(learning_rates(config, self.num_images), tf.float32)
        weights = tf.constant([config.loss.decouple, config.loss.latent, config.loss.bits])
        stats = dict(steps.generator_step(step, rates, weights))
        if schedule.g_reg_interval and self.iteration % schedule.g_reg_interval == 0:
            stats |= steps.path_length_step(step, rates)
        reals = tf.cast(next(batches), tf.float32) / 127.5 - 1
        beta = 0.5 ** (config.minibatch / (schedule.ema_kimg * 1000))
        stats |= steps.discriminator_step(step, reals, rates, tf.constant(beta, tf.float32))
        if schedule.d_reg_interval and self.iteration % schedule.d_reg_interval == 0:
            stats |= steps.r1_step(reals, rates)
        self.iteration += 1
        self.num_images += config.minibatch
        return stats

    def save(self, path: Path) -> None:
        """Writes a snapshot of all four networks with the position."""
        position = {
            "num_images": self.num_images,
            "kimg": self.kimg,
            "iteration": self.iteration,
            "pl_mean": float(self.steps.pl_mean),
            "seed": self.config.seed,
            "config": self.config.config,
        }
        save_snapshot(
            path,
            E=self.networks.E,
            G=self.networks.G,
            D=self.networks.D,
            Gs=self.networks.Gs,
            position=position,
        )

    def _resume(self, name: str) -> None:
        """Starts from the weights of a snapshot, and from its position if it says one."""
        found = load_networks(name)
        pairs = {
            "G": (self.networks.G, found.G or found.Gs),
            "Gs": (self.networks.Gs, found.Gs or found.G),
            "D": (self.networks.D, found.D),
            "E": (self.networks.E, found.E),
        }
        for slot, (ours, theirs) in pairs.items():
            if theirs is None:
                raise UserError(f"--resume-pkl={name} holds no network {slot}; name a snapshot")
            for key, value in ours.kwargs.items():
                if theirs.kwargs[key] != value:
                    flag = _FLAGS.get(key, "--config")
                    raise UserError(
                        f"--resume-pkl={name}: its {key} is {theirs.kwargs[key]}, this run's is "
                        f"{value}; choose {flag} as in the snapshot"
                    )
            ours.copy_from(theirs)
        self.num_images = int(found.position.get("num_images", 0))
        self.iteration = int(found.position.get("iteration", 0))
        self.pl_mean = float(found.position.get("pl_mean", 0.0))

    def _metric_context(self) -> MetricContext:
        config = self.config
        context = make_context(
            generator=self.networks.Gs,
            decoder=self.networks.E,
            dataset=self.dataset,
            seed=config.seed,
            mirror_augment=config.mirror_augment,
            num_gpus=config.num_gpus,
            execution=self.execution,
        )
        check_metrics(config.metrics, context)
        # Last, since it may download a file.
        return replace(context, inception=check_inception(config.metrics, config.inception))


_FLAGS = {
    "fingerprint_size": "--watermark-size",
    "modulated_min_log2": "--res-modulated-range",
    "modulated_max_log2": "--res-modulated-range",
    "resolution": "a data set",
    "num_channels": "a data set",
    "mapping_layers": "--mapping",
    "mapping_lrmul": "--mapping",
    "mapping_act": "--mapping",
    "center_bits": "--mapping",
}


def train(run: Run, run_dir: Path) -> None:
    """Trains until the configuration's `total_kimg` and leaves everything in `run_dir`.

    Raises:
        UserError: bad input, a full disk, too little memory, a statistic that is not finite.
        KeyboardInterrupt: after Ctrl-C, when a snapshot has been written.
    """
    start = time.time()
    config, dataset = run.config, run.dataset
    save_json(config, run_dir / "training_options.json")
    run.grids.save_reals(dataset, run_dir)
    with ProgressLog(run_dir, config.total_kimg) as log, _interrupts() as interrupted:
        _describe(run, log)
        with suggesting(config):
            run.grids.save(run_dir, "init")
        statistics = Statistics()
        tick = _Tick(run, log, start)
        with dataset.reading():
            batches = iter(dataset.batches(config.minibatch, config.seed, config.mirror_augment))
            while run.kimg < config.total_kimg and not interrupted.is_set:
                with suggesting(config):
                    statistics.add(run.train_iteration(batches))
                log.progress(run.kimg, statistics)
                if tick.is_due():
                    tick.write(statistics)
                    _write_due(run, log, run_dir, tick, interrupted)
        _finish(run, log, run_dir, tick, statistics, interrupted)


def _describe(run: Run, log: ProgressLog) -> None:
    config = run.config
    log.line(
        f"Training {config.config} on {run.dataset.name}: {run.dataset.num_images} images of "
        f"{run.dataset.resolution}x{run.dataset.resolution}, {config.num_bits} bits, "
        f"minibatch {config.minibatch} in slices of {config.minibatch_gpu}, seed {config.seed}, "
        f"to {config.total_kimg:g} kimg; {run.execution.label}"
    )
    for name, network in (("G", run.networks.G), ("D", run.networks.D), ("E", run.networks.E)):
        count = sum(int(np.prod(v.shape)) for v in network.named_trainables().values())
        log.line(f"{name}: {count} parameters")


def _write_due(
    run: Run, log: ProgressLog, run_dir: Path, tick: "_Tick", interrupted: "_Flag"
) -> None:
    """Image grids and snapshots with metrics, at their ticks; `-init` shows the beginning."""
    ticks = run.config.ticks
    if tick.number == 0:
        return
    if tick.number % ticks.image_ticks == 0:
        run.grids.save(run_dir, _kimg_text(run))
    if tick.number % ticks.snapshot_ticks == 0:
        name = f"network-snapshot-{_kimg_text(run)}"
        run.save(run_dir / f"{name}.pkl")
        _evaluate(run, log, run_dir, name, interrupted)


def _finish(
    run: Run,
    log: ProgressLog,
    run_dir: Path,
    tick: "_Tick",
    statistics: Statistics,
    interrupted: "_Flag",
) -> None:
    """The last tick and snapshot, after the end or after Ctrl-C."""
    if not tick.is_fresh():
        tick.write(statistics)
    if interrupted.is_set:
        path = run_dir / f"network-snapshot-{_kimg_text(run)}.pkl"
        run.save(path)
        log.line(f"Interrupted; wrote {path}; go on from it with --resume-pkl={path}")
        raise KeyboardInterrupt
    run.grids.save(run_dir, _kimg_text(run))
    run.save(run_dir / "network-final.pkl")
    _evaluate(run, log, run_dir, "network-final", interrupted)
    log.line(f"Finished after {format_time(tick.elapsed())}: {run_dir / 'network-final.pkl'}")


def _evaluate(run: Run, log: ProgressLog, run_dir: Path, name: str, interrupted: "_Flag") -> None:
    """Metrics may take hours: Ctrl-C ends them at once, since their snapshot is written."""
    if not run.config.metrics:
        return
    try:
        with interrupted.at_once():
            results = evaluate(run.config.metrics, run.context)
    except KeyboardInterrupt:
        path = run_dir / f"{name}.pkl"
        log.line(f"Interrupted; wrote {path} without its metrics")
        raise
    for result in results:
        log.line(report(result, run_dir, name))
        log.scalars(
            {f"Metrics/{key}": value for key, value in result.values.items()}, run.num_images
        )


def _kimg_text(run: Run) -> str:
    return f"{round(run.kimg):06d}"


class _Tick:
    """The regular lines of the log, and their times."""

    def __init__(self, run: Run, log: ProgressLog, start: float) -> None:
        self.number = -1
        self._run = run
        self._log = log
        self._start = start
        self._images_before = run.num_images
        self._last_end = time.time()
        self._maintenance = self._last_end - start

    def elapsed(self) -> float:
        """Seconds since the start of the run."""
        return time.time() - self._start

    def is_due(self) -> bool:
        """After the first iteration, then every `kimg` of the ticks, and at the end."""
        shown = self._run.num_images - self._images_before
        config = self._run.config
        return (
            self.number < 0
            or shown >= config.ticks.kimg * 1000
            or self._run.kimg >= config.total_kimg
        )

    def is_fresh(self) -> bool:
        """Whether nothing was trained since the last tick."""
        return self._run.num_images == self._images_before

    def write(self, statistics: Statistics) -> None:
        """One tick: a line as users know it, a line of statistics, TensorBoard scalars."""
        run = self._run
        now = time.time()
        seconds = now - self._last_end
        kimg = max(run.num_images - self._images_before, 1) / 1000
        means = statistics.take_means()
        self.number += 1
        self._log.line(
            f"tick {self.number:<5d} kimg {run.kimg:<8.1f} lod {0:<5.2f} "
            f"minibatch {run.config.minibatch:<4d} time {format_time(now - self._start):<12s} "
            f"sec/tick {seconds:<7.1f} sec/kimg {seconds / kimg:<7.2f} "
            f"maintenance {self._maintenance:<6.1f} gpumem {gpu_memory_gb():.1f}"
        )
        shown = ("bit_accuracy", "loss_E_watermarks", "loss_G", "scores/fake", "scores/real")
        parts = [f"{name} {means[name]:.4f}" for name in shown if name in means]
        if parts:
            self._log.line("  " + "  ".join(parts))
        g_rate, e_rate, d_rate = learning_rates(run.config, run.num_images)
        scalars = {_tag(name): value for name, value in means.items()}
        scalars |= {
            "Progress/tick": self.number,
            "Progress/kimg": run.kimg,
            "Progress/lod": 0.0,
            "Progress/minibatch": run.config.minibatch,
            "Progress/G_lrate": g_rate,
            "Progress/E_lrate": e_rate,
            "Progress/D_lrate": d_rate,
            "Timing/sec_per_tick": seconds,
            "Timing/sec_per_kimg": seconds / kimg,
            "Timing/maintenance_sec": self._maintenance,
            "Timing/total_sec": now - self._start,
            "Timing/total_hours": (now - self._start) / 3600,
            "Resources/peak_gpu_mem_gb": gpu_memory_gb(),
            "Resources/process_mem_gb": process_memory_gb(),
        }
        self._log.scalars(scalars, run.num_images)
        self._images_before = run.num_images
        self._last_end = time.time()
        self._maintenance = self._last_end - now


def _tag(name: str) -> str:
    """TensorBoard's name of a statistic."""
    if name == "bit_accuracy":
        return "Progress/bit_accuracy"
    return f"Loss/{name}"


class _Grids:
    """The image grids: fixed latents, fingerprints and noise, so that they can be compared.

    At most `minibatch_gpu` images are made at a time: grids shall fit where training does.
    """

    def __init__(
        self, generator: Generator, seed: int, minibatch_gpu: int, execution: Execution
    ) -> None:
        self._batch = min(minibatch_gpu, _GRID_BATCH)
        self._size = grid_size(generator.resolution)
        count = self._size[0] * self._size[1]
        rnd = np.random.RandomState(seed % 2**32)
        latents = rnd.randn(count, generator.latent_size).astype(np.float32)
        bits = rnd.randint(0, 2, [count, generator.fingerprint_size]).astype(np.float32)
        same_latents = np.repeat(latents[:1], count, axis=0)
        same_bits = np.repeat(bits[:1], count, axis=0)
        self._inputs = {
            "fakes-arbitrary": (latents, bits),
            "fakes-watermarks-same": (latents, same_bits),
            "fakes-latents-same": (same_latents, bits),
        }
        self._noise = [
            rnd.randn(count, h, w, 1).astype(np.float32) for h, w in generator.noise_shapes
        ]
        widths = (generator.latent_size, generator.fingerprint_size)
        signature = [
            *(tf.TensorSpec([None, width], tf.float32) for width in widths),
            [tf.TensorSpec([None, h, w, 1], tf.float32) for h, w in generator.noise_shapes],
        ]
        self._execution = execution
        self._images = make_function(generator.__call__, generator, execution, signature)

    def save(self, run_dir: Path, suffix: str) -> None:
        """Writes the three grids as `<kind>-<suffix>.png`."""
        for kind, (latents, bits) in self._inputs.items():
            images = []
            for begin in range(0, len(latents), self._batch):
                inputs = [
                    tf.constant(
                        fill_batch(
                            values[begin : begin + self._batch], self._batch, self._execution
                        )
                    )
                    for values in (latents, bits, *self._noise)
                ]
                images.append(self._images(inputs[0], inputs[1], inputs[2:]).numpy())
            made = np.concatenate(images)[: len(latents)]  # without what filled the last batch
            save_grid(made, run_dir / f"{kind}-{suffix}.png", self._size)

    def save_reals(self, dataset: Dataset, run_dir: Path) -> None:
        """Writes `reals.png`: the first images of the data set."""
        images = np.stack(list(dataset.images(limit=self._size[0] * self._size[1])))
        save_grid(images, run_dir / "reals.png", self._size)


_GRID_BATCH = 32


class _Flag:
    """Set when Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.is_set = False
        self.raises = False  # the next Ctrl-C does not wait

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block Ctrl-C, pressed there or earlier, is a KeyboardInterrupt."""
        self.raises = True
        try:
            if self.is_set:
                raise KeyboardInterrupt
            yield
        except Exception as error:
            # TensorFlow, interrupted while it builds a graph, may raise an error of its own.
            if self.is_set:
                raise KeyboardInterrupt from error
            raise
        finally:
            self.raises = self.is_set


@contextlib.contextmanager
def _interrupts() -> Iterator[_Flag]:
    """Turns the first Ctrl-C into a flag, so that an iteration is finished; the second stops."""
    flag = _Flag()

    def handle(signum: int, frame: FrameType | None) -> None:
        stop = flag.raises
        flag.is_set = flag.raises = True
        if stop:
            raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread, which is where signals arrive
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
