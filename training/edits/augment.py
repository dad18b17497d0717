"""Augmentations of what a discriminator sees, where there are few images to learn from.

`diff` is DiffAugment (Zhao et al., arXiv 2006.10738, with colour, translation and cutout):
brightness +-0.5 of images in [-1,1], saturation 0 to 2, contrast 0.5 to 1.5 about the mean of the
picture; moved by up to 1/8 of the side; a square of half the side hidden; outside and hidden are 0.
At a strength below 1 all these ranges are smaller.

`ada` is the pipeline "bgc" of StyleGAN2-ADA (Karras et al., arXiv 2006.06676, appendix B): every
transform happens with a probability p, which is the strength. Mirrored, turned by quarters, moved
by whole pixels up to 1/8 of the side; scaled, stretched, moved by parts of pixels; brightness,
contrast, luma inverted, hue, saturation. Beyond its edges a picture is mirrored. Two things differ
from the paper: there is no rotation by any angle, which is no pair of matrix products, and the
filter is a triangle in place of a wavelet. Scales end at a factor of 2, moves at half a side.

Nothing is clipped. All of it is linear in the pixels, so that R1 can differentiate twice.
"""

from collections.abc import Sequence

import tensorflow as tf

from training.edits import resampling
from training.edits.colour import (
    EQUAL,
    inverted,
    luma,
    recoloured,
    saturated,
    scaled_about,
    shifted,
    turned,
)
from training.edits.edit import Chain, Draws, per_picture
from training.edits.pixels import covered

_GREY = 0.0  # of images in [-1,1]: what both papers call zero
_LARGEST_STEP = 2.0  # old pixels per new one


def _draw_diff(shape: Sequence[int], seed: tf.Tensor, strength: tf.Tensor) -> Draws:
    num, height, width, _ = shape
    numbers = tf.unstack(2 * tf.random.stateless_uniform([7, num], seed) - 1)  # in [-1,1)
    brightness, saturation, contrast, dy, dx, y, x = numbers
    sides, edges = tf.round(strength * tf.constant([height / 2, width / 2])), []
    for place, side, size in ((y, sides[0], height), (x, sides[1], width)):
        begin = tf.floor((place + 1) / 2 * (size + 1)) - tf.floor(side / 2)
        edges += [begin, begin + side]
    return {
        "brightness": strength * 0.5 * brightness,
        "saturation": 1 + strength * saturation,
        "contrast": 1 + strength * 0.5 * contrast,
        # Whole pixels, each as likely as the others at strength 1.
        "dy": tf.round(strength * (height // 8 + 0.5) * dy),
        "dx": tf.round(strength * (width // 8 + 0.5) * dx),
        "box": tf.stack(edges, 1),
    }


def _apply_diff(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    num, height, width, _ = images.shape
    images = recoloured(
        images,
        [
            lambda mean: shifted(draws["brightness"][:, None]),
            lambda mean: saturated(EQUAL, draws["saturation"]),
            lambda mean: scaled_about(luma(EQUAL, mean), draws["contrast"]),
        ],
    )
    same, empty = tf.ones([num]), tf.fill([num], True)
    rows = resampling.window(height, same, draws["dy"], empty)
    columns = resampling.window(width, same, draws["dx"], empty)
    return covered(resampling.resample(images, rows, columns, _GREY), draws["box"], _GREY)


def _draw_ada(shape: Sequence[int], seed: tf.Tensor, strength: tf.Tensor) -> Draws:
    num, height, width, _ = shape
    seeds = tf.random.stateless_uniform([3, 2], seed, None, None, tf.int64)
    # 1 for every transform that happens to a picture: numbers times 0 leave it alone.
    happens = tf.cast(tf.random.stateless_uniform([11, num], seeds[0]) < strength, tf.float32)
    mirror, turn, shift, scale, stretch, move, *colour = tf.unstack(happens)
    brightness, contrast, inversion, hue, saturation = colour
    u = tf.unstack(tf.random.stateless_uniform([6, num], seeds[1]))
    normal = tf.unstack(tf.random.stateless_normal([7, num], seeds[2]))
    turns = tf.floor(4 * turn * u[0])  # quarters
    draws = {
        "transposed": (turns == 1) | (turns == 3),
        "upside_down": (turns == 1) | (turns == 2),
        "mirrored": ((turns == 2) | (turns == 3)) ^ (mirror * u[1] > 0.5),
        "brightness": brightness * 0.2 * normal[0],
        "contrast": 2 ** (contrast * 0.5 * normal[1]),
        "inverted": inversion * u[2] > 0.5,
        "hue": hue * (u[3] - 0.5),
        "saturation": 2 ** (saturation * normal[2]),
    }
    axes = (("y", height, 1, 4), ("x", width, -1, 5))
    for axis, size, sign, i in axes:
        exponent = 0.2 * (scale * normal[3] + sign * stretch * normal[6])
        step = tf.clip_by_value(2**exponent, 1 / _LARGEST_STEP, _LARGEST_STEP)
        whole = tf.round(shift * (u[i] - 0.5) * size / 4)
        offset = whole + step * move * normal[i] * size / 8
        draws[f"scale_{axis}"] = step
        draws[f"offset_{axis}"] = tf.clip_by_value(offset, -size / 2, size / 2)
    return draws


def _apply_ada(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    _, height, width, _ = images.shape
    rows = resampling.mirrored_window(height, draws["scale_y"], draws["offset_y"])
    columns = resampling.mirrored_window(width, draws["scale_x"], draws["offset_x"])
    # Reversed on the side of the old pixels: whole pictures are turned before they are moved.
    rows = tf.where(_of_matrix(draws["upside_down"]), tf.reverse(rows, [2]), rows)
    columns = tf.where(_of_matrix(draws["mirrored"]), tf.reverse(columns, [2]), columns)
    transposed = tf.transpose(images, [0, 2, 1, 3])
    images = tf.where(per_picture(draws["transposed"]), transposed, images)
    images = resampling.resample(images, rows, columns)
    return recoloured(
        images,
        [
            lambda mean: shifted(draws["brightness"][:, None]),
            lambda mean: scaled_about(_GREY, draws["contrast"]),
            lambda mean: inverted(EQUAL, draws["inverted"]),
            lambda mean: turned(EQUAL, draws["hue"]),
            lambda mean: saturated(EQUAL, draws["saturation"]),
        ],
    )


def _of_matrix(values: tf.Tensor) -> tf.Tensor:
    """[N] -> [N,1,1]."""
    return values[:, None, None]


AUGMENTATIONS: dict[str, Chain] = {
    "diff": Chain(_apply_diff, _draw_diff),
    "ada": Chain(_apply_ada, _draw_ada),
}
