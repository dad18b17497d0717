"""Edits that move pixels or mix neighbours: matrices for rows and columns of every picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import tensorflow as tf

from training.edits import resampling
from training.edits.edit import WHITE, Draws, Edit, uniform

Maps = tuple[tf.Tensor, tf.Tensor]  # of rows [N,H,H] and columns [N,W,W]

FLIPPED = 0.5  # share of pictures
CUT, SHRUNK = 0.3, 0.15  # of the side: what a crop takes away, and adds around
SHIFT = 1 / 32  # of the side
SMALLEST = 0.5  # of the side
SIGMA = 1.5  # deviation in pixels of a picture of 32x32


@dataclass(frozen=True)
class GeometricEdit(Edit):
    """An edit that is a matrix product from either side."""

    maps: Callable[[Draws, int, int], Maps]  # (draws, H, W) -> for rows and columns


def apply_geometry(
    edits: Sequence[GeometricEdit], images: tf.Tensor, draws: Sequence[Draws]
) -> tf.Tensor:
    """One edit after the other: [N,H,W,C] -> the same; what has nothing to show is white."""
    _, height, width, _ = images.shape
    maps = (edit.maps(drawn, height, width) for edit, drawn in zip(edits, draws, strict=True))
    rows, columns = reduce(_followed_by, maps)
    return resampling.resample(images, rows, columns, outside=WHITE)


def _followed_by(first: Maps, second: Maps) -> Maps:
    return tf.matmul(second[0], first[0]), tf.matmul(second[1], first[1])


def _draw_flip(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (chance,) = uniform(seed, 1, shape[0])
    return {"mirrored": chance < FLIPPED * strengths}


def _flip(draws: Draws, height: int, width: int) -> Maps:
    n = draws["mirrored"].shape[0]
    mirror = tf.reverse(tf.eye(width), [0])
    columns = tf.where(draws["mirrored"][:, None, None], mirror, tf.eye(width))
    return tf.eye(height, batch_shape=[n]), columns


def _draw_crop(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    scale, *place, white = uniform(seed, 6, shape[0])
    scale = 1 + strengths * ((CUT + SHRUNK) * scale - CUT)
    # Part and whole: one lies within the other, wherever, but for the shift.
    y, x = (tf.abs(1 - scale) * (u - 0.5) for u in place[:2])
    dy, dx = (strengths * SHIFT * (2 * u - 1) for u in place[2:])
    return {"scale": scale, "y": y + dy, "x": x + dx, "white": white < 0.5}


def _crop(draws: Draws, height: int, width: int) -> Maps:
    scale, white = draws["scale"], draws["white"]
    return (
        resampling.window(height, scale, draws["y"] * height, white),
        resampling.window(width, scale, draws["x"] * width, white),
    )


def _draw_half(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (share,) = uniform(seed, 1, shape[0])
    return {"share": 1 - strengths * (1 - SMALLEST) * share}


def _half(draws: Draws, height: int, width: int) -> Maps:
    share = draws["share"]
    return resampling.shrunk_and_back(height, share), resampling.shrunk_and_back(width, share)


def _draw_blur(shape: Sequence[int], seed: tf.Tensor, strengths: tf.Tensor) -> Draws:
    (sigma,) = uniform(seed, 1, shape[0])
    return {"sigma": strengths * SIGMA * sigma}


def _blur(draws: Draws, height: int, width: int) -> Maps:
    sigma = draws["sigma"]
    return (
        resampling.gaussian(height, sigma * height / 32),
        resampling.gaussian(width, sigma * width / 32),
    )


FLIP = GeometricEdit("flip", "mirrored, every second picture", _draw_flip, _flip)
CROP = GeometricEdit(
    "crop",
    f"{100 * (1 - CUT):.0f} to {100 * (1 + SHRUNK):.0f} % of the side, anywhere, at full size "
    "again; outside is white, or goes on as at the edge",
    _draw_crop,
    _crop,
)
HALF = GeometricEdit(
    "half",
    f"scaled down to {100 * SMALLEST:.0f} % of the side or more, and back",
    _draw_half,
    _half,
)
BLUR = GeometricEdit(
    "blur",
    f"Gaussian blur, deviation up to {SIGMA} pixels of 32, the same share of larger pictures",
    _draw_blur,
    _blur,
)
