"""Noise and hidden rectangles."""

import numpy as np
import pytest
import tensorflow as tf

from training.edits.edit import PixelEdit
from training.edits.pixels import ERASE, NOISE, covered

SEED = tf.constant([7, 8], tf.int64)
SHAPE = (512, 16, 16, 3)


def edited(edit: PixelEdit, strength: float, value: float = 0.0) -> np.ndarray:
    """What an even picture becomes."""
    draws = edit.draw(SHAPE, SEED, tf.fill([SHAPE[0]], strength))
    return edit.function(tf.fill(SHAPE, value), draws).numpy()


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_noise_has_a_deviation_of_its_own_in_every_picture(strength: float) -> None:
    deviations = edited(NOISE, strength).std((1, 2, 3))
    assert deviations.max() == pytest.approx(0.2 * strength, rel=0.1)
    assert deviations.mean() == pytest.approx(0.1 * strength, rel=0.1)
    assert deviations.min() < 0.02 * strength
    assert np.abs(edited(NOISE, strength).mean((1, 2, 3))).max() < 0.04


def test_covered_pixels_have_their_centres_in_the_box() -> None:
    images = tf.zeros([2, 5, 6, 1])
    box = tf.constant([[1.0, 3.0, 0.0, 2.0], [0.4, 1.6, 3.6, 9.0]])
    expected = np.zeros([2, 5, 6, 1])
    expected[0, 1:3, 0:2] = 1
    expected[1, 0:2, 4:] = 1
    assert np.array_equal(covered(images, box, 1.0), expected)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_rectangles_are_as_large_as_strong(strength: float) -> None:
    hidden = edited(ERASE, strength, -2.0) > -1.5
    assert np.array_equal(hidden.all(-1), hidden.any(-1))
    sides = hidden[..., 0].any(2).sum(1), hidden[..., 0].any(1).sum(1)
    for side in sides:
        assert side.max() == pytest.approx(8 * strength, abs=1)
        assert side.mean() == pytest.approx(0.3 * 16 * strength, rel=0.1)
    assert np.array_equal(hidden[..., 0].sum((1, 2)), sides[0] * sides[1])
    assert hidden.any((0, 2)).all(), "every row, and"
    assert hidden.any((0, 1)).all(), "every column"


def test_rectangles_are_white_or_of_one_grey() -> None:
    images = edited(ERASE, 1.0, -2.0)
    values = [set(image[image > -1.5].tolist()) for image in images]
    assert all(len(found) <= 1 for found in values)
    found = np.array([value for seen in values for value in seen])
    assert np.mean(found == 1) == pytest.approx(0.5, abs=0.1)
    assert found.min() < -0.9


@pytest.mark.parametrize("edit", [NOISE, ERASE], ids=lambda edit: edit.name)
def test_strength_0_leaves_pictures_alone(edit: PixelEdit) -> None:
    assert np.array_equal(edited(edit, 0.0, 0.3), np.full(SHAPE, np.float32(0.3)))
