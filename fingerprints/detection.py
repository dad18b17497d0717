"""From the decoder's logits to bits, matches and p-values.

Under the null hypothesis (the image was not made with this fingerprint) every decoded bit agrees
with the fingerprint's with probability 1/2, independently: fingerprints are drawn uniformly.
"""

import math

import numpy as np
import scipy.special
import scipy.stats


def decide_bits(logits: np.ndarray) -> np.ndarray:
    """Logits, any shape -> uint8 bits of the same shape: 1 where the logit is above 0."""
    return (np.asarray(logits) > 0).astype(np.uint8)


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


def match_pvalue(num_match: int, num_bits: int, num_keys: int = 1) -> float:
    """P[at least one of `num_keys` unrelated fingerprints agrees in >= num_match fair bits].

    One fingerprint: p = P[Binomial(num_bits, 1/2) >= num_match], the survival function at
    num_match - 1. Of N independent ones: 1 - (1 - p)**N.

    Args:
        num_match: number of agreeing bits, 0..num_bits.
        num_bits: number of bits of a fingerprint.
        num_keys: number N of registered fingerprints that the image was compared with.

    Raises:
        ValueError: a count is out of range.
    """
    if not 0 <= num_match <= num_bits or num_keys < 1:
        raise ValueError(f"no p-value for {num_match} of {num_bits} bits and {num_keys} keys")
    p = float(scipy.stats.binom.sf(num_match - 1, num_bits, 0.5))
    if p >= 1.0:
        return 1.0
    # 1 - (1 - p)**N would be 0 for every p below 1e-16.
    return -math.expm1(num_keys * math.log1p(-p))
