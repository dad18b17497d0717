"""JPEG compression as a differentiable function: what a file keeps, without the lossless coding.

The baseline process of ITU-T T.81 on YCbCr as JFIF (ITU-T T.871) defines it, with the choices of
libjpeg: its formula for the tables of a quality, means of 2x2 colour differences, and a triangle
filter on the way back ("fancy upsampling").

Blocks are rows of 64 numbers, so that the two-dimensional cosine transform of all of them is one
product with a 64x64 matrix. Halved colour differences lie in a corner of their planes, with
zeros around, so that pictures of both samplings go through the same product.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from training.edits.bt601 import FROM_YCC, TO_YCC
from training.edits.edit import Draws, PixelEdit, per_picture, uniform

BEST, WORST = 96, 30  # range of qualities
SUBSAMPLED = 0.75  # share of pictures whose colour differences are halved (4:2:0)

# T.81, tables K.1 and K.2: the steps of quality 50.
_LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
_CHROMA = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
] + [[99] * 8] * 4
TABLES = np.array([_LUMA, _CHROMA, _CHROMA], np.float32).reshape(3, 64)

# Of pixels as rows.
_TO_YCC, _FROM_YCC = (np.float32(matrix.T) for matrix in (TO_YCC, FROM_YCC))


def _cosine_transform() -> np.ndarray:
    """T.81, A.3.3: the orthonormal DCT of 8x8 samples as a matrix [64,64]."""
    u, x = np.arange(8)[:, None], np.arange(8)[None, :]
    one = np.cos((2 * x + 1) * u * np.pi / 16) / 2
    one[0] /= np.sqrt(2)
    return np.kron(one, one).astype(np.float32)


_DCT = _cosine_transform()


def quantisation_tables(quality: tf.Tensor) -> tf.Tensor:
    """Steps of coefficients by libjpeg's formula: qualities [N] in 1..100 -> [N,3,64] in 1..255."""
    # Halves between whole numbers keep floor() where integer division is, whatever the rounding.
    scale = tf.where(quality < 50, tf.floor((5000 + 0.5) / quality), 200 - 2 * quality)
    scaled = tf.floor((TABLES * scale[:, None, None] + 50.5) / 100)
    return tf.clip_by_value(scaled, 1.0, 255.0)


def compress(images: tf.Tensor, quality: tf.Tensor, subsampled: tf.Tensor) -> tf.Tensor:
    """Compresses and decompresses; rounding of coefficients passes gradients as they are.

    Args:
        images: [N,H,W,C] in 0..255, C is 3, or 1 for files that have nothing but luma.
        quality: [N], whole numbers in 1..100.
        subsampled: bool [N], whether colour differences are halved (4:2:0) or not (4:4:4).

    Returns:
        [N,H,W,C] in 0..255, not rounded.
    """
    height, width = images.shape[1:3]
    x = _pad_to_blocks(images)
    if x.shape[3] == 1:
        x = _quantised(x - 128, quantisation_tables(quality)[:, :1]) + 128
    else:
        halved = per_picture(subsampled)
        level = np.array([128, 0, 0], np.float32)
        x = _rounded(tf.tensordot(x, _TO_YCC, 1) - level)
        x = _on_chroma(x, lambda chroma: tf.where(halved, _halve(chroma), chroma))
        x = _quantised(x, quantisation_tables(quality))
        x = _on_chroma(x, lambda chroma: tf.where(halved, _double(chroma), chroma))
        x = tf.tensordot(x + level, _FROM_YCC, 1)
    return tf.clip_by_value(x[:, :height, :width], 0.0, 255.0)


def _quantised(planes: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Coefficients of 8x8 blocks rounded to steps [N,P,64]: [N,H,W,P] in -128..127 -> the same."""
    _, height, width, num = planes.shape
    rows, columns = height // 8, width // 8
    x = tf.reshape(planes, [-1, rows, 8, columns, 8, num])
    x = tf.reshape(tf.transpose(x, [0, 1, 3, 5, 2, 4]), [-1, 64])
    x = tf.reshape(tf.matmul(x, _DCT, transpose_b=True), [-1, rows * columns, num, 64])
    steps = steps[:, None]
    x = _rounded(x / steps) * steps
    x = tf.matmul(tf.reshape(x, [-1, 64]), _DCT)
    x = tf.transpose(tf.reshape(x, [-1, rows, columns, num, 8, 8]), [0, 1, 4, 2, 5, 3])
    return tf.clip_by_value(_rounded(tf.reshape(x, [-1, height, width, num])), -128.0, 127.0)


@tf.custom_gradient
def _rounded(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    return tf.round(x), lambda dy: dy


def _on_chroma(x: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Cb and Cr replaced by a function of them: [N,H,W,3] -> the same."""
    return tf.concat([x[..., :1], function(x[..., 1:])], -1)


def _halve(x: tf.Tensor) -> tf.Tensor:
    """Means of 2x2, in the upper left corner of planes of the same size; H and W are even."""
    _, height, width, num = x.shape
    small = tf.reduce_mean(tf.reshape(x, [-1, height // 2, 2, width // 2, 2, num]), [2, 4])
    # Halves go up and down in turns, from one column to the next.
    bias = np.where(np.arange(width // 2) % 2, 0.125, -0.125).astype(np.float32)[:, None]
    return tf.pad(_rounded(small + bias), [[0, 0], [0, height // 2], [0, width // 2], [0, 0]])


def _double(x: tf.Tensor) -> tf.Tensor:
    """The corner that `_halve` made at full size again: 3/4 and 1/4 of the nearest two."""
    _, height, width, _ = x.shape
    small = x[:, : height // 2, : width // 2]
    for axis in (1, 2):
        first, body, last = tf.split(small, [1, small.shape[axis] - 2, 1], axis)
        before = tf.concat([first, first, body], axis)
        after = tf.concat([body, last, last], axis)
        both = [0.75 * small + 0.25 * before, 0.75 * small + 0.25 * after]
        shape = small.shape.as_list()
        shape[axis] *= 2
        small = tf.reshape(tf.stack(both, axis + 1), [-1, *shape[1:]])
    return _rounded(small)


def _pad_to_blocks(x: tf.Tensor) -> tf.Tensor:
    """Edges repeated up to a multiple of 8, of 16 in colour, as an encoder does."""
    block = 8 if x.shape[3] == 1 else 16
    for axis in (1, 2):
        missing = -x.shape[axis] % block
        if missing:
            last = tf.split(x, [x.shape[axis] - 1, 1], axis)[1]
            x = tf.concat([x, *[last] * missing], axis)
    return x


def _draw(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    on, quality, sampling = uniform(seed, 3, shape[0])
    return {
        "on": on < strengths,
        "quality": tf.round(BEST - (BEST - WORST) * strengths * quality),
        "subsampled": sampling < SUBSAMPLED,
    }


def _apply(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    pixels = (tf.clip_by_value(images, -1.0, 1.0) + 1) * 127.5
    saved = compress(pixels, draws["quality"], draws["subsampled"]) / 127.5 - 1
    return tf.where(per_picture(draws["on"]), saved, images)


JPEG = PixelEdit(
    "jpeg",
    f"saved as JPEG of quality {WORST} to {BEST}, three of four with halved colour (4:2:0)",
    _draw,
    _apply,
)
