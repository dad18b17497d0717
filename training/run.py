"""A training run: its networks, data and position, and one iteration of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from metrics.context import MetricContext
from metrics.evaluate import check_metrics
from metrics.feature_extractors import check_inception
from metrics.sampling import make_context
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.grids import Grids
from training.models.snapshot import load_networks, save_snapshot
from training.schedule import learning_rates
from training.setup import make_networks, make_steps


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
        self.num_images = 0  # real images shown
        self.iteration = 0
        self.pl_mean = 0.0
        if config.resume_pkl is not None:
            self._resume(config.resume_pkl)
        self.execution = resolve_execution(config.ops, config.precision)
        self.steps = make_steps(config, self.networks, self.execution, self.devices)
        self.steps.pl_mean.assign(self.pl_mean)
        self.context = self._metric_context()
        self.grids = Grids(
            self.networks.Gs, config.seed, config.minibatch_gpu, self.execution, self.devices
        )

    @property
    def kimg(self) -> float:
        """Real images shown, in thousands."""
        return self.num_images / 1000

    @property
    def is_done(self) -> bool:
        """Whether the run has reached its length."""
        return self.kimg >= self.config.total_kimg

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that training changes, by names that do not change."""
        networks, steps = self.networks, self.steps
        found: dict[str, tf.Variable] = {"pl_mean": steps.pl_mean}
        for slot in ("G", "D", "E", "Gs"):
            for name, variable in getattr(networks, slot).named_variables().items():
                found[f"{slot}/{name}"] = variable
        for slot, adam in (("G", steps.g_adam), ("D", steps.d_adam), ("E", steps.e_adam)):
            found[f"{slot}/adam/updates"] = adam.updates
            names = getattr(networks, slot).named_trainables()
            for name, first, second in zip(names, adam.first, adam.second, strict=True):
                found[f"{slot}/adam/first/{name}"] = first
                found[f"{slot}/adam/second/{name}"] = second
        return found

    def trace(self) -> None:
        """Traces what XLA compiles, before anything that depends on the position.

        XLA's program cache knows a program by a name that counts the functions made before it:
        this way a run that goes on finds the programs of the one that was stopped.
        """
        if not self.execution.jit or self.devices.num_replicas > 1:
            return
        config, steps = self.config, self.steps
        size, channels = config.G["resolution"], config.G["num_channels"]
        step = tf.TensorSpec([], tf.int64)
        three, beta = tf.TensorSpec([3], tf.float32), tf.TensorSpec([], tf.float32)
        reals = tf.TensorSpec([config.minibatch, size, size, channels], tf.float32)
        steps.generator_step.get_concrete_function(step, three, three)
        steps.discriminator_step.get_concrete_function(step, reals, three, beta)
        if config.schedule.g_reg_interval:
            steps.path_length_step.get_concrete_function(step, three)
        if config.schedule.d_reg_interval:
            steps.r1_step.get_concrete_function(reals, three)
        self.grids.trace()

    def train_iteration(self, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
        """One minibatch through all phases that are due; returns their statistics."""
        config, schedule, steps = self.config, self.config.schedule, self.steps
        step = tf.constant(self.iteration, tf.int64)
        rates = tf.constant(learning_rates(config, self.num_images), tf.float32)
        weights = tf.constant([config.loss.decouple, config.loss.latent, config.loss.bits])
        stats = dict(steps.generator_step(step, rates, weights))
        if schedule.g_reg_interval and self.iteration % schedule.g_reg_interval == 0:
            stats |= steps.path_length_step(step, rates)
        reals = self.devices.distribute(tf.cast(next(batches), tf.float32) / 127.5 - 1)
        beta = 0.5 ** (config.minibatch / (schedule.ema_kimg * 1000))
        stats |= steps.discriminator_step(step, reals, rates, tf.constant(beta, tf.float32))
        if schedule.d_reg_interval and self.iteration % schedule.d_reg_interval == 0:
            stats |= steps.r1_step(reals, rates)
        self.iteration += 1
        self.num_images += config.minibatch
        return stats

    def save(self, path: Path) -> None:
        """Writes a snapshot of all four networks with the position, once for all workers."""
        if not self.devices.is_chief:
            return
        position = {
            "num_images": self.num_images,
            "kimg": self.kimg,
            "iteration": self.iteration,
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

    def _resume(self, name: str) -> None:
        """Starts from the weights of a snapshot, and from its position if it says one."""
        found = load_networks(name)
        average = found.fingerprinted
        pairs = {
            "G": (self.networks.G, found.G or average),
            "Gs": (self.networks.Gs, average),
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
            devices=self.devices,
        )
        check_metrics(config.metrics, context)
        # Last, since it may download a file.
        inception = check_inception(config.metrics, config.inception, devices=self.devices)
        return replace(context, inception=inception)


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
