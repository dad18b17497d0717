"""Sliced Wasserstein distance: theory, blur, colour, the order of levels."""

import numpy as np
import pytest
import scipy.stats

from dnnlib.errors import UserError
from metrics.context import GeneratedBatch, MetricContext
from metrics.sliced_wasserstein import (
    MAX_PATCHES,
    PATCHES_PER_IMAGE,
    Patches,
    distance_along,
    laplacian_pyramid,
    levels,
)
from metrics.table import parse_metric
from tests.support.fake_metrics import FakeDataset

NUM = 24


def pictures(seed: int, resolution: int = 32, channels: int = 3) -> np.ndarray:
    """Coloured discs on a soft background, uint8 [NUM,R,R,C]."""
    rnd = np.random.RandomState(seed)
    y, x = np.mgrid[:resolution, :resolution] / resolution
    images = []
    for _ in range(NUM):
        cx, cy, radius = rnd.uniform(0.3, 0.7, 2).tolist() + [rnd.uniform(0.1, 0.3)]
        inside = ((x - cx) ** 2 + (y - cy) ** 2 < radius**2)[..., None]
        colour = np.array([220, 120, 20])[:channels] + rnd.uniform(-20, 20, channels)
        images.append(np.where(inside, colour, 60 + 60 * y[..., None]))
    return np.stack(images).astype(np.uint8)


def swd(real: np.ndarray, generated: np.ndarray, num_images: int = NUM) -> dict[str, float]:
    context = MetricContext(
        generate=lambda n, first: pytest.fail("not used"),
        resolution=real.shape[1],
        num_channels=real.shape[3],
        fingerprint_size=1,
        dataset=FakeDataset(real),
        minibatch=7,
    )
    run = parse_metric("swd1k").family.start("swd1k", num_images, context)
    for part in np.array_split(generated, 3):
        run.add(GeneratedBatch(part, np.empty(0), np.empty(0)))
    return run.finish()


def blurred(images: np.ndarray) -> np.ndarray:
    """Halved and doubled again: what is finer than half the resolution is gone."""
    small = images.reshape(len(images), 16, 2, 16, 2, -1).mean(axis=(2, 4))
    return small.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)


def test_equal_sets_give_zero_damaged_ones_more() -> None:
    real, other = pictures(0), pictures(1)
    assert swd(real, real) == {"_32": 0.0, "_16": 0.0, "_avg": 0.0}
    alike = swd(real, other)
    assert swd(real, blurred(other))["_32"] > 1.2 * alike["_32"] > 0
    grey = other.mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
    for damaged in (grey, other[..., ::-1]):
        assert swd(real, damaged)["_avg"] > 1.5 * alike["_avg"]
    # The paper's normalisation takes an even shift out.
    assert swd(real, real + np.uint8(10))["_avg"] < 0.01 * alike["_avg"]


def test_levels_are_not_swapped() -> None:
    """What blur removes is fine detail; a checkerboard is fine detail alone."""
    real = pictures(0)
    fine, coarse = (swd(real, blurred(real))[level] for level in ("_32", "_16"))
    assert fine > 2 * coarse
    checks = 16 * (np.indices([32, 32]).sum(axis=0) % 2)[..., None]
    noisy = swd(real, real + checks.astype(np.uint8))
    assert noisy["_32"] > 5 * noisy["_16"]


def test_symmetric_and_the_same_every_time() -> None:
    real, generated = pictures(0), pictures(1)
    assert swd(real, generated) == swd(real, generated)
    assert swd(real, generated)["_avg"] == pytest.approx(swd(generated, real)["_avg"], rel=1e-5)


def test_grey_images_and_fewer_reals(caplog: pytest.LogCaptureFixture) -> None:
    grey = pictures(0, channels=1)
    assert swd(grey, np.concatenate([grey, 255 - grey]), num_images=1000)["_avg"] == 0
    assert f"has {NUM} images, not 1000" in caplog.text


def test_distance_along_one_direction_equals_scipy() -> None:
    rnd = np.random.RandomState(0)
    real, generated = rnd.randn(300, 5), 0.5 + 2 * rnd.randn(300, 5)
    direction = rnd.randn(5, 1) / 2
    expected = scipy.stats.wasserstein_distance(
        (real @ direction)[:, 0], (generated @ direction)[:, 0]
    )
    assert distance_along(real, generated, direction) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="different size"):
        distance_along(real[:-1], generated, direction)


def test_pyramid_adds_up_and_a_plane_has_no_detail() -> None:
    assert levels(128) == [128, 64, 32, 16]
    with pytest.raises(UserError, match="at least 16x16, got 8x8"):
        levels(8)
    fine, rest = laplacian_pyramid(np.full([1, 32, 32, 2], 200, np.uint8), 2)
    np.testing.assert_allclose(fine, 0, atol=1e-3)
    np.testing.assert_allclose(rest, 200, rtol=1e-5)
    assert rest.shape == (1, 16, 16, 2)


def test_patches_are_normalised_and_limited() -> None:
    patches = Patches(NUM, 16, 3, seed=0)
    with pytest.raises(ValueError, match="0 images of 24"):
        patches.normalised()
    images = pictures(0, 16)
    patches.add(images[:20])
    patches.add(images[20:])
    (values,) = patches.normalised().values()
    assert values.shape == (NUM * PATCHES_PER_IMAGE, 7 * 7 * 3)
    by_channel = values.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(by_channel.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(by_channel.std(axis=0), 1, rtol=1e-4)
    assert Patches(MAX_PATCHES // 4, 16, 1, seed=0).per_image == 4
