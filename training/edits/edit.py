"""What an edit is: random draws, made outside the compiled function, and what they do to images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

Draws = dict[str, tf.Tensor]
# (N,H,W,C, a seed int64 [2], strengths float32 [N] in [0,1]) -> draws, tensors of fixed shapes.
# At strength 0 they leave a picture as it is, at 1 the ranges are full.
Draw = Callable[[Sequence[int], tf.Tensor, tf.Tensor], Draws]

WHITE = 1.0  # of images in [-1,1]


@dataclass(frozen=True)
class Edit:
    """Something that happens to every picture by draws of its own."""

    name: str
    about: str  # what it does at full strength, in one line
    draw: Draw


@dataclass(frozen=True)
class PixelEdit(Edit):
    """An edit that is a function of its own: (images [N,H,W,C] around [-1,1], draws) -> images."""

    function: Callable[[tf.Tensor, Draws], tf.Tensor]


def uniform(seed: tf.Tensor, num: int, count: int, low: float = 0.0) -> list[tf.Tensor]:
    """`num` tensors [count] of numbers in [low,1), all of one seed."""
    return tf.unstack(tf.random.stateless_uniform([num, count], seed, low, 1.0))


def per_picture(values: tf.Tensor) -> tf.Tensor:
    """[N] -> [N,1,1,1], to go with images."""
    return values[:, None, None, None]
