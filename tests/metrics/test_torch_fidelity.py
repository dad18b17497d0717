"""The formulas on given features: what torch-fidelity 0.4.0 made of them, recorded.

Its functions were run with PyTorch's calls replaced by NumPy's in double precision; the features
are drawn by seed here as they were there. (KID: tests/metrics/test_feature_metrics.py.)
"""

import numpy as np
import pytest

from metrics.feature_metrics import frechet
from metrics.inception_score import inception_score
from metrics.manifold import manifold_figures


def features(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of 300 generated pictures and 307 real ones: [300,F], [307,F]."""
    rnd = np.random.RandomState(2)
    return rnd.randn(300, width), 0.5 + 0.8 * rnd.randn(307, width)


def test_frechet_distance() -> None:
    generated, real = features(16)  # `fid_features_to_statistics`, `fid_statistics_to_metric`
    assert frechet(real, generated) == pytest.approx({"": 5.160504883654699}, rel=1e-9)


@pytest.mark.parametrize(
    ("width", "precision", "recall"),
    [(16, 0.2266666740179062, 0.8697068691253662), (4, 0.8199999928474426, 0.9446253776550293)],
)
def test_precision_and_recall(width: int, precision: float, recall: float) -> None:
    """Of `prc_features_to_metric`, means in single precision; neighbourhood 3."""
    generated, real = features(width)
    found = manifold_figures(real, generated)
    assert (found.precision, found.recall) == pytest.approx((precision, recall), abs=1e-6)
    swapped = manifold_figures(generated, real)
    assert (swapped.precision, swapped.recall) == pytest.approx((recall, precision), abs=1e-6)


def test_inception_score() -> None:
    """Of `isc_features_to_metric`: pictures in order as here, and shuffled, its default."""
    logits = 3 * features(16)[0]
    assert inception_score(logits) == pytest.approx(
        (4.783871843522511, 0.49815693495501584), rel=1e-9
    )
    shuffled = logits[np.random.RandomState(2020).permutation(300)]
    assert inception_score(shuffled) == pytest.approx(
        (4.679241999328429, 0.5516488437294913), rel=1e-9
    )
