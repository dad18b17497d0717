"""From the decoder's logits to bits, matches and p-values.

Under the null hypothesis (the image has nothing to do with this fingerprint) every decoded bit
agrees with the fingerprint's with probability 1/2, independently. What makes it so is the draw of
the fingerprint (Yu et al. 2022, arXiv 2012.08726), uniform over all words: however biased the
decoder is, the binomial tail is exact on average over the draw. For one registry at hand it can be
wrong; `calibration` is about that.
"""

import math
from fractions import Fraction

import numpy as np
import scipy.special
import scipy.stats


def confidence(logits: np.ndarray) -> np.ndarray:
    """The decoder's probability of the bit that it decided for, sigmoid(|logit|), in [0.5, 1].

    Args:
        logits: any shape.

    Returns:
        float64 of the same shape.
    """
    return scipy.special.expit(np.abs(np.asarray(logits, dtype=np.float64)))


def count_matches(bits: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Number of positions in which bits agree.

    Args:
        bits: [..., B] of 0 and 1.
        expected: [..., B] of 0 and 1; leading dimensions broadcast.

    Returns:
        int64 [...].

    Raises:
        ValueError: the numbers of bits differ.
    """
    bits, expected = np.asarray(bits), np.asarray(expected)
    if bits.shape[-1] != expected.shape[-1]:
        raise ValueError(f"{bits.shape[-1]} bits cannot match {expected.shape[-1]} bits")
    return np.asarray(np.sum(bits == expected, axis=-1, dtype=np.int64))


def binomial_tail(num_match: np.ndarray | int, num_bits: np.ndarray | int) -> np.ndarray:
    """P[Binomial(num_bits, 1/2) >= num_match], the survival function at num_match - 1.

    Args:
        num_match: number of agreeing bits, any shape.
        num_bits: number of compared bits, of a shape that broadcasts.

    Returns:
        float64 of the common shape; 1 at no agreement, never 0 up to 1,074 bits.

    Raises:
        ValueError: a number of agreeing bits is not within 0..num_bits.
    """
    num_match, num_bits = np.asarray(num_match), np.asarray(num_bits)
    if np.any(num_match < 0) or np.any(num_match > num_bits):
        raise ValueError(f"no tail for {num_match} of {num_bits} bits")
    return np.asarray(scipy.stats.binom.sf(num_match - 1, num_bits, 0.5))


def match_pvalue(num_match: int, num_bits: int, num_keys: int = 1) -> float:
    """P[at least one of `num_keys` unrelated fingerprints agrees in >= num_match fair bits].

    min(1, N * P[Binomial(num_bits, 1/2) >= num_match]), the union bound. 1 - (1 - p)**N would need
    fingerprints drawn independently of each other. Fingerprints that keep a minimum distance are
    not: the balls around them are disjoint, so for a high match the events exclude each other,
    N * p is exact and 1 - (1 - p)**N is too small. The union bound needs only that every single
    fingerprint is uniform, and it is: refusing candidates by their distance treats all words
    alike (the distribution of the whole set does not change when one word is XORed to all).

    Args:
        num_match: number of agreeing bits, 0..num_bits.
        num_bits: number of bits of a fingerprint.
        num_keys: number N of fingerprints ever registered, revoked ones too.

    Raises:
        ValueError: a count is out of range.
    """
    if not 0 <= num_match <= num_bits or num_keys < 1:
        raise ValueError(f"no p-value for {num_match} of {num_bits} bits and {num_keys} keys")
    return min(1.0, num_keys * float(binomial_tail(num_match, num_bits)))


def matches_needed(num_bits: int, num_keys: int, level: float) -> int | None:
    """The smallest number of matches whose p-value is at most `level`, in exact arithmetic.

    Args:
        num_bits: number of bits B of a fingerprint.
        num_keys: number N of fingerprints ever registered.
        level: false-positive rate that must be kept, in (0, 1).

    Returns:
        The number, or None if even B of B bits are no evidence at this level.

    Raises:
        ValueError: a number is out of range.
    """
    if num_bits < 1 or num_keys < 1 or not 0 < level < 1:
        raise ValueError(f"no threshold for {num_bits} bits, {num_keys} keys and level {level}")
    # N * tail / 2**B <= level, as whole numbers.
    most = Fraction(level) * 2**num_bits / num_keys
    tail, needed = 0, num_bits + 1
    while (tail := tail + math.comb(num_bits, needed - 1)) <= most:
        needed -= 1
    return needed if needed <= num_bits else None


def upper_rate(num_events: int, num_trials: int, level: float = 0.95) -> float:
    """The largest rate that goes with `num_events` in `num_trials` independent trials.

    One-sided exact limit: the rate at which so few events or fewer still have probability
    1 - level (Clopper and Pearson, Biometrika 26, 1934). Without an event it is about 3 / n at
    95 %, the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).

    Args:
        num_events: events seen, 0..num_trials.
        num_trials: independent trials.
        level: confidence of the limit, in (0, 1).

    Raises:
        ValueError: a number is out of range.
    """
    if not 0 <= num_events <= num_trials or num_trials < 1 or not 0 < level < 1:
        raise ValueError(f"no rate for {num_events} of {num_trials} trials at level {level}")
    if num_events == num_trials:
        return 1.0
    return float(scipy.stats.beta.ppf(level, num_events + 1, num_trials - num_events))
