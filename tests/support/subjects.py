"""A subject of networks as small as can be, which have learnt nothing."""

from typing import Any

from dnnlib.tflib.execution import PLAIN
from evaluation.subject.model import Subject
from tests.support.tiny_networks import tiny_decoder, tiny_generator


def tiny_subject(num_keys: int = 12, **changes: Any) -> Subject:
    """16x16 pixels, 4 bits; `changes` are other fields of both networks."""
    sizes = {"resolution": 16, "latent_size": 8, "fingerprint_size": 4} | changes
    generator = tiny_generator(seed=1, **sizes)
    decoder = tiny_decoder(seed=2, **sizes)
    return Subject("tiny.pkl", generator, decoder, "0" * 64, "1" * 64, num_keys, execution=PLAIN)
