"""A training run: its networks, data and state, and one iteration of it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.pixels import centred
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from metrics.context import MetricContext
from metrics.efficientnet_lite import check_lite0
from metrics.evaluate import check_metrics
from metrics.feature_extractors import check_inception
from metrics.sampling import make_context
from metrics.vgg16 import check_vgg16
from training.checkpoint import check_finite
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.grids import Grids
from training.loss import weights_of
from training.models.orthogonal import is_linear, is_orthogonal, orthogonalise
from training.models.snapshot import load_networks, save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.generator import Generator
from training.origin import find_origin
from training.schedule import Rates, Strengths, ema_beta, learning_rates, strengths
from training.setup import make_networks, make_steps
from training.state import RunState


class Run:
    """One training run: networks, data, position. Making one checks all inputs.

    Args:
        config: its settings.
        dataset: real images.
        devices: where it runs; None: one device.
        threads: within an operation; None: one per core.

    Raises:
        UserError: a snapshot, metric or data set that does not fit.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        devices: Devices | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.threads = pin_threads(threads)
        self.devices = Devices() if devices is None else devices
        tf.random.set_seed(config.seed)
        self.config = config
        self.dataset = dataset
        self.networks = make_networks(config, self.devices)
        self.state = RunState()
        self.notes: list[str] = []  # lines for the log's beginning
        self._alone_until = 0.0  # kimg up to which only the discriminator learns
        pl_mean = 0.0
        self._before: Generator | None = None
        if config.resume_pkl is not None:
            pl_mean = self._start_from(config.resume_pkl)
        elif config.loss.anchor:
            raise UserError("--anchor-weight takes pictures to stay with: give a --resume-pkl, too")
        self.execution = resolve_execution(config.ops, config.precision)
        labels = dataset.labels if config.cond else None
        self.steps = make_steps(
            config, self.networks, self.execution, self.devices, labels, self._before
        )
        self.steps.pl_mean.assign(pl_mean)
        self.context = self._metric_context()
        self.grids = Grids(
            self.networks.Gs,
            config.seed,
            config.minibatch_gpu,
            self.execution,
            self.devices,
            labels,
        )

    @property
    def is_done(self) -> bool:
        """Whether the run has reached its length."""
        return self.state.kimg >= self.config.total_kimg

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that training changes, by names that do not change."""
        networks, steps = self.networks, self.steps
        found: dict[str, tf.Variable] = {"pl_mean": steps.pl_mean}
        if self.config.schedule.ada_kimg:
            found["augment_p"] = steps.augment_p
        for slot, network in networks.items():
            for name, variable in network.named_variables().items():
                found[f"{slot}/{name}"] = variable
        for slot, adam in (("G", steps.g_adam), ("D", steps.d_adam), ("E", steps.e_adam)):
            if adam is None:
                continue
            for name, variable in adam.named_state().items():
                found[f"{slot}/adam/{name}"] = variable
        return found

    def begin(self) -> None:
        """Starts the clock, and traces what is compiled before anything that depends on it."""
        self.state.started = time.time()
        self._trace()

    def _trace(self) -> None:
        """Traces what XLA compiles, before anything that depends on the position.

        XLA's program cache knows a program by a name that counts the functions made before it:
        this way a run that goes on finds the programs of the one that was stopped.
        """
        if not self.execution.jit or self.devices.num_replicas > 1:
            return
        config, steps = self.config, self.steps
        size, channels = config.G.resolution, config.G.num_channels
        step, scalar = tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32)
        rates = Rates(scalar, scalar, scalar)
        weights = tf.nest.map_structure(lambda _: scalar, weights_of(config.loss, 0))
        reals = tf.TensorSpec([config.minibatch, size, size, channels], tf.float32)
        labels: tuple[Any, ...] = ()
        if config.cond:
            labels = (tf.TensorSpec([config.minibatch, self.dataset.label_size], tf.float32),)
        compared = (reals, *labels) if config.gan_loss == "rpgan" else ()
        strong = Strengths(scalar)
        steps.generator_step.get_concrete_function(step, rates, weights, strong, *compared)
        steps.discriminator_step.get_concrete_function(step, reals, rates, scalar, *labels)
        if config.schedule.g_reg_interval:
            steps.path_length_step.get_concrete_function(step, rates)
        if config.schedule.d_reg_interval:
            steps.r1_step.get_concrete_function(step, reals, rates, *labels)
        self.grids.trace()

    def train_iteration(self, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
        """One minibatch through all phases that are due; returns their statistics."""
        config, schedule, steps = self.config, self.config.schedule, self.steps
        state = self.state
        step = tf.constant(state.iteration, tf.int64)
        rates = _as_tensors(learning_rates(config, state.num_images))
        weights = _as_tensors(weights_of(config.loss, state.kimg))
        strong = _as_tensors(strengths(config, state.num_images))
        reals = self.devices.distribute(centred(tf.cast(next(batches), tf.float32)))
        labels = self._labels()
        compared = (reals, *labels) if config.gan_loss == "rpgan" else ()
        stats: dict[str, tf.Tensor] = {}
        is_alone = state.kimg < self._alone_until
        if not is_alone:
            stats |= steps.generator_step(step, rates, weights, strong, *compared)
        if self._is_due(schedule.g_reg_interval) and not is_alone:
            stats |= steps.path_length_step(step, rates)
        beta = tf.constant(ema_beta(config, state.num_images), tf.float32)
        stats |= steps.discriminator_step(step, reals, rates, beta, *labels)
        if self._is_due(schedule.d_reg_interval):
            stats |= steps.r1_step(step, reals, rates, *labels)
        state.iteration += 1
        state.num_images += config.minibatch
        return stats

    def _is_due(self, interval: int) -> bool:
        """Whether this iteration has a regularisation of that interval; 0: never."""
        return interval > 0 and self.state.iteration % interval == 0

    def _labels(self) -> tuple[Any, ...]:
        """Labels of this iteration's real images, for every device its own; () without classes."""
        config = self.config
        if not config.cond:
            return ()
        labels = self.dataset.labels_of(
            config.minibatch,
            config.seed,
            self.state.iteration,
            rows=self.devices.rows(config.minibatch),
        )
        return (self.devices.distribute(tf.constant(labels)),)

    def save(self, path: Path) -> None:
        """Writes a snapshot of all networks with the position, once for all workers.

        Raises:
            UserError: a variable is not finite, or the file cannot be written.
        """
        if not self.devices.is_chief:
            return
        check_finite(self.variables())
        position = {
            "num_images": self.state.num_images,
            "kimg": self.state.kimg,
            "iteration": self.state.iteration,
            "pl_mean": float(self.steps.pl_mean.read_value()),
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

    def _start_from(self, name: str) -> float:
        """Starts from the weights of a snapshot, and from its position if it says one.

        Returns:
            The mean path length.
        """
        found = load_networks(name)
        is_plain = self.networks.E is None
        average = found.generator if is_plain else found.fingerprinted
        if isinstance(average, AdoptedGenerator):
            raise UserError(
                f"--resume-pkl={name} is an adopted generator, whose own weights stay as they are; "
                "name the file that it came in, or a snapshot of a training"
            )
        others = {"G": found.G or average, "Gs": average, "D": found.D, "E": found.E}
        if is_orthogonal(self.networks.Gs) and is_linear(average):
            trained: Any = others["G"]
            others["G"], others["Gs"] = orthogonalise([trained, average])
            self.notes.append("Its linear mapping of fingerprints is made orthogonal")
        for slot, ours in self.networks.items():
            theirs = others[slot]
            if theirs is None and slot == "D":
                continue  # a new one
            if theirs is None:
                raise UserError(f"--resume-pkl={name} holds no network {slot}; name a snapshot")
            for key, value in ours.kwargs.items():
                has = theirs.kwargs.get(key)
                if has != value and key not in _SAMPLING:
                    flag = _FLAGS.get(key, "--config")
                    raise UserError(
                        f"--resume-pkl={name}: its {key} is {has}, this run's is "
                        f"{value}; choose {flag} as in the snapshot"
                    )
            ours.copy_from(theirs)
        if self.config.loss.anchor and isinstance(self.networks.Gs, Generator):
            with self.devices.strategy.scope():
                self._before = Generator(self.networks.Gs.config)
            self._before.copy_from(self.networks.Gs)
        origin = find_origin(name, found.position)
        kimg = origin.num_images / 1000
        if kimg >= self.config.total_kimg:
            raise UserError(
                f"--resume-pkl={name} stands at {kimg:g} kimg, {origin.source}, and the run would "
                f"end at {self.config.total_kimg:g}: give a larger --total-kimg"
            )
        self.state.num_images = origin.num_images
        self.state.iteration = origin.iteration
        self.notes.append(f"Starting from {name} at {kimg:g} kimg, {origin.source}")
        if others["D"] is None:
            alone = self.config.schedule.d_alone_kimg
            self._alone_until = kimg + alone
            self.notes.append(
                f"It holds no discriminator: a new one learns alone for {alone:g} kimg"
            )
        return origin.pl_mean

    def _metric_context(self) -> MetricContext:
        config = self.config
        context = make_context(
            generator=self.networks.Gs,
            labels=self.dataset.labels if config.cond else None,
            decoder=self.networks.E,
            dataset=self.dataset,
            seed=config.seed,
            mirror_augment=config.mirror_augment,
            num_gpus=config.num_gpus,
            execution=self.execution,
            devices=self.devices,
        )
        check_metrics(config.metrics, context)
        lite0 = check_lite0(config.metrics, self.devices)
        vgg16 = check_vgg16(config.metrics, devices=self.devices)
        # Last, since it may download a file.
        inception = check_inception(config.metrics, config.inception, devices=self.devices)
        return replace(context, inception=inception, lite0=lite0, vgg16=vgg16)


def _as_tensors(numbers: Any) -> Any:
    """A named tuple of numbers as one of scalar tensors, for which nothing is traced anew."""
    return tf.nest.map_structure(lambda number: tf.constant(number, tf.float32), numbers)


_SAMPLING = {"stored_noise"}  # about pictures by seed, not about what a network computes
_FLAGS = {
    "fingerprint_size": "--watermark-size",
    "modulated_min_log2": "--res-modulated-range",
    "modulated_max_log2": "--res-modulated-range",
    "resolution": "a data set",
    "num_channels": "a data set",
    "label_size": "--cond and a data set",
    "mapping_layers": "--mapping",
    "mapping_lrmul": "--mapping",
    "mapping_act": "--mapping",
    "center_bits": "--mapping",
    "mapping_orthogonal": "--mapping",
    "readout_size": "--decoder-readout",
    "map_min_log2": "--fingerprint-maps",
    "map_max_log2": "--fingerprint-maps",
}
