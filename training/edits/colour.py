"""Edits of colour: one 3x3 matrix and one offset for every picture.

Those of edits that follow each other are multiplied first, so that pixels are touched once.
Contrast needs a picture's mean colour, which goes through the same matrices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.edits.bt601 import TO_YCC
from training.edits.edit import BLACK, Draw, Draws, Edit, uniform

GAIN = 0.3  # brightness times 1 - GAIN to 1 + GAIN
DISTANCE = 0.3  # contrast, the same
OFFSET = 0.2  # of images in [-1,1], up and down
SATURATED = 1.5  # times 0, which is grey, to this
MADE_GREY = 0.5  # share of pictures
TURN = 0.1  # of the circle of hues, either way


class Affine(NamedTuple):
    """colour -> matrix colour + offset."""

    matrix: tf.Tensor  # [N,3,3]
    offset: tf.Tensor  # [N,3]

    def of(self, colours: tf.Tensor) -> tf.Tensor:
        """Of one colour a picture: [N,3] -> [N,3]."""
        return tf.linalg.matvec(self.matrix, colours) + self.offset


class Axes(NamedTuple):
    """What colours consist of: grey, and a plane where saturation is length and hue direction."""

    grey: np.ndarray  # [3,3], projects to grey
    colour: np.ndarray  # [3,3], projects to the plane
    quarter: np.ndarray  # [3,3], turns by 90 degrees within the plane

    @property
    def luma(self) -> np.ndarray:
        """Weights [3] of the brightness."""
        return self.grey[0]


def _axes(to_planes: np.ndarray) -> Axes:
    """From a matrix [3,3] whose first row gives brightness, the others a colour's place."""
    quarter = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]])
    back = np.linalg.inv(to_planes)
    grey = back @ np.diag([1, 0, 0]) @ to_planes
    matrices = (grey, np.eye(3) - grey, back @ quarter @ to_planes)
    return Axes(*(matrix.astype(np.float32) for matrix in matrices))


BT601 = _axes(TO_YCC)
# Red, green and blue count alike: the plane is at right angles to grey.
_ORTHOGONAL = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]])
EQUAL = _axes(_ORTHOGONAL / np.linalg.norm(_ORTHOGONAL, axis=1, keepdims=True))


@dataclass(frozen=True)
class ColourEdit(Edit):
    """An edit that is an affine map of colours in [-1,1]."""

    map: Callable[[Draws, tf.Tensor], Affine]  # (draws, mean colour [N,3] of the pictures) -> map


def apply_colours(
    edits: Sequence[ColourEdit], images: tf.Tensor, draws: Sequence[Draws]
) -> tf.Tensor:
    """One edit after the other: [N,H,W,C] -> the same."""
    pairs = zip(edits, draws, strict=True)
    return recoloured(images, [partial(edit.map, drawn) for edit, drawn in pairs])


def recoloured(images: tf.Tensor, steps: Sequence[Callable[[tf.Tensor], Affine]]) -> tf.Tensor:
    """One map after the other: [N,H,W,C] -> the same. C is 3, or 1 for brightness alone.

    A step takes the mean colours [N,3] that the pictures have when its turn has come.
    """
    num, height, width, channels = images.shape
    mean = tf.broadcast_to(tf.reduce_mean(images, [1, 2]), [num, 3])
    total = steps[0](mean)
    for step in steps[1:]:
        following = step(total.of(mean))
        total = Affine(following.matrix @ total.matrix, following.of(total.offset))
    if channels == 1:
        total = _of_grey(total)
    pixels = tf.reshape(images, [num, height * width, channels])
    pixels = tf.matmul(pixels, total.matrix, transpose_b=True) + total.offset[:, None]
    return tf.reshape(pixels, images.shape)


def _of_grey(total: Affine) -> Affine:
    """The brightness that comes out where grey goes in: [N,1,1] and [N,1]."""
    luma = BT601.luma[:, None]
    matrix = tf.reduce_sum(total.matrix, 2) @ luma  # [N,1]
    return Affine(matrix[:, None], total.offset @ luma)


