"""Plans against counts over all words, and against SciPy's binomial distribution."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from dnnlib.errors import UserError
from fingerprints.detection.planning import ball_size, default_min_distance, plan
from fingerprints.detection.tails import match_pvalue


def weights(num_bits: int) -> np.ndarray:
    """Number of ones of every word, which is its distance from the word 0."""
    return np.array([sum(word) for word in itertools.product((0, 1), repeat=num_bits)])


@pytest.mark.parametrize("num_bits", [1, 3, 8, 11])
def test_balls_hold_the_words_counted(num_bits):
    for radius in range(num_bits + 1):
        assert ball_size(num_bits, radius) == np.sum(weights(num_bits) <= radius)


@pytest.mark.parametrize("fpr", [0.3, 0.01, 1e-3])
@pytest.mark.parametrize("num_licensees", [1, 3, 20])
@pytest.mark.parametrize("num_bits", [2, 5, 8, 12])
def test_plan_agrees_with_counts_over_all_words(num_bits, num_licensees, fpr):
    result = plan(num_bits, num_licensees, fpr)
    errors = weights(num_bits)
    # Rates of foreign words within so many errors of one of N fingerprints, as a union bound.
    rates = {m: num_licensees * np.mean(errors <= num_bits - m) for m in range(num_bits + 1)}
    passing = [m for m, rate in rates.items() if rate <= fpr]
    if passing:
        assert result.is_possible
        assert result.matches_needed == passing[0]
        assert result.attained_fpr == pytest.approx(rates[passing[0]], rel=1e-12)
        assert result.match_share == passing[0] / num_bits
    else:
        assert not result.is_possible
        assert result.matches_needed is None
        assert (result.attained_fpr, result.match_share, result.bit_accuracy) == (None,) * 3
    largest = result.max_licensees
    assert largest == 0 or plan(num_bits, largest, fpr).is_possible
    assert not plan(num_bits, largest + 1, fpr).is_possible


def test_32_bits_and_1000_licensees_need_every_bit():
    result = plan(32, 1000, 1e-6)
    assert result.matches_needed == 32
    assert result.attained_fpr == 1000 / 2**32
    assert result.bit_accuracy == pytest.approx(0.99 ** (1 / 32))
    assert result.max_licensees == 4294
    assert plan(32, 4294, 1e-6).is_possible
    assert not plan(32, 4295, 1e-6).is_possible


@pytest.mark.parametrize("power", [0.5, 0.99])
@pytest.mark.parametrize("num_bits", [32, 64, 128, 1024])
def test_images_at_the_bit_accuracy_are_found_with_the_power(num_bits, power):
    result = plan(num_bits, 1000, 1e-6, power)
    found = scipy.stats.binom.sf(result.matches_needed - 1, num_bits, result.bit_accuracy)
    assert found == pytest.approx(power, rel=1e-9)
    assert result.attained_fpr == pytest.approx(match_pvalue(result.matches_needed, num_bits, 1000))


def test_large_plans_are_exact():
    result = plan(1024, 10**9, 2.0**-30)
    assert result.max_licensees == 2**994  # 1e299, of which floats keep 16 digits
    assert result.max_licensees_at_quarter == 2**1023 // sum(math.comb(1024, k) for k in range(256))


@pytest.mark.parametrize(
    ("num_bits", "num_licensees"),
    [(b, n) for b in (1, 3, 8, 13, 20, 32) for n in (1, 2, 9, 100, 3000) if n <= 2**b],
)
def test_min_distance_is_the_largest_that_leaves_half_of_the_words(num_bits, num_licensees):
    fitting = [
        d
        for d in range(1, num_bits // 4 + 1)
        if Fraction(num_licensees * sum(math.comb(num_bits, k) for k in range(d)), 2**num_bits)
        <= Fraction(1, 2)
    ]
    assert default_min_distance(num_bits, num_licensees) == max(fitting, default=1)


def test_last_licensee_finds_a_fingerprint_in_two_draws():
    """Twenty registries filled with random words: half of the last candidates are accepted."""
    num_bits, num_licensees = 12, 25
    distance = default_min_distance(num_bits, num_licensees)
    assert distance == 3
    words = np.array(list(itertools.product((0, 1), repeat=num_bits)))
    rng = np.random.default_rng(1)
    for _ in range(20):
        free = np.ones(len(words), dtype=bool)
        for _ in range(num_licensees - 1):
            new = words[rng.choice(np.flatnonzero(free))]
            free &= np.sum(words != new, axis=1) >= distance
        assert free.mean() >= 0.5


def test_quarter_distance_fits_the_number_stated():
    result = plan(32, 10, 1e-6)
    assert result.min_distance == 8
    assert default_min_distance(32, result.max_licensees_at_quarter) == 8
    assert default_min_distance(32, result.max_licensees_at_quarter + 1) == 7


def test_more_licensees_than_words_are_refused():
    assert default_min_distance(4, 16) == 1
    with pytest.raises(UserError, match=r"17 licensees do not fit 4 bits, which have 16 values; "):
        default_min_distance(4, 17)
    assert plan(4, 17, 0.1).min_distance is None


def test_lines_name_every_number():
    assert plan(128, 1000, 1e-6).lines() == [
        "128 bits, 1000 licensees, fpr 1e-06 per image",
        "matches needed: 98 of 128 (76.6%), attained fpr 6.5e-07",
        "bit accuracy needed to find 0.99 of the images: 0.8405 (independent bit errors)",
        "that is for bits that are all equally clear, the worst case; where the wrong ones are the "
        "less clear ones, fewer are enough",
        "largest number of licensees at this fpr: 3.4e+32",
        "smallest distance between fingerprints: 32 bits (32 bits for 2.4e+8 at most)",
    ]


def test_views_share_the_rate():
    plain, searched = plan(128, 1000, 1e-6), plan(128, 1000, 1e-6, num_views=10, decision="bits")
    assert searched.matches_needed == plan(128, 10_000, 1e-6).matches_needed == 100
    assert searched.attained_fpr == pytest.approx(match_pvalue(100, 128, 10_000))
    assert searched.bit_accuracy > plain.bit_accuracy
    assert searched.max_licensees == plain.max_licensees // 10
    assert searched.min_distance == plain.min_distance
    lines = searched.lines()
    assert lines[0] == "128 bits, 1000 licensees, fpr 1e-06 per image, 10 views of each"
    assert len(lines) == len(plain.lines()) - 1  # nothing is said of unclear bits


def test_lines_say_what_is_impossible():
    assert plan(4, 17, 0.1).lines() == [
        "4 bits, 17 licensees, fpr 0.1 per image",
        "impossible: even 4 of 4 matches are too few",
        "largest number of licensees at this fpr: 1",
        "smallest distance between fingerprints: none fits (1 bits for 8 at most)",
    ]


@pytest.mark.parametrize("arguments", [(0, 1, 0.1), (8, 0, 0.1), (8, 1, 0.0), (8, 1, 1.0)])
def test_impossible_numbers_raise(arguments):
    with pytest.raises(ValueError, match="no threshold for"):
        plan(*arguments)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_impossible_power_raises(power):
    with pytest.raises(ValueError, match=rf"power {power} is not within \(0, 1\)"):
        plan(8, 1, 0.1, power)
