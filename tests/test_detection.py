"""Decisions and p-values against exact integer arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fingerprints.detection import confidence, count_matches, decide_bits, match_pvalue


def exact_pvalue(num_match: int, num_bits: int, num_keys: int = 1) -> Fraction:
    tail = sum(math.comb(num_bits, k) for k in range(num_match, num_bits + 1))
    return 1 - (1 - Fraction(tail, 2**num_bits)) ** num_keys


@pytest.mark.parametrize("num_bits", [1, 2, 7, 32, 64, 128, 256])
def test_single_key_matches_exact_arithmetic(num_bits):
    for num_match in range(num_bits + 1):
        exact = float(exact_pvalue(num_match, num_bits))
        assert match_pvalue(num_match, num_bits) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("num_keys", [2, 10, 1000])
@pytest.mark.parametrize(("num_match", "num_bits"), [(0, 8), (5, 8), (30, 32), (128, 128)])
def test_many_keys_match_exact_arithmetic(num_match, num_bits, num_keys):
    exact = float(exact_pvalue(num_match, num_bits, num_keys))
    assert match_pvalue(num_match, num_bits, num_keys) == pytest.approx(exact, rel=1e-10)


def test_many_keys_keep_tiny_pvalues():
    """1 - (1 - p)**N is 0 in float64 here; the answer is N * p to ten digits."""
    assert match_pvalue(128, 128, 10**6) == pytest.approx(1e6 * 2.0**-128, rel=1e-10)


def test_no_agreement_is_certain():
    assert match_pvalue(0, 32) == 1.0
    assert match_pvalue(0, 32, 10) == 1.0


def test_false_positives_occur_at_the_stated_rate():
    """Unrelated fair bits reach p <= 0.05 in P[Bin >= 21] of 200,000 draws (32 bits)."""
    rnd = np.random.RandomState(1)
    matches = count_matches(rnd.randint(0, 2, (200_000, 32)), rnd.randint(0, 2, 32))
    threshold = min(k for k in range(33) if match_pvalue(k, 32) <= 0.05)
    expected = float(exact_pvalue(threshold, 32))
    # Five standard deviations of the observed rate.
    tolerance = 5 * math.sqrt(expected * (1 - expected) / len(matches))
    assert np.mean(matches >= threshold) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("arguments", [(-1, 8), (9, 8), (4, 8, 0)])
def test_impossible_counts_raise(arguments):
    with pytest.raises(ValueError, match="no p-value"):
        match_pvalue(*arguments)


def test_count_matches_broadcasts_and_counts_in_integers():
    bits = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], dtype=np.uint8)
    counts = count_matches(bits, np.array([1, 0, 0, 1]))
    assert counts.dtype == np.int64
    assert counts.tolist() == [3, 1]
    # 300 bits would overflow a sum in uint8.
    assert count_matches(np.ones(300, np.uint8), np.ones(300, np.uint8)) == 300


def test_count_matches_refuses_other_lengths():
    with pytest.raises(ValueError, match="4 bits cannot match 1 bits"):
        count_matches(np.ones(4), np.ones(1))


def test_decisions_and_confidence():
    logits = np.array([[-1000.0, -1.0, 0.0], [1e-3, 2.0, 1000.0]], dtype=np.float32)
    assert decide_bits(logits).tolist() == [[0, 0, 0], [1, 1, 1]]
    sure = confidence(logits)
    assert sure.shape == logits.shape
    assert sure[0].tolist() == pytest.approx([1.0, 1 / (1 + math.exp(-1)), 0.5])
    assert sure[1].tolist() == pytest.approx([0.50025, 1 / (1 + math.exp(-2)), 1.0])
