"""What a snapshot's decoder reads from pictures; in a process that may load TensorFlow."""

import numpy as np

from dnnlib.tflib.machine import resolve_execution
from training.models.functions import make_decoder
from training.models.snapshot import load_networks


def decode_pictures(network: str, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits [M,B] of pictures uint8 [M,H,W,C], by the same names."""
    decoder = load_networks(network, only="decoder").decoder
    decode = make_decoder(decoder, 64, resolve_execution("auto", "fp32"))
    return {name: decode(np.ascontiguousarray(images)) for name, images in pictures.items()}
