"""Builds networks and optimisers from a configuration: all variables are created here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import Execution
from training.channels import find_channel
from training.config import TrainConfig
from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.networks.layers import Network
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from training.plain_steps import PlainSteps
from training.steps import StepOptions, Steps


@dataclass(frozen=True)
class TrainedNetworks:
    """The networks of a run, under the names that snapshots use."""

    G: Generator | StyleGAN2Generator
    D: Discriminator | StyleGAN2Discriminator
    E: Decoder | None  # None: plain StyleGAN2
    Gs: Generator | StyleGAN2Generator  # moving average of G

    def items(self) -> list[tuple[str, Network]]:
        """The networks that there are, each with its name, Gs last."""
        found = [("G", self.G), ("D", self.D), ("E", self.E), ("Gs", self.Gs)]
        return [(name, network) for name, network in found if network is not None]


def make_networks(config: TrainConfig, devices: Devices | None = None) -> TrainedNetworks:
    """Networks with initial values that depend on the seed alone; Gs starts equal to G.

    Args:
        config: of the run.
        devices: every one gets a copy of the variables; None: one device.
    """
    devices = devices or Devices()
    with devices.strategy.scope():
        discriminator: Discriminator | StyleGAN2Discriminator
        if isinstance(config.D, StyleGAN2DiscriminatorConfig):
            discriminator = StyleGAN2Discriminator(config.D, seed=config.seed + 1)
        else:
            discriminator = Discriminator(config.D, seed=config.seed + 1)
        if isinstance(config.G, StyleGAN2GeneratorConfig):
            return TrainedNetworks(
                G=StyleGAN2Generator(config.G, seed=config.seed),
                D=discriminator,
                E=None,
                Gs=StyleGAN2Generator(config.G, seed=config.seed),
            )
        assert config.E is not None
        return TrainedNetworks(
            G=Generator(config.G, seed=config.seed),
            D=discriminator,
            E=Decoder(config.E, seed=config.seed + 2),
            Gs=Generator(config.G, seed=config.seed),
        )


def make_steps(
    config: TrainConfig,
    networks: TrainedNetworks,
    execution: Execution,
    devices: Devices | None = None,
    labels: np.ndarray | None = None,
    before: Generator | None = None,
) -> Steps:
    """Optimisers and training phases for these networks, which run as `execution` says.

    Args:
        config: of the run.
        networks: of `make_networks` with the same devices.
        execution: how the networks' operations run.
        devices: where they run; None: one device.
        labels: float32 [M,C], of all real images; None: there are none.
        before: the generator that training began with, where the loss looks at it.

    Raises:
        UserError: the minibatch cannot be shared by the devices.
    """
    devices = devices or Devices()
    check_minibatch(config.minibatch, config.minibatch_gpu, devices.num_replicas)
    for _, network in networks.items():
        network.run_with(execution.impl, execution.precision)
    if before is not None:
        before.run_with(execution.impl, execution.precision)
    with devices.strategy.scope():
        make: Callable[..., Steps] = Steps if networks.E is not None else PlainSteps
        return make(
            labels=labels,
            before=before,
            generator=networks.G,
            discriminator=networks.D,
            decoder=networks.E,
            average=networks.Gs,
            options=StepOptions(
                minibatch=config.minibatch,
                minibatch_gpu=config.minibatch_gpu,
                gamma=config.loss.gamma,
                g_reg_interval=config.schedule.g_reg_interval,
                d_reg_interval=config.schedule.d_reg_interval,
                seed=config.seed,
                distinct_fingerprints=config.distinct_fingerprints,
                learn=config.learn,
                relativistic=config.gan_loss == "rpgan",
                channel=find_channel(config.channel),
                augment=find_channel(config.augment),
                ada_target=config.schedule.ada_target,
                ada_kimg=config.schedule.ada_kimg,
                jit=execution.jit,
            ),
            devices=devices,
        )


def check_minibatch(minibatch: int, minibatch_gpu: int, num_replicas: int) -> None:
    """Whether every device gets the same number of slices.

    Raises:
        UserError: it does not.
    """
    group = minibatch_gpu * num_replicas
    if minibatch % group:
        raise UserError(
            f"--minibatch={minibatch} is no multiple of {group}, which is --minibatch-gpu="
            f"{minibatch_gpu} on each of {num_replicas} devices; use "
            f"--minibatch={max(round(minibatch / group), 1) * group} or another --minibatch-gpu"
        )
