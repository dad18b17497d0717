"""Intervals: theory and exact limits."""

import numpy as np
import pytest

from evaluation.subject.figures import Figure, mean, share


def test_share_has_the_exact_interval() -> None:
    """Of none in n, the two-sided upper limit is 1 - 0.025^(1/n)."""
    found = share([False] * 20)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 20))
    half = share([True, False] * 50)
    assert (half.low, half.high) == pytest.approx((0.3983, 0.6017), abs=1e-4)


def test_mean_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [mean(rng.normal(3, 2, 8)) for _ in range(1000)]
    assert np.mean([f.low <= 3 <= f.high for f in found]) == pytest.approx(0.95, abs=0.02)


def test_one_value() -> None:
    assert mean(np.array([0.5])) == Figure(0.5, 0.5, 0.5)
    assert Figure(0.984, 0.971, 0.992).percent == "98.4 % (97.1 to 99.2)"
