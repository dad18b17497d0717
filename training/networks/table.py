"""The classes that a snapshot may name."""

from typing import Any

from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.networks.layers import Network
from training.networks.plain_generator import PlainGenerator
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

# What makes pictures.
TrainedGenerator = Generator | StyleGAN2Generator | AdoptedGenerator
AnyGenerator = TrainedGenerator | PlainGenerator
# What makes pictures with the fingerprint that it is given.
Fingerprinted = Generator | AdoptedGenerator

NETWORKS: dict[str, type[Network]] = {
    "Generator": Generator,
    "Discriminator": Discriminator,
    "Decoder": Decoder,
    "PlainGenerator": PlainGenerator,
    "StyleGAN2Generator": StyleGAN2Generator,
    "StyleGAN2Discriminator": StyleGAN2Discriminator,
    "AdoptedGenerator": AdoptedGenerator,
}


def build(class_name: str, kwargs: dict[str, Any], seed: int | None = None) -> Network:
    """Builds a network; KeyError for unknown class names, TypeError for unknown keywords."""
    cls = NETWORKS[class_name]
    return cls(cls.Config(**kwargs), seed=seed)
