"""Geometry against NumPy, Pillow and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from training.edits import resampling
from training.edits.edit import Draws
from training.edits.geometry import BLUR, CROP, FLIP, HALF, GeometricEdit, apply_geometry

_BILINEAR = Image.Resampling.BILINEAR
SIZE = 32


@pytest.fixture
def images(pictures: np.ndarray) -> np.ndarray:
    """float32 [8,32,32,3] in [-1,1]."""
    return np.float32(pictures[:8] / 127.5 - 1)


def fill(num: int, **values: float | bool) -> Draws:
    return {name: tf.fill([num], value) for name, value in values.items()}


def edited(edit: GeometricEdit, images: np.ndarray, **values: float | bool) -> np.ndarray:
    draws = fill(len(images), **values)
    return apply_geometry([edit], tf.constant(images), [draws]).numpy()


def resized(images: np.ndarray, side: int, box: tuple[float, ...] | None = None) -> np.ndarray:
    """Pillow's scaling with a triangle filter, in floating point, to side x side."""
    result = np.empty((len(images), side, side, images.shape[-1]), np.float32)
    for i, c in np.ndindex(len(images), images.shape[-1]):
        plane = Image.fromarray(images[i, :, :, c])
        result[i, :, :, c] = plane.resize((side, side), _BILINEAR, box=box)
    return result


def test_flip(images: np.ndarray) -> None:
    draws = {"mirrored": tf.constant([True, False] * 4)}
    result = apply_geometry([FLIP], tf.constant(images), [draws])
    assert np.allclose(result[::2], images[::2, :, ::-1], atol=1e-6)
    assert np.allclose(result[1::2], images[1::2], atol=1e-6)


@pytest.mark.parametrize(("side", "share"), [(16, 0.5), (24, 0.75), (23, 0.71), (31, 0.97)])
def test_half_is_scaling_down_and_up(side: int, share: float, images: np.ndarray) -> None:
    expected = resized(resized(images, side), SIZE)
    assert np.allclose(edited(HALF, images, share=share), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "y", "x"), [(0.9, 0.0, 0.0), (0.7, 0.1, -0.15), (1.0, 0.01, -0.02), (0.8, 0.1, 0.1)]
)
@pytest.mark.parametrize("white", [False, True])
def test_a_part_is_cut_out(
    scale: float, y: float, x: float, white: bool, images: np.ndarray
) -> None:
    """The margin, white or of the last pixels, is what it is where nothing is left out, too."""
    pad = {"constant_values": 1} if white else {"mode": "edge"}
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), **pad)  # type: ignore[call-overload]
    margin = (1 - scale) / 2
    left, top = SIZE * (margin + x) + 4, SIZE * (margin + y) + 4
    box = (left, top, left + scale * SIZE, top + scale * SIZE)
    result = edited(CROP, images, scale=scale, y=y, x=x, white=white)
    assert np.allclose(result, resized(padded, SIZE, box), atol=1e-4)


def test_a_margin_is_added(images: np.ndarray) -> None:
    """A picture in a larger white one, which is scaled down."""
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), constant_values=1)
    result = edited(CROP, images, scale=40 / 32, y=0.0, x=0.0, white=True)
    assert np.allclose(result, resized(padded, SIZE), atol=1e-4)
    assert np.allclose(result[:, 0], 1)
    edge = edited(CROP, images, scale=40 / 32, y=0.0, x=0.0, white=False)
    assert np.allclose(edge[:, 5:-5, 5:-5], result[:, 5:-5, 5:-5], atol=1e-4)
    assert np.allclose(edge[:, 0, 5:-5], edge[:, 1, 5:-5])


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.5])
def test_blur(sigma: float, images: np.ndarray) -> None:
    deviations = (0, sigma, sigma, 0)
    expected = ndimage.gaussian_filter(images, deviations, mode="constant", truncate=20)
    expected /= ndimage.gaussian_filter(
        np.ones_like(images), deviations, mode="constant", truncate=20
    )
    # SciPy samples the same curve.
    assert np.allclose(edited(BLUR, images, sigma=sigma), expected, atol=1e-4)


