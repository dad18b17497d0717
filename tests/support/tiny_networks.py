"""Networks as small as can be."""

from typing import Any

from training.networks.configs import DecoderConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.generator import Generator


def tiny_generator(seed: int = 0, **changes: Any) -> Generator:
    """8x8 pixels, 8 latents, 4 bits; `changes` are other fields of its configuration."""
    sizes = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "fingerprint_size": 4}
    config = {"resolution": 8, "mapping_layers": 1, "fmap_base": 32, "fmap_max": 4} | sizes
    return Generator(GeneratorConfig(**config | changes), seed=seed)


def tiny_decoder(seed: int = 0, **changes: Any) -> Decoder:
    """32x32 pixels, 4 latents, 6 bits; `changes` are other fields of its configuration."""
    config = {"resolution": 32, "latent_size": 4, "fingerprint_size": 6} | changes
    return Decoder(DecoderConfig(**{"fmap_base": 64, "fmap_max": 8} | config), seed=seed)
