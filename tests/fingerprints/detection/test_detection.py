"""Decisions and p-values against exact integer arithmetic."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from fingerprints.bits import decide_bits, pack_bits
from fingerprints.detection.tails import (
    binomial_tail,
    confidence,
    count_matches,
    match_pvalue,
    matches_needed,
    upper_rate,
)


def exact_pvalue(num_match: int, num_bits: int, num_keys: int = 1) -> Fraction:
    tail = sum(math.comb(num_bits, k) for k in range(num_match, num_bits + 1))
    return min(Fraction(1), num_keys * Fraction(tail, 2**num_bits))


@pytest.mark.parametrize("num_bits", [1, 2, 7, 32, 64, 128, 256, 1024])
def test_single_key_matches_exact_arithmetic(num_bits):
    tails = binomial_tail(np.arange(num_bits + 1), num_bits)
    assert tails.shape == (num_bits + 1,)
    for num_match in range(0, num_bits + 1, max(1, num_bits // 64)):
        exact = float(exact_pvalue(num_match, num_bits))
        assert match_pvalue(num_match, num_bits) == pytest.approx(exact, rel=1e-10)
        assert tails[num_match] == pytest.approx(exact, rel=1e-10)


def test_tails_broadcast():
    tails = binomial_tail(np.array([[0], [2]]), np.array([2, 3, 4]))
    assert tails.tolist() == [[1, 1, 1], pytest.approx([1 / 4, 1 / 2, 11 / 16])]
    assert binomial_tail(0, 0) == 1  # no bits agree by chance in all of no bits


@pytest.mark.parametrize("num_match", [-1, [2, 9]])
def test_impossible_tails_raise(num_match):
    with pytest.raises(ValueError, match="no tail for .* of 8 bits"):
        binomial_tail(np.array(num_match), 8)


@pytest.mark.parametrize("num_keys", [2, 10, 1000])
@pytest.mark.parametrize(("num_match", "num_bits"), [(0, 8), (5, 8), (30, 32), (128, 128)])
def test_many_keys_match_exact_arithmetic(num_match, num_bits, num_keys):
    exact = float(exact_pvalue(num_match, num_bits, num_keys))
    assert match_pvalue(num_match, num_bits, num_keys) == pytest.approx(exact, rel=1e-10)


def test_many_keys_keep_tiny_pvalues():
    assert match_pvalue(128, 128, 10**6) == pytest.approx(1e6 * 2.0**-128, rel=1e-10)


def test_union_bound_is_exact_for_distant_fingerprints_and_sidak_too_small():
    """Of all words of 10 bits, count those within 2 errors of keys that are 5 bits apart."""
    num_bits, num_match = 10, 8
    words = np.array(list(itertools.product((0, 1), repeat=num_bits)), dtype=np.uint8)
    keys = [words[0]]
    for word in words:
        if all(np.sum(word != key) >= 5 for key in keys):
            keys.append(word)
    assert len(keys) > 2
    best = np.max([count_matches(words, key) for key in keys], axis=0)
    rate = np.mean(best >= num_match)
    assert match_pvalue(num_match, num_bits, len(keys)) == pytest.approx(rate, rel=1e-12)
    single = match_pvalue(num_match, num_bits)
    assert 1 - (1 - single) ** len(keys) < rate * (1 - 1e-3)


@pytest.mark.parametrize("num_keys", [1, 20])
@pytest.mark.parametrize("level", [1e-2, 1e-3, 1e-4])
def test_null_rate_is_the_attained_size(level, num_keys):
    """Random 64-bit words against random keys: 2,000,000 images, 99.9 % intervals."""
    rng = np.random.default_rng(1)
    num_images = 2_000_000
    images = rng.integers(0, 2**64, size=num_images, dtype=np.uint64)
    best = np.zeros(num_images, dtype=np.int64)
    for key in rng.integers(0, 2**64, size=num_keys, dtype=np.uint64):
        np.maximum(best, 64 - np.bitwise_count(images ^ key).astype(np.int64), out=best)
    passed = np.array([match_pvalue(m, 64, num_keys) <= level for m in range(65)])
    attained = match_pvalue(int(np.argmax(passed)), 64, num_keys)
    assert level / 10 < attained <= level
    count = int(passed[best].sum())
    low, high = scipy.stats.binom.interval(0.999, num_images, attained)
    assert low <= count <= high
    assert scipy.stats.binomtest(count, num_images, level, alternative="greater").pvalue > 1e-3


def test_null_rate_holds_for_a_constant_decoder_on_average_over_fingerprints():
    """The decoder always reads the same bits; keys that keep a distance of 16 are drawn anew."""
    rng = np.random.default_rng(2)
    decoded = pack_bits(np.ones((1, 64), dtype=np.uint8))
    first, second = rng.integers(0, 2**64, size=(2, 1_000_000), dtype=np.uint64)
    apart = np.bitwise_count(first ^ second) >= 16
    first, second = first[apart], second[apart]
    best = 64 - np.minimum(
        np.bitwise_count(first ^ decoded[0]), np.bitwise_count(second ^ decoded[0])
    )
    needed = matches_needed(64, 2, 1e-3)
    attained = match_pvalue(needed, 64, 2)
    low, high = scipy.stats.binom.interval(0.999, len(best), attained)
    assert low <= np.sum(best >= needed) <= high


@pytest.mark.parametrize("level", [0.4, 2.0**-4, 1e-2, 1e-6])
@pytest.mark.parametrize("num_keys", [1, 2, 1000, 10**6])
@pytest.mark.parametrize("num_bits", [1, 4, 16, 32, 128])
def test_matches_needed_are_the_fewest_that_pass(num_bits, num_keys, level):
    passing = [
        m for m in range(num_bits + 1) if exact_pvalue(m, num_bits, num_keys) <= Fraction(level)
    ]
    assert matches_needed(num_bits, num_keys, level) == (passing[0] if passing else None)
    in_floats = [m for m in range(num_bits + 1) if match_pvalue(m, num_bits, num_keys) <= level]
    assert in_floats == passing


@pytest.mark.parametrize("arguments", [(0, 1, 0.1), (8, 0, 0.1), (8, 1, 0.0), (8, 1, 1.0)])
def test_impossible_thresholds_raise(arguments):
    with pytest.raises(ValueError, match="no threshold for"):
        matches_needed(*arguments)


@pytest.mark.parametrize(("num_events", "num_trials"), [(0, 10), (0, 1000), (3, 50), (49, 50)])
def test_upper_rate_leaves_five_percent_below(num_events, num_trials):
    rate = upper_rate(num_events, num_trials)
    assert scipy.stats.binom.cdf(num_events, num_trials, rate) == pytest.approx(0.05, rel=1e-9)
    assert upper_rate(num_events, num_trials, 0.99) > rate > num_events / num_trials


def test_upper_rate_has_its_known_ends():
    assert upper_rate(0, 1000) == pytest.approx(3 / 1000, rel=0.01)  # the rule of three
    assert upper_rate(7, 7) == 1.0


@pytest.mark.parametrize("arguments", [(-1, 5), (6, 5), (0, 0), (0, 5, 0.0), (0, 5, 1.0)])
def test_impossible_rates_raise(arguments):
    with pytest.raises(ValueError, match="no rate for"):
        upper_rate(*arguments)


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