def scaled_about(centre: tf.Tensor | float, factors: tf.Tensor) -> Affine:
    """Distances from a colour, [N,3], [N,1] or a number, times factors [N]."""
    offset = (1 - factors)[:, None] * centre * tf.ones([3])
    return Affine(factors[:, None, None] * tf.eye(3), offset)


def shifted(offset: tf.Tensor) -> Affine:
    """An offset [N,3] or [N,1]."""
    offset = tf.broadcast_to(offset, [offset.shape[0], 3])
    return Affine(tf.eye(3, batch_shape=[offset.shape[0]]), offset)


def saturated(axes: Axes, factors: tf.Tensor) -> Affine:
    """Distances from grey times factors [N]."""
    matrix = axes.grey + factors[:, None, None] * axes.colour
    return Affine(matrix, tf.zeros_like(matrix[:, 0]))


def turned(axes: Axes, turns: tf.Tensor) -> Affine:
    """Hues moved by parts [N] of their circle."""
    angles = 2 * np.pi * turns[:, None, None]
    matrix = axes.grey + tf.cos(angles) * axes.colour + tf.sin(angles) * axes.quarter
    return Affine(matrix, tf.zeros_like(matrix[:, 0]))


def inverted(axes: Axes, chosen: tf.Tensor) -> Affine:
    """Brightness with the other sign where `chosen` [N] is true; colour stays."""
    matrix = tf.where(chosen[:, None, None], axes.colour - axes.grey, np.eye(3, dtype=np.float32))
    return Affine(matrix, tf.zeros_like(matrix[:, 0]))


def luma(axes: Axes, colours: tf.Tensor) -> tf.Tensor:
    """Brightness of colours [N,3]: [N,1]."""
    return tf.linalg.matmul(colours, axes.luma[:, None])


def _draw_factor(low: float, high: float) -> Draw:
    """Of an edit of one number that leaves pictures alone at 1."""

    def draw(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
        (u,) = uniform(seed, 1, shape[0])
        return {"factor": 1 + strengths * (low - 1 + (high - low) * u)}

    return draw


def _draw_tint(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    offsets = tf.random.stateless_uniform([shape[0], 3], seed, -OFFSET, OFFSET)
    return {"offset": strengths[:, None] * offsets}


def _draw_hue(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (u,) = uniform(seed, 1, shape[0])
    return {"turn": strengths * TURN * (2 * u - 1)}


def _draw_grey(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (u,) = uniform(seed, 1, shape[0])
    return {"factor": tf.where(u < MADE_GREY * strengths, 0.0, 1.0)}


def _saturated(draws: Draws, mean: tf.Tensor) -> Affine:
    return saturated(BT601, draws["factor"])


BRIGHTNESS = ColourEdit(
    "brightness",
    f"every value of 0 to 255 times {1 - GAIN:.1f} to {1 + GAIN:.1f}",
    _draw_factor(1 - GAIN, 1 + GAIN),
    lambda draws, mean: scaled_about(BLACK, draws["factor"]),
)
CONTRAST = ColourEdit(
    "contrast",
    f"distances from the mean brightness times {1 - DISTANCE:.1f} to {1 + DISTANCE:.1f}",
    _draw_factor(1 - DISTANCE, 1 + DISTANCE),
    lambda draws, mean: scaled_about(luma(BT601, mean), draws["factor"]),
)
TINT = ColourEdit(
    "tint",
    f"up to {OFFSET / 2:.0%} of the range added to red, to green and to blue, or taken away",
    _draw_tint,
    lambda draws, mean: shifted(draws["offset"]),
)
SATURATION = ColourEdit(
    "saturation",
    f"distances from grey of the same brightness times 0 to {SATURATED}",
    _draw_factor(0, SATURATED),
    _saturated,
)
GREY = ColourEdit("grey", "no colour, every second picture", _draw_grey, _saturated)
HUE = ColourEdit(
    "hue",
    f"hues turned by up to {TURN:.0%} of their circle either way",
    _draw_hue,
    lambda draws, mean: turned(BT601, draws["turn"]),
)
