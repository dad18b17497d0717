"""An index by brute force, and foreign images of decoders with a bias."""

import dataclasses

import numpy as np

from fingerprints.bits import decide_bits, pack_bits
from fingerprints.detection.tails import count_matches


@dataclasses.dataclass(frozen=True)
class Found:
    """A fingerprint that BruteIndex found."""

    row: int
    id: int
    matches: int
    score: float


class BruteIndex:
    """Every fingerprint compared one by one; ids are 100, 101, ..."""

    def __init__(self, fingerprints: np.ndarray) -> None:
        self.fingerprints = np.asarray(fingerprints, dtype=np.uint8)
        self.words = pack_bits(self.fingerprints)
        self.num_bits = self.fingerprints.shape[1]

    def __len__(self) -> int:
        return len(self.fingerprints)

    def search(self, logits: np.ndarray, k: int = 2) -> list[Found]:
        scores = (2.0 * self.fingerprints - 1) @ logits
        matches = count_matches(decide_bits(logits), self.fingerprints)
        rows = np.argsort(-scores, kind="stable")[:k]
        return [Found(int(r), 100 + int(r), int(matches[r]), float(scores[r])) for r in rows]

    def max_matches(self, bits: np.ndarray) -> np.ndarray:
        best = np.zeros(len(bits), dtype=np.int64)
        for fingerprint in self.fingerprints:
            np.maximum(best, count_matches(bits, fingerprint), out=best)
        return best


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
