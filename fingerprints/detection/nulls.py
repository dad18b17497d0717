"""Null distributions: how often foreign images match fingerprints, how sure of them decoders are.

What a calibration estimates from its images; see `calibration` for why.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.special

from fingerprints.bits import unpack_bits

MIN_INDEPENDENT_CONFIDENCE = 100  # foreign images below which confidences are not compared

# The grid on which the fingerprints' moments are rounded up: 1/16 of a match and 1 % of variance.
_MEAN_STEPS = 16
_VARIANCE_STEP = np.log(1.01)
_BLOCK = 16384  # fingerprints at a time
_EDGE = 1e-12  # keeps probabilities off 0 and 1, where the ratios below divide by 0


class Candidate(Protocol):
    """What is needed of `search.Candidate`: one registered fingerprint, compared with an image."""

    @property
    def row(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def matches(self) -> int: ...


class Index(Protocol):
    """What is needed of `search.PackedIndex`: every fingerprint ever registered."""

    @property
    def num_bits(self) -> int: ...
    @property
    def words(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def search(self, logits: np.ndarray, k: int = 2) -> Sequence[Candidate]: ...
    def max_matches(self, bits: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class ForeignNull:
    """The calibrated null distribution for one registry and one pool size."""

    num_bits: int  # B
    num_keys: int  # N, fingerprints ever registered
    pool: int  # images decided together
    num_independent: int  # foreign images, or pools of them, that this rests on
    match_pvalues: np.ndarray  # float64 [B+1]: P[the best match of a foreign image is >= m]
    confidences: np.ndarray  # float64 [n], ascending: mean |logit| of independent foreign images

    def match_pvalue(self, num_match: int) -> float:
        """P[some fingerprint agrees with a foreign image in >= num_match bits]."""
        return float(self.match_pvalues[num_match])

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


def beta_binomial_tails(num_bits: int, rate: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P[X >= m] for every m, X beta-binomial (Skellam 1948) in its intra-class correlation.

    alpha = rate * (1 - r) / r and beta = (1 - rate) * (1 - r) / r, so that the mean is B * rate and
    the variance B * rate * (1 - rate) * (1 + (B - 1) * r); r = 0 is the binomial.

    Args:
        num_bits: number of bits B.
        rate: [C], probability of one agreement, in [0, 1].
        correlation: [C], r between two agreements, in [0, 1].

    Returns:
        float64 [C,B+1] for m = 0..B.
    """
    rate = np.clip(rate, _EDGE, 1 - _EDGE)[:, None]
    r = np.clip(correlation, 0, 1 - _EDGE)[:, None]
    k = np.arange(num_bits)
    # pmf(k + 1) / pmf(k), the fraction (k + alpha) / (B - 1 - k + beta) enlarged by r.
    steps = (
        np.log((num_bits - k) / (k + 1))
        + np.log(k * r + rate * (1 - r))
        - np.log((num_bits - 1 - k) * r + (1 - rate) * (1 - r))
    )
    log_pmf = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    pmf = np.exp(log_pmf - scipy.special.logsumexp(log_pmf, axis=1, keepdims=True))
    return np.minimum(1.0, pmf[:, ::-1].cumsum(axis=1)[:, ::-1])


def match_moments(
    words: np.ndarray, bits: np.ndarray, weights: np.ndarray, num_independent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, over foreign images, of every fingerprint's number of matches.

    With fingerprints and decoded bits as c and y in {-1, 1}^B, a match count is (B + c.y) / 2: its
    mean is (B + c.mean(y)) / 2, its variance c' cov(y) c / 4. So N fingerprints need one B x B
    matrix and no N x n one.

    Args:
        words: fingerprints packed by `bits.pack_bits`, uint64 [N,ceil(B/64)].
        bits: decoded bits of foreign images, uint8 [n,B].
        weights: [n], sum 1.
        num_independent: number that the variance's n / (n - 1) takes.

    Returns:
        float64 [N] and float64 [N], in matches and matches squared.
    """
    y = signs(bits)
    mean = weights @ y  # [B]
    covariance = (y * weights[:, None]).T @ y - np.outer(mean, mean)  # [B,B]
    covariance *= num_independent / (num_independent - 1)
    means, variances = np.empty(len(words)), np.empty(len(words))
    for start in range(0, len(words), _BLOCK):
        part = slice(start, start + _BLOCK)
        codes = signs(unpack_bits(words[part], bits.shape[1]))
        means[part] = (bits.shape[1] + codes @ mean) / 2
        variances[part] = np.einsum("ij,ij->i", codes @ covariance, codes) / 4
    return means, variances


def sum_of_tails(
    index: Index, bits: np.ndarray, weights: np.ndarray, num_independent: int
) -> np.ndarray:
    """Sum over all fingerprints of P[matches with a foreign image >= m], float64 [B+1]."""
    num_bits = index.num_bits
    means, variances = match_moments(index.words, bits, weights, num_independent)
    rate = np.clip(means / num_bits, _EDGE, 1 - _EDGE)
    # Variance over the binomial's, from 1 (no narrower than it) to B (all bits agree or none).
    spread = np.clip(variances / (num_bits * rate * (1 - rate)), 1, num_bits)

    # A million fingerprints have few different moments once these are rounded up, which makes
    # tails heavier: with the mean always, with the variance wherever p-values are small.
    mean_cells = np.ceil(means * _MEAN_STEPS - 1e-9).astype(np.int64)
    spread_cells = np.ceil(np.log(spread) / _VARIANCE_STEP - 1e-9).astype(np.int64)
    num_spreads = spread_cells.max() + 1
    cells, counts = np.unique(mean_cells * num_spreads + spread_cells, return_counts=True)

    sums = np.zeros(num_bits + 1)
    for start in range(0, len(cells), _BLOCK):
        mean_cell, spread_cell = np.divmod(cells[start : start + _BLOCK], num_spreads)
        excess = np.exp(spread_cell * _VARIANCE_STEP) - 1
        tails = beta_binomial_tails(
            num_bits, mean_cell / (_MEAN_STEPS * num_bits), excess / max(1, num_bits - 1)
        )
        sums += counts[start : start + _BLOCK] @ tails
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
