"""What logits weigh, and the tail of T, against counts over all words and exact arithmetic."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from fingerprints.detection import evidence
from fingerprints.detection.evidence import GRID, chance, lost_weight, unit, weigh
from fingerprints.detection.tails import binomial_tail

# Logits [M,B] of decoders of many kinds.
KINDS = {
    "equal": lambda rng, shape: rng.choice([-2.5, 2.5], shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "heavy": lambda rng, shape: rng.standard_cauchy(shape),
    "few": lambda rng, shape: (
        rng.standard_normal(shape) * np.where(rng.random(shape) < 0.05, 99, 1)
    ),
    "nearly equal": lambda rng, shape: rng.choice([-1.0, 1.0, 1.1], shape),
    "many zeros": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.4),
}


def all_words(num_bits: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=num_bits)), np.uint8)


def counted(weights: np.ndarray, lost: int) -> Fraction:
    """The tail in whole numbers of any size."""
    ways = [1] + [0] * lost
    for weight in np.abs(weights).tolist():
        ways = [n + (ways[s - weight] if s >= weight else 0) for s, n in enumerate(ways)]
    return Fraction(sum(ways), 2 ** len(weights))


# Weights.


def test_weights_are_eighths_of_the_mean():
    logits = np.array([[1.0, -1.0, 2.0, -4.0], [0.5, 0.5, -0.5, -0.5]])
    assert weigh(logits).tolist() == [[4, -4, 8, -16], [8, 8, -8, -8]]
    assert unit(logits).tolist() == [2 / GRID, 0.5 / GRID]


@pytest.mark.parametrize("scale", [1e-310, 1e-30, 1e-3, 1e30, 1e307])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_do_not_depend_on_the_scale(kind, scale):
    logits = np.clip(KINDS[kind](np.random.default_rng(0), (20, 64)), -9, 9)
    expected = weigh(logits)
    found = weigh(logits * scale)
    assert np.abs(found - expected).max() <= (1 if scale == 1e-310 else 0)
    assert np.abs(found).sum(axis=1).max() <= 9.5 * 64


def test_only_zeros_weigh_nothing():
    logits = np.array([1e6, -1e-9, 0.0, 1e-200])
    assert weigh(logits).tolist() == [32, -1, 0, 1]
    assert weigh(np.zeros(3)).tolist() == [0, 0, 0]
    assert weigh(np.full((2, 3), -0.0)).tolist() == [[0, 0, 0]] * 2


def test_bits_weigh_one():
    logits = np.array([1e6, -1e-9, 0.0])
    assert weigh(logits, "bits").tolist() == [1, -1, -1]  # as a logit of 0 is a bit of 0
    assert float(unit(logits, "bits")) == 1.0


def test_lost_is_the_weight_of_the_wrong_bits():
    weights = np.array([4, -4, 8, 0, -16])
    bits = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [0, 1, 0, 0, 1]])
    assert lost_weight(weights, bits).tolist() == [0, 20, 32]


# Chances.


@pytest.mark.parametrize("num_bits", [1, 2, 5, 9, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_chances_are_shares_of_all_words(kind, num_bits):
    rng = np.random.default_rng(num_bits)
    weights = weigh(KINDS[kind](rng, (40, num_bits)))
    words = all_words(num_bits)
    lost = np.array([lost_weight(row, words) for row in weights])  # [M,2**B]
    own = lost[np.arange(40), rng.integers(0, len(words), 40)]
    shares = (lost <= own[:, None]).mean(axis=1)
    found = chance(weights, own)
    assert np.all(found >= shares * (1 - 1e-12))
    assert np.all(found <= shares * (1 + 1e-5))


@pytest.mark.parametrize("num_bits", [32, 128, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_chances_are_never_too_small_down_to_the_smallest(kind, num_bits):
    """Against arithmetic without rounding, from all bits wrong to none."""
    rng = np.random.default_rng(num_bits)
    weights = weigh(KINDS[kind](rng, (8, num_bits)))
    total = np.abs(weights).sum(axis=1)
    lost = (total * np.array([0, 0.003, 0.02, 0.06, 0.15, 0.3, 0.45, 0.7])).astype(int)
    if kind == "equal":
        lost -= lost % GRID
    found = chance(weights, lost)
    for row in range(8):
        exact = float(counted(weights[row], int(lost[row])))
        assert exact * (1 - 1e-12) <= found[row] <= exact * (1 + 1e-5), row
    assert found[0] == pytest.approx(0.5 ** np.count_nonzero(weights[0]), rel=1e-5)


@pytest.mark.parametrize("decision", ["soft", "bits"])
@pytest.mark.parametrize("num_bits", [1, 32, 128, 1000])
def test_equal_weights_have_the_binomial_tail(num_bits, decision):
    rng = np.random.default_rng(1)
    logits = rng.choice([-0.3, 0.3], num_bits)
    bits = rng.integers(0, 2, (200, num_bits))
    weights = np.broadcast_to(weigh(logits, decision), bits.shape)
    matches = np.sum(bits == (logits > 0), axis=1)
    found = chance(weights, lost_weight(weights, bits))
    assert np.array_equal(found, binomial_tail(matches, num_bits))


def test_counting_and_series_agree():
    rng = np.random.default_rng(2)
    weights = np.abs(weigh(rng.standard_normal((200, 128)))).astype(np.int64)
    lost = (weights.sum(axis=1) * rng.uniform(0.02, 0.6, 200)).astype(np.int64)
    series = evidence._by_series(weights, lost)
    assert not np.isnan(series).any()
    single = [evidence._by_counting(row, int(d)) for row, d in zip(weights, lost, strict=True)]
    assert np.all(series >= np.array(single) * (1 - 1e-13))
    assert series == pytest.approx(single, rel=1e-5)


def test_series_refuses_what_it_cannot_say():
    """Where it would lose its digits, all is counted: few heavy weights beside many light ones."""
    weights = np.array([[500] * 3 + [1] * 125])
    found = evidence._by_series(weights, np.array([0]))
    assert np.isnan(found[0]) or found[0] == pytest.approx(0.5**128, rel=1e-5)
    assert chance(weights, np.array([0]))[0] == pytest.approx(0.5**128, rel=1e-5)
    assert chance(weights, np.array([125]))[0] == pytest.approx(0.5**3, rel=1e-5)


def test_a_row_has_the_same_chance_whichever_are_beside_it():
    rng = np.random.default_rng(3)
    weights = weigh(rng.standard_normal((300, 64)))
    lost = (np.abs(weights).sum(axis=1) * rng.uniform(0, 0.6, 300)).astype(int)
    together = chance(weights, lost)
    alone = [chance(weights[row : row + 1], lost[row : row + 1])[0] for row in range(300)]
    assert together.tolist() == alone


def test_no_evidence():
    assert chance(np.zeros((2, 5), int), np.zeros(2, int)).tolist() == [1.0, 1.0]
    assert chance(np.zeros((1, 0), int), np.zeros(1, int)).tolist() == [1.0]
    assert chance(np.zeros((0, 5), int), np.zeros(0, int)).tolist() == []
    weights = weigh(np.random.default_rng(0).standard_normal((1, 40)))
    assert chance(weights, np.abs(weights).sum(axis=1)).tolist() == [1.0]


def test_thousands_of_bits():
    rng = np.random.default_rng(4)
    weights = weigh(rng.standard_normal((3, 4096)))
    total, spread = np.abs(weights).sum(axis=1), np.sqrt(np.sum(weights**2.0, axis=1))
    found = chance(
        weights, np.array([total[0] // 2, (total[1] - 5 * spread[1]) / 2, 0]).astype(int)
    )
    assert found[0] == pytest.approx(0.5, abs=0.01)
    assert found[1] == pytest.approx(scipy.stats.norm.sf(5), rel=0.05)
    assert found[2] == 1e-300  # 2**-4096 is no float


@pytest.mark.parametrize(
    ("weights", "lost"), [(np.ones(3), [1]), (np.ones((2, 3)), [1]), (np.ones((1, 3)), [-1])]
)
def test_wrong_arguments_raise(weights, lost):
    with pytest.raises(ValueError, match="no chances for weights"):
        chance(weights, np.array(lost))


# Rates.


@pytest.mark.parametrize("kind", KINDS)
def test_random_fingerprints_pass_at_the_attained_rate(kind):
    """p-values of 800,000 pairs of a picture and a fingerprint: 99.9 % intervals.

    Given the picture, T has a discrete distribution: the attained size is the largest p-value that
    does not exceed the level, and with many different weights hardly smaller.
    """
    rng = np.random.default_rng(5)
    num_images, num_words = 8, 100_000
    levels = np.array([1e-2, 1e-3, 1e-4, 1e-5])
    counts, attained = np.zeros(4), np.zeros(4)
    for row in weigh(KINDS[kind](rng, (num_images, 128))):
        bits = rng.integers(0, 2, (num_words, 128), dtype=np.uint8)
        gains = bits.astype(np.float32) @ row.astype(np.float32)
        lost = np.maximum(row, 0).sum() - gains.astype(np.int64)
        step = np.gcd.reduce(row)
        values = np.arange(0, np.quantile(lost, 0.015) + 1, step).astype(int)
        found = chance(np.broadcast_to(row, (len(values), 128)), values)
        assert np.all(np.diff(found) >= 0)
        for number, level in enumerate(levels):
            passing = np.flatnonzero(found <= level)
            counts[number] += np.sum(lost <= values[passing[-1]])
            attained[number] += found[passing[-1]] / num_images
    total = num_images * num_words
    for level, count, size in zip(levels, counts.astype(int), attained, strict=True):
        assert level / (2 if kind in ("equal", "few", "heavy") else 1.2) < size <= level
        assert scipy.stats.binomtest(count, total, size).pvalue > 1e-3, (level, count, size)
        assert scipy.stats.binomtest(count, total, level, alternative="greater").pvalue > 1e-3
