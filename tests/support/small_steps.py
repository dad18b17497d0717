"""Training phases of small networks, always the same at the start."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.devices import Devices
from training.channels import find_channel
from training.config import LossConfig
from training.loss import weights_of
from training.networks.configs import DecoderConfig, DiscriminatorConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.schedule import Rates, Strengths
from training.steps import StepOptions, Steps

BITS, LATENT = 5, 6
GAMMA = 7.0


def make_weights(decouple: float, latent: float, bits: float) -> Any:
    """Weights of the generator's loss, as arrays."""
    given = weights_of(LossConfig(decouple=decouple, latent=latent, bits=bits), 0)
    return type(given)(*map(np.float32, given))


# Arrays, since tensors would start TensorFlow before `on_devices` has made its devices.
RATES = Rates(*map(np.float32, (0.01, 0.02, 0.03)))
WEIGHTS = make_weights(2.0, 3.0, 4.0)
STRENGTHS = Strengths(np.float32(1.0))


def make_steps(
    *,
    minibatch: int = 4,
    minibatch_gpu: int = 4,
    seed: int = 1,
    jit: bool = False,
    resolution: int = 8,
    channel: str = "identity",
    fmap_base: int = 64,
    fmap_max: int = 8,
    devices: Devices | None = None,
    ada_kimg: float = 0.0,
    ada_target: float = 0.6,
    distinct_fingerprints: int = 0,
) -> Steps:
    """Small networks, always the same at the start; all noise is on."""
    devices = devices or Devices()
    images = {"resolution": resolution, "num_channels": 3}
    fmaps = {"fmap_base": fmap_base, "fmap_max": fmap_max}
    sizes = {"latent_size": LATENT, "fingerprint_size": BITS}

    def generator(network_seed: int) -> Generator:
        g = Generator(
            GeneratorConfig(
                **images,
                **fmaps,
                **sizes,
                dlatent_size=8,
                mapping_fmaps=8,
                mapping_layers=1,
                mapping_lrmul=1.0,
            ),
            seed=network_seed,
        )
        for name, variable in g.named_variables().items():
            if name.endswith("noise_strength"):
                variable.assign(0.1)
        return g

    with devices.strategy.scope():
        return Steps(
            generator=generator(10),
            average=generator(11),
            discriminator=Discriminator(DiscriminatorConfig(**images, **fmaps), seed=12),
            decoder=Decoder(DecoderConfig(**images, **fmaps, **sizes), seed=13),
            options=StepOptions(
                minibatch=minibatch,
                minibatch_gpu=minibatch_gpu,
                gamma=GAMMA,
                g_reg_interval=4,
                d_reg_interval=16,
                seed=seed,
                distinct_fingerprints=distinct_fingerprints,
                jit=jit,
                channel=find_channel(channel),
                ada_kimg=ada_kimg,
                ada_target=ada_target,
            ),
            devices=devices,
        )


def make_reals(steps: Steps) -> tf.Tensor:
    size = steps.generator.resolution
    rng = np.random.default_rng(3)
    reals = rng.uniform(-1, 1, [steps.options.minibatch, size, size, 3])
    return tf.constant(reals.astype(np.float32))


def step_number(value: int) -> tf.Tensor:
    return tf.constant(value, tf.int64)


def run_discriminator(steps: Steps, n: int, reals: Any = None) -> dict[str, tf.Tensor]:
    reals = make_reals(steps) if reals is None else reals
    return steps.discriminator_step(step_number(n), reals, RATES, tf.constant(0.9))


def run_r1(steps: Steps, n: int, reals: Any = None) -> dict[str, tf.Tensor]:
    return steps.r1_step(step_number(n), make_reals(steps) if reals is None else reals, RATES)


# Called with steps, number of the iteration and, if need be, the reals of all devices.
PHASES: dict[str, Callable[..., dict[str, tf.Tensor]]] = {
    "generator": lambda steps, n, reals=None: steps.generator_step(
        step_number(n), RATES, WEIGHTS, STRENGTHS
    ),
    "path_length": lambda steps, n, reals=None: steps.path_length_step(step_number(n), RATES),
    "discriminator": run_discriminator,
    "r1": run_r1,
}
