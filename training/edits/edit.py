"""What an edit is: random draws, made outside the compiled function, and what they do to images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

Draws = dict[str, tf.Tensor]
Apply = Callable[[tf.Tensor, Draws], tf.Tensor]  # images [N,H,W,C] around [-1,1] -> the same
# (N,H,W,C, a seed int64 [2], strengths float32 [N] in [0,1]) -> draws, tensors of fixed shapes.
# At strength 0 they leave a picture as it is, at 1 the ranges are full.
Draw = Callable[[Sequence[int], tf.Tensor, tf.Tensor], Draws]

BLACK, WHITE = -1.0, 1.0  # of images in [-1,1]


@dataclass(frozen=True)
class Edit:
    """Something that happens to every picture by draws of its own."""

    name: str
    about: str  # what it does at full strength, in one line
    draw: Draw


@dataclass(frozen=True)
class PixelEdit(Edit):
    """An edit that is a function of its own."""

    function: Apply


def apply_pixel_edits(
    edits: Sequence[PixelEdit], images: tf.Tensor, draws: Sequence[Draws]
) -> tf.Tensor:
    """One edit after the other: [N,H,W,C] -> the same."""
    for edit, drawn in zip(edits, draws, strict=True):
        images = edit.function(images, drawn)
    return images


class Chain(NamedTuple):
    """What `training.channels.Channel` is made of: edits and how to draw for them.

    `draw` takes N,H,W,C, a seed int64 [2] and a strength, a float32 scalar in [0,1]; pictures draw
    independently of each other.
    """

    apply: Apply
    draw: Draw


def uniform(seed: tf.Tensor, num: int, count: int, low: float = 0.0) -> list[tf.Tensor]:
    """`num` tensors [count] of numbers in [low,1), all of one seed."""
    return tf.unstack(tf.random.stateless_uniform([num, count], seed, low, 1.0))


def per_picture(values: tf.Tensor) -> tf.Tensor:
    """[N] -> [N,1,1,1], to go with images."""
    return values[:, None, None, None]