def test_blur_grows_with_the_picture(images: np.ndarray) -> None:
    """The same share of the side."""
    small, large = (
        resampling.gaussian(32, tf.constant([1.0])),
        resampling.gaussian(64, tf.constant([2.0])),
    )
    rows, _ = BLUR.maps(fill(1, sigma=1.0), 64, 32)
    assert np.allclose(rows, large)
    assert np.allclose(BLUR.maps(fill(1, sigma=1.0), 64, 32)[1], small)


def test_edits_in_a_row_are_one_after_the_other(images: np.ndarray) -> None:
    """Whatever order they have."""
    rng = np.random.default_rng(1)
    drawn: list[tuple[GeometricEdit, Draws]] = [
        (
            CROP,
            fill(8, y=0.1, x=-0.1, white=True)
            | {"scale": tf.constant(rng.uniform(0.7, 1.2, 8), tf.float32)},
        ),
        (FLIP, {"mirrored": tf.constant(rng.uniform(size=8) < 0.5)}),
        (HALF, fill(8, share=0.6)),
        (BLUR, fill(8, sigma=0.7)),
    ]
    for order in (drawn, drawn[::-1]):
        expected = tf.constant(images)
        for edit, draws in order:
            expected = apply_geometry([edit], expected, [draws])
        edits, draws_of_all = zip(*order, strict=True)
        assert np.allclose(
            apply_geometry(edits, tf.constant(images), draws_of_all), expected, atol=1e-5
        )


def test_mirrored_edges(images: np.ndarray) -> None:
    padded = np.pad(images, ((0, 0), (32, 32), (32, 32), (0, 0)), mode="symmetric")
    scales, offsets = (
        tf.constant([1.0, 0.7, 1.6] * 2),
        tf.constant([5.0, -9.5, 14.0, -16.0, 3.3, 0.0]),
    )
    rows = resampling.mirrored_window(SIZE, scales, offsets)
    columns = resampling.mirrored_window(SIZE, scales, -offsets)
    result = resampling.resample(tf.constant(images[:6]), rows, columns)
    for i in range(6):
        scale, offset = float(scales[i]), float(offsets[i])
        first = 32 + (1 - scale) * 16
        box = (first - offset, first + offset)
        whole = (*box, box[0] + 32 * scale, box[1] + 32 * scale)
        # Pillow rounds the reach of its filter to whole pixels, hence the tolerance.
        assert np.allclose(result[i], resized(padded[i : i + 1], SIZE, whole)[0], atol=2e-3)


@pytest.mark.parametrize("edit", [FLIP, CROP, HALF, BLUR], ids=lambda edit: edit.name)
def test_ranges(edit: GeometricEdit) -> None:
    """Rows never have more weight than 1, and no weight is below 0."""
    seed, num = tf.constant([3, 4], tf.int64), 256
    for strength in (0.0, 0.5, 1.0):
        draws = edit.draw((num, 16, 16, 3), seed, tf.fill([num], strength))
        for matrices in edit.maps(draws, 16, 16):
            assert tf.reduce_min(matrices) >= 0
            sums = tf.reduce_sum(matrices, 2)
            assert tf.reduce_max(sums) < 1 + 1e-5
            assert edit.name == "crop" or tf.reduce_min(sums) > 1 - 1e-5
            if strength == 0:
                assert np.array_equal(matrices, np.broadcast_to(np.eye(16), matrices.shape))
            else:
                assert edit.name == "flip" or not np.allclose(matrices[0], matrices[1])


def test_crops_are_of_the_sizes_named() -> None:
    seed, num = tf.constant([3, 4], tf.int64), 4096
    draws = CROP.draw((num, 32, 32, 3), seed, tf.ones([num]))
    scale, y = draws["scale"].numpy(), draws["y"].numpy()
    assert scale.min() == pytest.approx(0.7, abs=0.005)
    assert scale.max() == pytest.approx(1.15, abs=0.005)
    # A part does not leave the picture by more than the shift.
    assert np.all(np.abs(y) <= np.abs(1 - scale) / 2 + 1 / 32 + 1e-6)
    assert np.corrcoef(y, draws["x"])[0, 1] == pytest.approx(0, abs=0.05)
    assert draws["white"].numpy().mean() == pytest.approx(0.5, abs=0.04)
    half = CROP.draw((num, 32, 32, 3), seed, tf.fill([num], 0.5))["scale"].numpy()
    assert half.min() == pytest.approx(0.85, abs=0.005)
