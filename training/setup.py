"""Builds networks and optimisers from a configuration: all variables are created here."""

from dataclasses import dataclass

from dnnlib.tflib.execution import Execution
from training.config import TrainConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.steps import StepOptions, Steps


@dataclass(frozen=True)
class TrainedNetworks:
    """The networks of a run, under the names that snapshots use."""

    G: Generator
    D: Discriminator
    E: Decoder
    Gs: Generator  # moving average of G


def make_networks(config: TrainConfig) -> TrainedNetworks:
    """Networks with initial values that depend on the seed alone; Gs starts equal to G."""
    return TrainedNetworks(
        G=Generator(**config.G, seed=config.seed),
        D=Discriminator(**config.D, seed=config.seed + 1),
        E=Decoder(**config.E, seed=config.seed + 2),
        Gs=Generator(**config.G, seed=config.seed),
    )


def make_steps(config: TrainConfig, networks: TrainedNetworks, execution: Execution) -> Steps:
    """Optimisers and training phases for these networks, which run as `execution` says."""
    for network in (networks.G, networks.D, networks.E, networks.Gs):
        network.run_with(execution.impl, execution.precision)
    return Steps(
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
            clip_decoder_input=config.clip_decoder_input,
            jit=execution.jit,
        ),
    )
