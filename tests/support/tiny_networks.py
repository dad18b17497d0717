"""Networks as small as can be."""

from typing import Any

from training.networks.configs import GeneratorConfig
from training.networks.generator import Generator


def tiny_generator(seed: int = 0, **changes: Any) -> Generator:
    """8x8 pixels, 8 latents, 4 bits; `changes` are other fields of its configuration."""
    sizes = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "fingerprint_size": 4}
    config = {"resolution": 8, "mapping_layers": 1, "fmap_base": 32, "fmap_max": 4} | sizes
    return Generator(GeneratorConfig(**config | changes), seed=seed)
