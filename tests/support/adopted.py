"""An adopted generator, not trained, but with fingerprints that show, and a decoder beside it."""

from pathlib import Path

import numpy as np

from training.models.adopting import adopt, load_original
from training.models.snapshot import save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder


def make_adopted(
    source: Path, num_bits: int, *, biases: bool = False, size: float = 0.3
) -> AdoptedGenerator:
    """Adopts the file `source`; what fingerprints add is ~ N(0, size^2) per bit."""
    adopted = adopt(load_original(source), num_bits, biases=biases)
    rng = np.random.default_rng(5)
    for variable in adopted.named_trainables().values():
        variable.assign(rng.normal(0, size, variable.shape))
    return adopted


def save_adopted(path: Path, source: Path, num_bits: int = 16) -> Path:
    """Writes a snapshot that commands take."""
    adopted = make_adopted(source, num_bits)
    decoder = Decoder.Config(
        resolution=adopted.resolution,
        latent_size=adopted.latent_size,
        fingerprint_size=num_bits,
        fmap_base=64,
        fmap_max=8,
    )
    save_snapshot(path, Gs=adopted, E=Decoder(decoder, seed=2))
    return path
