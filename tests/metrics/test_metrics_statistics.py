"""Mean, covariance and Frechet distance against NumPy, SciPy and theory."""

import numpy as np
import pytest

from metrics.feature_statistics import FeatureStatistics, frechet_distance
from tests.support.frechet import reference_distance


def random_covariance(rnd: np.random.RandomState, size: int, rank: int) -> np.ndarray:
    factor = rnd.randn(size, rank) * np.geomspace(1, 1e-2, rank)
    return factor @ factor.T


def test_statistics_equal_numpy_for_any_batches() -> None:
    rnd = np.random.RandomState(0)
    # A mean that is large against the spread shows cancellation.
    features = (1e6 + rnd.randn(2500, 7)).astype(np.float64)
    statistics = FeatureStatistics(7)
    for part in np.split(features, [1, 1, 900, 2200]):
        statistics.add(part)
    mean, cov = statistics.mean_and_covariance()
    assert statistics.count == 2500
    np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(cov, np.cov(features.T), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "features", [np.ones([3, 5]), np.ones([4]), np.full([3, 4], np.nan)], ids=["F", "ndim", "nan"]
)
def test_statistics_refuse(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected|finite"):
        FeatureStatistics(4).add(features)


def test_covariance_needs_two_rows() -> None:
    statistics = FeatureStatistics(4)
    statistics.add(np.ones([1, 4]))
    with pytest.raises(ValueError, match="two rows"):
        statistics.mean_and_covariance()


def test_distance_equals_scipy() -> None:
    rnd = np.random.RandomState(1)
    for size in (1, 5, 60):
        c1, c2 = (random_covariance(rnd, size, size) for _ in range(2))
        m1, m2 = rnd.randn(2, size)
        expected = reference_distance(m1, c1, m2, c2)
        assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-6)
        assert frechet_distance(m2, c2, m1, c1) == pytest.approx(expected, rel=1e-6)


def test_distance_of_commuting_gaussians_is_theory() -> None:
    d1, d2 = np.array([4.0, 9.0, 0.0]), np.array([1.0, 25.0, 4.0])
    distance = frechet_distance(np.zeros(3), np.diag(d1), np.array([3.0, 0, 4]), np.diag(d2))
    assert distance == pytest.approx(25 + ((np.sqrt(d1) - np.sqrt(d2)) ** 2).sum(), rel=1e-12)


def test_distance_of_singular_covariances() -> None:
    """A rotation into more dimensions changes nothing; apart, the traces add up."""
    rnd = np.random.RandomState(2)
    small1, small2 = (random_covariance(rnd, 11, 11) for _ in range(2))
    basis = np.linalg.qr(rnd.randn(80, 22))[0]
    c1, c2 = (basis[:, :11] @ small @ basis[:, :11].T for small in (small1, small2))
    zero = np.zeros(80)
    expected = reference_distance(np.zeros(11), small1, np.zeros(11), small2)
    assert frechet_distance(zero, c1, zero, c2) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, c1, zero, c1) < 1e-12 * np.trace(c1)
    apart = basis[:, 11:] @ small2 @ basis[:, 11:].T
    traces = np.trace(c1) + np.trace(c2)
    assert frechet_distance(zero, c1, zero, apart) == pytest.approx(traces, rel=1e-6)
    assert frechet_distance(zero, c1, zero, 0 * c1) == pytest.approx(np.trace(c1), rel=1e-12)
