"""Pictures resampled by two matrix products each: one along columns, one along rows.

A row of a matrix holds the weights of one new pixel. Matrices of edits that follow each other are
multiplied first, which costs less than to resample the pictures again. Pixels are squares with
their centres at whole numbers, 0 to H - 1. The filter is a triangle, as wide as a step between
old pixels where a picture grows, and between new ones where it shrinks, so that nothing aliases.
"""

import numpy as np
import tensorflow as tf

_TINY = 1e-6  # for rows without any weight


def resample(
    images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, outside: float = 0.0
) -> tf.Tensor:
    """Resamples [N,H,W,C] by matrices [N,U,H] and [N,V,W] to [N,U,V,C].

    Where weights do not add up to 1, the rest is that of `outside`.
    """
    _, height, width, channels = images.shape
    x = tf.transpose(images - outside, [0, 1, 3, 2])
    x = tf.matmul(tf.reshape(x, [-1, height * channels, width]), columns, transpose_b=True)
    x = tf.matmul(rows, tf.reshape(x, [-1, height, channels * columns.shape[1]]))
    x = tf.reshape(x, [-1, rows.shape[1], channels, columns.shape[1]])
    return tf.transpose(x, [0, 1, 3, 2]) + outside


def triangle(centres: tf.Tensor, widths: tf.Tensor, positions: np.ndarray) -> tf.Tensor:
    """Weights of pixels at `positions` [P] for `centres` [N,O] and half widths [N]: [N,O,P]."""
    distances = tf.abs(centres[:, :, None] - positions.astype(np.float32))
    return tf.maximum(1 - distances / widths[:, None, None], 0.0)


def gaussian(size: int, sigma: tf.Tensor) -> tf.Tensor:
    """Matrices [N,size,size] of a blur with deviations [N] in pixels; at 0 nothing changes.

    At edges the weights that are left are made to add up to 1.
    """
    pixels = np.arange(size, dtype=np.float32)
    squares = (pixels[:, None] - pixels[None, :]) ** 2
    return normalised(tf.exp(-squares / (2 * tf.maximum(sigma, 1e-3)[:, None, None] ** 2)))


def normalised(weights: tf.Tensor) -> tf.Tensor:
    """Rows of [N,O,P] that add up to 1."""
    return weights / tf.maximum(tf.reduce_sum(weights, 2, keepdims=True), _TINY)


def centres_of(size: int, scales: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Where new pixels lie among the old ones: [N,size].

    Args:
        size: pixels, old and new.
        scales: [N], old pixels per new one, about the middle.
        offsets: [N], pixels of the old picture by which the middle moves.
    """
    from_middle = np.arange(size, dtype=np.float32) - (size - 1) / 2
    return from_middle * scales[:, None] + ((size - 1) / 2 + offsets[:, None])


def window(size: int, scales: tf.Tensor, offsets: tf.Tensor, empty: tf.Tensor) -> tf.Tensor:
    """Matrices [N,size,size] that show another part of the picture; see `centres_of`.

    Scales are at most 2. Beyond the edge the picture goes on with its last pixels, or, where
    `empty` [N] is true, with nothing: those weights are left out.
    """
    beyond = 2  # pixels that reach into the picture
    positions = np.arange(-beyond, size + beyond)
    inside = (positions >= 0) & (positions < size)
    empty = empty[:, None]
    centres = centres_of(size, scales, offsets)
    centres = tf.where(empty, centres, tf.clip_by_value(centres, 0.0, size - 1.0))
    weights = triangle(centres, tf.maximum(scales, 1.0), positions)
    weights = normalised(tf.where(empty[:, None] | inside, weights, 0.0))
    return weights[:, :, beyond:-beyond]


def mirrored_window(size: int, scales: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """The same where the picture is mirrored beyond its edges, its last pixels twice."""
    positions = np.arange(size)
    centres, widths = centres_of(size, scales, offsets), tf.maximum(scales, 1.0)
    mirrors = (positions, -1 - positions, 2 * size - 1 - positions)
    return normalised(tf.add_n([triangle(centres, widths, where) for where in mirrors]))


def shrunk_and_back(size: int, shares: tf.Tensor) -> tf.Tensor:
    """Matrices [N,size,size] of scaling to `shares` [N] of the size, in whole pixels, and back."""
    count = tf.round(shares * size)  # pixels of the small picture, the first ones of `size`
    positions = np.arange(size)
    shrink = size / count
    pixels = positions.astype(np.float32) + 0.5
    small = triangle(pixels * shrink[:, None] - 0.5, shrink, positions)
    large = triangle(pixels / shrink[:, None] - 0.5, tf.ones_like(shrink), positions)
    large = tf.where(positions < count[:, None, None], large, 0.0)
    return tf.matmul(normalised(large), normalised(small))
