"""Colour against Pillow and textbook formulas."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from training.edits import colour
from training.edits.colour import ColourEdit, apply_colours
from training.edits.edit import Draws

IN_ORDER = (
    colour.BRIGHTNESS,
    colour.CONTRAST,
    colour.TINT,
    colour.SATURATION,
    colour.GREY,
    colour.HUE,
)
SEED = tf.constant([5, 6], tf.int64)


@pytest.fixture
def images(pictures: np.ndarray) -> np.ndarray:
    """float32 [8,32,32,3] in [-1,1]."""
    return np.float32(pictures[:8] / 127.5 - 1)


def edited(edit: ColourEdit, images: np.ndarray, **values: float) -> np.ndarray:
    draws = {name: tf.fill([len(images)], value) for name, value in values.items()}
    return apply_colours([edit], tf.constant(images), [draws]).numpy()


@pytest.mark.parametrize(
    ("edit", "by_pillow"),
    [
        (colour.BRIGHTNESS, ImageEnhance.Brightness),
        (colour.CONTRAST, ImageEnhance.Contrast),
        (colour.SATURATION, ImageEnhance.Color),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.3])
def test_factors(
    edit: ColourEdit,
    by_pillow: Callable[[Image.Image], ImageEnhance._Enhance],
    factor: float,
    pictures: np.ndarray,
    images: np.ndarray,
) -> None:
    enhanced = [by_pillow(Image.fromarray(picture)).enhance(factor) for picture in pictures[:8]]
    result = 127.5 * (np.clip(edited(edit, images, factor=factor), -1, 1) + 1)
    assert np.abs(result - np.stack(enhanced)).max() < 1.5  # Pillow rounds, the mean as well
    assert factor == 1 or np.abs(result - pictures[:8]).mean() > 5


def test_grey(pictures: np.ndarray, images: np.ndarray) -> None:
    result = 127.5 * (edited(colour.GREY, images, factor=0.0) + 1)
    grey = [Image.fromarray(picture).convert("L").convert("RGB") for picture in pictures[:8]]
    assert np.abs(result - np.stack(grey)).max() < 1
    assert np.allclose(result, result[..., :1], atol=1e-3)


@pytest.mark.parametrize("turn", [0.1, 0.25, -0.4])
def test_hue_turns_the_colour_differences(turn: float, images: np.ndarray) -> None:
    """Y as it was, Cb and Cr turned; constants of BT.601 as textbooks have them."""
    red, green, blue = np.moveaxis(images.astype(np.float64), -1, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    turned = ((blue - y) / 1.772 + 1j * (red - y) / 1.402) * np.exp(2j * np.pi * turn)
    cb, cr = turned.real, turned.imag
    expected = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    result = edited(colour.HUE, images, turn=turn)
    assert np.allclose(result, np.stack(expected, -1), atol=1e-4)


def test_tint_adds(images: np.ndarray) -> None:
    draws = {"offset": tf.constant(np.tile([0.1, -0.2, 0.0], [8, 1]), tf.float32)}
    result = apply_colours([colour.TINT], tf.constant(images), [draws])
    assert np.allclose(result, images + np.float32([0.1, -0.2, 0.0]), atol=1e-6)


def draws_of(edits: tuple[ColourEdit, ...], num: int, strength: float) -> list[Draws]:
    return [
        edit.draw((num, 32, 32, 3), SEED + number, tf.fill([num], strength))
        for number, edit in enumerate(edits)
    ]


@pytest.mark.parametrize("edits", [IN_ORDER, IN_ORDER[::-1]], ids=["in order", "reversed"])
def test_edits_in_a_row_are_one_after_the_other(
    edits: tuple[ColourEdit, ...], images: np.ndarray
) -> None:
    """The mean that contrast needs is that of the picture at its place in the row."""
    draws = draws_of(edits, 8, 1.0)
    expected = tf.constant(images)
    for edit, drawn in zip(edits, draws, strict=True):
        expected = apply_colours([edit], expected, [drawn])
    assert np.allclose(apply_colours(edits, tf.constant(images), draws), expected, atol=1e-5)
    assert np.abs(expected - images).mean() > 0.05


def test_one_channel_is_grey_in_colour(images: np.ndarray) -> None:
    grey, draws = tf.constant(images[..., :1]), draws_of(IN_ORDER, 8, 1.0)
    result = apply_colours(IN_ORDER, grey, draws)
    assert result.shape == grey.shape
    in_colour = apply_colours(IN_ORDER, tf.repeat(grey, 3, -1), draws).numpy()
    assert np.allclose(result[..., 0], in_colour @ [0.299, 0.587, 0.114], atol=1e-5)


@pytest.mark.parametrize("edit", IN_ORDER, ids=lambda edit: edit.name)
def test_strength_0_leaves_pictures_alone(edit: ColourEdit, images: np.ndarray) -> None:
    for strength in (0.0, 1.0):
        (draws,) = draws_of((edit,), 8, strength)
        result = apply_colours([edit], tf.constant(images), [draws])
        assert np.allclose(result, images, atol=1e-6) == (strength == 0)


@pytest.mark.parametrize(
    ("edit", "key", "low", "high"),
    [
        (colour.BRIGHTNESS, "factor", 0.7, 1.3),
        (colour.CONTRAST, "factor", 0.7, 1.3),
        (colour.SATURATION, "factor", 0.0, 1.5),
        (colour.TINT, "offset", -0.2, 0.2),
        (colour.HUE, "turn", -0.1, 0.1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_ranges(edit: ColourEdit, key: str, low: float, high: float) -> None:
    same = 1.0 if key == "factor" else 0.0
    for strength in (1.0, 0.5):
        values = draws_of((edit,), 4096, strength)[0][key].numpy()
        assert values.min() == pytest.approx(same + strength * (low - same), abs=0.01)
        assert values.max() == pytest.approx(same + strength * (high - same), abs=0.01)


def test_grey_is_as_frequent_as_strong() -> None:
    for strength in (1.0, 0.5):
        factors = draws_of((colour.GREY,), 4096, strength)[0]["factor"].numpy()
        assert set(factors) == {0.0, 1.0}
        assert np.mean(factors == 0) == pytest.approx(0.5 * strength, abs=0.04)
