"""KID, precision, recall, density, coverage: against their definitions and recorded figures."""

import itertools
from typing import Any

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics.context import MetricContext
from metrics.evaluate import evaluate
from metrics.kernel_distance import kernel_distance
from metrics.manifold import manifold_figures
from tests.support.fake_metrics import FakeDataset, FakeExtractor, fake_generate

NAMES = ["fd_lite0_1k", "kid_lite0_1k", "prdc_lite0_1k", "kid1k", "prdc1k", "fid1k"]


def clouds(seed: int = 0, num: int = 60, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rnd = np.random.RandomState(seed)
    return rnd.randn(num, width), 0.5 + 0.8 * rnd.randn(num + 7, width)


def context_of(reals: np.ndarray, **changes: Any) -> MetricContext:
    settings = {
        "generate": fake_generate,
        "resolution": 16,
        "num_channels": 3,
        "fingerprint_size": 8,
        "dataset": FakeDataset(reals),
        "inception": FakeExtractor(),
        "lite0": FakeExtractor(sha256="1" * 64),
        "minibatch": 300,
        **changes,
    }
    return MetricContext(**settings)


def test_kernel_distance_is_the_definition() -> None:
    """With subsets that are all rows, the figure is MMD^2 summed pair by pair."""
    x, y = clouds()[0], clouds(1)[0]

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m = len(x)
    pairs = list(itertools.permutations(range(m), 2))
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs) / (m * (m - 1))
    between = sum(kernel(a, b) for a in x for b in y) / m**2
    mean, spread = kernel_distance(x, y, subsets=3, subset_size=m)
    assert mean == pytest.approx(within - 2 * between, rel=1e-10)
    assert spread < 1e-12


def test_kernel_distance_equals_torch_fidelity() -> None:
    """Recorded from `kid_features_to_metric` of torch-fidelity 0.4.0 (kid_subsets 10,
    kid_subset_size 100, the rest by default), its PyTorch calls replaced by NumPy's."""
    generated, real = clouds(2, 300, 16)
    mean, spread = kernel_distance(generated, real, subsets=10, subset_size=100)
    assert mean == pytest.approx(0.9417823559205594, rel=1e-9)
    assert spread == pytest.approx(0.13948291875619162, rel=1e-9)
    # Subsets are drawn in this order: exchanged, the figure is a little different.
    assert kernel_distance(real, generated, subsets=10, subset_size=100)[0] != mean


def test_manifold_figures_are_the_definitions() -> None:
    real, generated = clouds()
    distances = {
        name: np.array([[np.linalg.norm(a - b) for b in second] for a in first])
        for name, first, second in (
            ("rr", real, real), ("gg", generated, generated), ("gr", generated, real),
        )
    }  # fmt: skip

    def radii(name: str, k: int) -> np.ndarray:
        return np.sort(distances[name], axis=1)[:, k]  # entry 0 is the row itself

    found = manifold_figures(real, generated)
    near = distances["gr"] <= radii("rr", 3)
    inside = distances["gr"] < radii("rr", 5)
    assert found.precision == pytest.approx(near.any(axis=1).mean())
    recalled = (distances["gr"] <= radii("gg", 3)[:, None]).any(axis=0)
    assert found.recall == pytest.approx(recalled.mean())
    assert found.density == pytest.approx(inside.sum() / 5 / len(generated))
    assert found.coverage == pytest.approx(inside.any(axis=0).mean())
    swapped = manifold_figures(generated, real)
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)
    assert swapped.density != found.density


def test_manifold_of_many_rows_and_known_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = clouds(3)
    whole = manifold_figures(real, generated)
    monkeypatch.setattr("metrics.manifold._BLOCK", 17)
    assert manifold_figures(real, generated) == whole
    same = manifold_figures(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density == pytest.approx(1)  # itself and four more: the fifth is on the surface
    far = manifold_figures(real, generated + 100)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


@pytest.mark.parametrize("function", [kernel_distance, manifold_figures])
def test_unfit_features(function: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        function(np.zeros([9, 3]), np.zeros([9, 4]))
    with pytest.raises(ValueError, match="need"):
        function(np.zeros([1, 3]), np.zeros([9, 3]))


def test_features_are_computed_once_and_floors_stand_beside() -> None:
    reals = np.concatenate([fake_generate(300, 10**6 + 300 * i).images_uint8 for i in range(4)])
    context = context_of(reals)
    results = {result.metric: result for result in evaluate(NAMES, context)}
    for extract in (context.inception, context.lite0):
        assert isinstance(extract, FakeExtractor)
        assert extract.calls == 4 + 4  # batches of 300, generated and real
    values = {k: v for result in results.values() for k, v in result.values.items()}
    assert values["fd_lite0_1k"] == pytest.approx(values["fid1k"], rel=1e-6)
    assert list(results["prdc1k"].values) == [
        f"prdc1k{kind}{floor}"
        for floor in ("", "_floor")
        for kind in ("_precision", "_recall", "_density", "_coverage")
    ]
    # Generated and real images are of one kind here, so that all figures are near their floors;
    # the kernel of two mean colours of about 127 is about 127^6.
    assert abs(values["kid1k"]) < 1e-4 * 127**6
    assert abs(values["kid1k_floor"]) < 1e-4 * 127**6
    assert values["prdc1k_coverage"] > 0.8
    assert results["kid1k"].details == {
        "real_images": 1000, "generated_images": 1000, "floor_images": 500,
    }  # fmt: skip


def test_which_way_is_better() -> None:
    """Darker images are worse in every figure, by the sign that the table states."""
    reals = np.concatenate([fake_generate(300, 10**6 + 300 * i).images_uint8 for i in range(4)])
    good, bad = (
        {
            k: (v, r.larger_is_better[k])
            for r in evaluate(NAMES, context)
            for k, v in r.values.items()
        }
        for context in (context_of(reals), context_of(reals // 2 + 5))
    )
    for name, (value, larger) in good.items():
        if not name.endswith(("_floor", "_std")):
            assert (value > bad[name][0]) == larger, name


def test_too_few_reals(caplog: pytest.LogCaptureFixture) -> None:
    reals = fake_generate(300, 10**6).images_uint8
    with pytest.raises(UserError, match="fake has 9 images; kid1k needs 12"):
        evaluate(["kid1k"], context_of(reals[:9]))
    evaluate(["kid1k"], context_of(reals))
    assert "kid1k: the data set fake has 300 images, not 1000; all of them are used" in caplog.text


def test_without_the_network() -> None:
    reals = fake_generate(300, 10**6).images_uint8
    with pytest.raises(ValueError, match="EfficientNet-Lite0"):
        evaluate(["fd_lite0_1k"], context_of(reals, lite0=None))
