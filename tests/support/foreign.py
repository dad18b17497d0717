"""An index by brute force, and foreign images of decoders with a bias."""

import numpy as np

from fingerprints.bits import pack_bits


class BruteIndex:
    """Every fingerprint compared one by one; ids are 100, 101, ..."""

    def __init__(self, fingerprints: np.ndarray) -> None:
        self.fingerprints = np.asarray(fingerprints, dtype=np.uint8)
        self.words = pack_bits(self.fingerprints)
        self.ids = np.arange(len(self.fingerprints)) + 100
        self.num_bits = self.fingerprints.shape[1]

    def __len__(self) -> int:
        return len(self.fingerprints)

    def nearest(self, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        is_wrong = (weights[:, None] > 0) != self.fingerprints
        lost = np.sum(np.abs(weights[:, None]) * is_wrong, axis=2, dtype=np.int64)
        rows = np.argsort(lost, axis=1, kind="stable")[:, :k]
        return rows, np.take_along_axis(lost, rows, axis=1)


def biased_logits(rng, num_images: int, bias: np.ndarray, loadings: np.ndarray) -> np.ndarray:
    """Foreign images of a decoder with a bias per bit and errors that its bits share."""
    shared = rng.standard_normal((num_images, len(loadings))) @ loadings
    return bias + shared + rng.standard_normal((num_images, len(bias)))


def unlucky_registry(seed: int, num_bits: int = 64, num_keys: int = 20):
    """A registry, and a decoder whose foreign images lean to its fingerprint of row 7."""
    rng = np.random.default_rng(seed)
    fingerprints = rng.integers(0, 2, (num_keys, num_bits), dtype=np.uint8)
    bias = 0.8 * (2.0 * fingerprints[7] - 1) * (rng.random(num_bits) < 0.8)
    loadings = 0.5 * rng.standard_normal((3, num_bits))
    return rng, fingerprints, bias, loadings
