"""Perceptual path length: the figure, and the ways that are walked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from metrics.path_length import STEP, PathLength
from metrics.sampling import make_context
from metrics.table import parse_metric
from metrics.walks import make_walk, slerp
from training.networks.configs import GeneratorConfig
from training.networks.generator import Generator


class Straight:
    """Pictures that move by a speed of their own; distances are squares."""

    def __init__(self, speeds: np.ndarray) -> None:
        self.speeds = speeds
        self.calls: list[tuple[str, int, int, bool]] = []

    def walk(self, space: str, count: int, first: int, anywhere: bool) -> Any:
        self.calls.append((space, count, first, anywhere))
        speeds = np.zeros(count)
        part = self.speeds[first : first + count]
        speeds[: len(part)] = part
        return np.zeros([count, 1]), speeds[:, None] * STEP

    def distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return ((one - other) ** 2).sum(axis=1)


def length_of(speeds: np.ndarray, minibatch: int) -> tuple[float, Straight]:
    straight = Straight(speeds)
    context: Any = SimpleNamespace(walk=straight.walk, minibatch=minibatch)
    metric = PathLength("w", True, straight, context)  # type: ignore[arg-type]
    for first in range(0, len(speeds), minibatch):
        metric.add(np.zeros(min(minibatch, len(speeds) - first)))  # type: ignore[arg-type]
    assert metric.details() == {"pairs": len(speeds)}
    return metric.finish()[""], straight


def test_mean_without_the_extremes() -> None:
    speeds = np.arange(1.0, 201.0)
    np.random.default_rng(0).shuffle(speeds)
    found, straight = length_of(speeds, 64)
    # Places 1.99 and 197.01 of 0 to 199: the second smallest and the second largest are in.
    assert found == pytest.approx((np.arange(2.0, 200.0) ** 2).mean(), rel=1e-6)
    assert straight.calls == [("w", 64, first, True) for first in (0, 64, 128, 192)]


def test_great_circles() -> None:
    rng = np.random.default_rng(1)
    start, end = rng.standard_normal([2, 5, 8]).astype(np.float32)
    for t, expected in ((0.0, start), (1.0, end)):
        found = slerp(start, end, np.full([5, 1], t, np.float32)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    middle = slerp(start, end, np.full([5, 1], 0.5, np.float32)).numpy()
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (start, end)]
    bisector = units[0] + units[1]
    bisector *= np.linalg.norm(middle, axis=1, keepdims=True) / np.linalg.norm(
        bisector, axis=1, keepdims=True
    )
    np.testing.assert_allclose(middle, bisector, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def generator() -> Generator:
    size = {"latent_size": 8, "fingerprint_size": 6, "fmap_base": 64, "fmap_max": 4}
    mapping = {"dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2, "mapping_lrmul": 1.0}
    return Generator(GeneratorConfig(resolution=16, **size, **mapping), seed=1)


@pytest.mark.parametrize("space", ["z", "w"])
def test_a_step_is_small_and_drawn_by_its_number(generator: Generator, space: str) -> None:
    walk = make_walk(generator, seed=3)
    for anywhere in (False, True):
        one, other = walk(space, 4, 8, anywhere)
        assert one.shape == other.shape == (4, 16, 16, 3)
        change = np.abs(one - other).max(axis=(1, 2, 3))
        assert (change > 0).all()
        assert change.max() < 0.05
        again, _ = walk(space, 4, 8, anywhere)
        np.testing.assert_array_equal(one, again)
        assert np.abs(walk(space, 4, 12, anywhere)[0] - one).max() > 0.01


def test_ways_begin_at_the_same_pictures(generator: Generator) -> None:
    """Between latents or between fingerprints: at the beginning neither has changed."""
    walk = make_walk(generator, seed=3)
    np.testing.assert_allclose(walk("z", 3, 0, False)[0], walk("w", 3, 0, False)[0], atol=1e-4)


def test_between_fingerprints_the_latent_stays(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(latents: tf.Tensor, styles: tf.Tensor, *rest: Any) -> tf.Tensor:
        seen.append((latents, styles))
        return Generator.synthesize(generator, latents, styles, *rest)

    monkeypatch.setattr(generator, "synthesize", note)
    tf.config.run_functions_eagerly(True)
    try:
        make_walk(generator, seed=3)("w", 3, 0, True)
    finally:
        tf.config.run_functions_eagerly(False)
    (latents, styles), (others, moved) = seen
    np.testing.assert_array_equal(latents, others)
    assert 0 < np.abs(styles - moved).max() < 1e-2


def test_names_and_contexts(generator: Generator) -> None:
    assert parse_metric("ppl_zfull").num_images == 50_000
    assert parse_metric("ppl_lite0_wend_2k").num_images == 2_000
    assert parse_metric("pr50k3").num_images == 50_000
    assert make_context(generator=generator).walk is not None
