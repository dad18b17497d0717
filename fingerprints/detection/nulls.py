"""Null distributions: how near foreign images come to fingerprints, how sure of them decoders are.

What a calibration estimates from its images; see `calibration` for why. The scale is that of normal
scores: z = -Phi^-1(p) of the exact chance p with which a fingerprint drawn by fair coins does as
well (`evidence.chance`), so that images with all kinds of weights compare.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.special

from fingerprints.bits import unpack_bits
from fingerprints.detection.views import Decision

MIN_INDEPENDENT_CONFIDENCE = 100  # foreign images below which confidences are not compared

# The grid on which the fingerprints' moments are rounded up: deviations of a fair score, and 1 % of
# variance; and the one of scores, which are rounded down.
_MEAN_STEPS = 32
_VARIANCE_STEP = np.log(1.01)
_SCORE_STEPS = 64
_LOWEST, _HIGHEST = -4, 40  # scores; 1e-300 is 37
_BLOCK = 16384  # fingerprints at a time
_SAME = 1e-9  # scores that differ by less are the same


class Index(Protocol):
    """What is needed of `search.PackedIndex`: every fingerprint ever registered."""

    @property
    def num_bits(self) -> int: ...
    @property
    def ids(self) -> np.ndarray: ...
    @property
    def words(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def nearest(self, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class ForeignNull:
    """The calibrated null distribution for one registry, one pool size and the views tried."""

    num_bits: int  # B
    num_keys: int  # N, fingerprints ever registered
    views: tuple[str, ...]  # that are tried on each image, K
    decision: Decision
    pool: int  # images decided together
    num_independent: int  # foreign images, or pools of them, that this rests on
    tails: np.ndarray  # float64, on the grid of scores: of `sum_of_tails`
    best: np.ndarray  # float64 [n], ascending: of an independent image with any, in any view
    confidences: np.ndarray  # float64 [n], ascending: mean |logit| of independent foreign images

    def pvalue(self, chances: np.ndarray) -> np.ndarray:
        """P[some fingerprint, in some view, fits a foreign image as well].

        Args:
            chances: of one fingerprint and one view, as `evidence.chance` gives them, any shape.

        Returns:
            float64 of the same shape, in (0, 1].
        """
        scores = normal_scores(chances)
        cells = np.floor((np.maximum(scores, _LOWEST) - _LOWEST) * _SCORE_STEPS).astype(np.int64)
        sums = self.tails[np.minimum(cells, len(self.tails) - 1)]
        reached = len(self.best) - np.searchsorted(self.best, scores - _SAME)
        found = np.maximum(sums, reached / len(self.best))
        return np.where(scores < _LOWEST, 1.0, np.minimum(found, 1.0))

    def num_as_sure(self, confidence: float) -> int | None:
        """How many of `num_independent` the decoder is at least as sure of; None: too few to say.

        A count and no more: what lies beyond the surest foreign image has no probability here. An
        extrapolated tail gave pictures of one colour 1e-14.
        """
        if self.num_independent < MIN_INDEPENDENT_CONFIDENCE:
            return None
        return len(self.confidences) - int(np.searchsorted(self.confidences, confidence))

    def is_extrapolated(self, pvalue: float) -> bool:
        """Whether a calibrated p-value is smaller than the foreign images alone can show."""
        return pvalue < 1 / self.num_independent


def normal_scores(chances: np.ndarray) -> np.ndarray:
    """The score that a standard normal variable exceeds with these probabilities."""
    return -scipy.special.ndtri(np.asarray(chances, np.float64))


def standardise(weights: np.ndarray) -> np.ndarray:
    """Weights of `evidence.weigh` [M,B] -> float64 [M,B] of length 1; rows of zeros stay.

    The product with a fingerprint of -1 and 1 is then its T with mean 0 and variance 1 over
    fingerprints drawn by fair coins.
    """
    length = np.sqrt(np.sum(weights.astype(np.float64) ** 2, axis=1, keepdims=True))
    return weights / np.maximum(length, 1)


def score_moments(
    words: np.ndarray, images: np.ndarray, weights: np.ndarray, num_independent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, over foreign images, of every fingerprint's standardised T.

    With fingerprints and images as c in {-1, 1}^B and x (`standardise`), T is c.x: its mean is
    c.mean(x), its variance c' cov(x) c. So N fingerprints need one B x B matrix and no N x n one.

    Args:
        words: fingerprints packed by `bits.pack_bits`, uint64 [N,ceil(B/64)].
        images: float64 [n,B].
        weights: [n], sum 1.
        num_independent: number that the variance's n / (n - 1) takes.

    Returns:
        float64 [N] and float64 [N].
    """
    num_bits = images.shape[1]
    mean = weights @ images  # [B]
    covariance = (images * weights[:, None]).T @ images - np.outer(mean, mean)  # [B,B]
    covariance *= num_independent / (num_independent - 1)
    means, variances = np.empty(len(words)), np.empty(len(words))
    for start in range(0, len(words), _BLOCK):
        part = slice(start, start + _BLOCK)
        codes = signs(unpack_bits(words[part], num_bits))
        means[part] = codes @ mean
        variances[part] = np.einsum("ij,ij->i", codes @ covariance, codes)
    return means, variances


def sum_of_tails(moments: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Sum over all fingerprints and views of P[score of a foreign image >= z].

    The scores of one fingerprint are taken for normal, with its mean and its variance over foreign
    images, but never narrower than they are for a fair one.

    Args:
        moments: of `score_moments`, of every view.

    Returns:
        float64, for the scores of the grid.
    """
    # A million fingerprints have few different moments once these are rounded up, which makes
    # tails heavier: with the mean always, with the variance wherever p-values are small.
    means = np.concatenate([mean for mean, _ in moments])
    spread = np.maximum(np.concatenate([variance for _, variance in moments]), 1)
    mean_cells = np.ceil(means * _MEAN_STEPS - 1e-9).astype(np.int64)
    spread_cells = np.ceil(np.log(spread) / _VARIANCE_STEP - 1e-9).astype(np.int64)
    num_spreads = spread_cells.max() + 1
    cells, counts = np.unique(mean_cells * num_spreads + spread_cells, return_counts=True)
    mean_cells, spread_cells = np.divmod(cells, num_spreads)
    deviations = np.exp(spread_cells * _VARIANCE_STEP / 2)

    scores = np.arange(_LOWEST * _SCORE_STEPS, _HIGHEST * _SCORE_STEPS + 1) / _SCORE_STEPS
    sums = np.zeros(len(scores))
    block = max(1, 2**20 // len(scores))
    for start in range(0, len(cells), block):
        part = slice(start, start + block)
        standard = (scores[:, None] - mean_cells[part] / _MEAN_STEPS) / deviations[part]
        sums += scipy.special.ndtr(-standard) @ counts[part]
    return sums


def max_per_source(values: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The largest of the values [n] of every source: what its images cannot do independently."""
    _, of_image = np.unique(source, return_inverse=True)
    largest = np.full(of_image.max() + 1, values.min(), dtype=values.dtype)
    np.maximum.at(largest, of_image, values)
    return largest


def signs(bits: np.ndarray) -> np.ndarray:
    """Bits of 0 and 1 as float64 -1 and 1."""
    return 2.0 * bits - 1.0
