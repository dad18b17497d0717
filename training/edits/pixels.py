"""Edits of single pixels and of places: noise, and rectangles that hide a part."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from training.edits.edit import BLACK, WHITE, Draws, PixelEdit, per_picture, uniform

SIGMA = 0.2  # of images in [-1,1]: a tenth of the range
HIDDEN = (0.1, 0.5)  # sides of a rectangle, shares of those of the picture


def covered(images: tf.Tensor, box: tf.Tensor, value: tf.Tensor | float) -> tf.Tensor:
    """[N,H,W,C] with a rectangle of a colour, a number or [N,1,1,1].

    `box` is [N,4], top, bottom, left and right in pixels; those whose centres lie within are
    covered.
    """
    _, height, width, _ = images.shape
    top, bottom, left, right = tf.unstack(box[:, :, None, None, None], axis=1)
    y = np.arange(height, dtype=np.float32)[:, None, None] + 0.5
    x = np.arange(width, dtype=np.float32)[None, :, None] + 0.5
    return tf.where((y >= top) & (y < bottom) & (x >= left) & (x < right), value, images)


def _draw_noise(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (sigma,) = uniform(seed, 1, shape[0])
    normal = tf.random.stateless_normal(shape, tf.random.experimental.stateless_fold_in(seed, 1))
    return {"noise": per_picture(strengths * SIGMA * sigma) * normal}


def _draw_erase(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    least, most = HIDDEN
    high, wide, y, x, brightness = uniform(seed, 5, shape[0])
    edges = []
    for side, place, size in ((high, y, shape[1]), (wide, x, shape[2])):
        length = strengths * (least + (most - least) * side)
        begin = place * (1 - length)
        edges += [begin * size, (begin + length) * size]
    value = tf.where(brightness < 0.5, WHITE, BLACK + (WHITE - BLACK) * 2 * (brightness - 0.5))
    return {"box": tf.stack(edges, 1), "value": value}


NOISE = PixelEdit(
    "noise",
    f"Gaussian noise in all channels, deviation up to {SIGMA / 2:.0%} of the range",
    _draw_noise,
    lambda images, draws: images + draws["noise"],
)
ERASE = PixelEdit(
    "erase",
    f"a rectangle of {HIDDEN[0]:.0%} to {HIDDEN[1]:.0%} of the sides, white or of some grey",
    _draw_erase,
    lambda images, draws: covered(images, draws["box"], per_picture(draws["value"])),
)
