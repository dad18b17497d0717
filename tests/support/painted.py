"""A model whose fingerprints are painted as blocks, which a decoder reads without a network."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from evaluation.subject.model import draw_licensees

SIDE, B = 32, 64


def paint(bits: np.ndarray) -> np.ndarray:
    """64 bits as blocks of 4x4 grey pixels, darker and brighter: uint8 [N,32,32,3]."""
    blocks = np.where(bits.reshape(-1, 8, 8), 180, 70).repeat(4, 1).repeat(4, 2)
    return np.repeat(blocks[..., None], 3, axis=3).astype(np.uint8)


def read(images: np.ndarray) -> np.ndarray:
    """What was painted: uint8 [N,32,32,3] -> logits [N,64]."""
    grey = images.astype(float).mean(axis=3).reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    return grey.reshape(-1, B) - 125


def painted_subject(num_keys: int = 40) -> Any:
    """The part of a `Subject` that needs no network; every latent gives the same picture."""
    registered = draw_licensees(np.random.default_rng(0), num_keys, B)

    def generate(seeds: Sequence[int], bits: np.ndarray) -> np.ndarray:
        return paint(np.broadcast_to(bits, (len(seeds), B)))

    def owners(num_images: int) -> np.ndarray:
        return np.arange(num_images) % num_keys

    return SimpleNamespace(
        registered=registered,
        generate=generate,
        owners=owners,
        pictures=lambda n, first=0: generate(range(n), registered[owners(n)]),
        decode=read,
        decoder_hash="0" * 64,
        num_bits=B,
        num_keys=num_keys,
        resolution=SIDE,
        seed=0,
    )
