"""What images go through before a network sees them: between generator and decoder, and before
the discriminator.

A channel is a function of images and of random draws. It runs inside the compiled step and has to
be differentiable; its draws are made outside, because random numbers by the same seed differ
between XLA and plain TensorFlow. The configuration chooses one by its name in `CHANNELS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from training.edits.augment import AUGMENTATIONS
from training.edits.chain import named_chain
from training.edits.edit import Draws


def draw_nothing(shape: Sequence[int], seed: tf.Tensor, strength: tf.Tensor) -> Draws:
    """Of a channel without chance."""
    return {}


@dataclass(frozen=True)
class Channel:
    """A function of images, with what it needs of chance."""

    # (images [N,H,W,C] around [-1,1], draws) -> images of the same shape
    apply: Callable[[tf.Tensor, Draws], tf.Tensor]
    # (N,H,W,C; a seed int64 [2] of stateless random numbers; a strength from 0, nothing happens,
    # to 1) -> draws, tensors of fixed shapes
    draw: Callable[[Sequence[int], tf.Tensor, tf.Tensor], Draws] = draw_nothing
    # Whether the decoder reads the latent from images as they were before this channel.
    spares_latent: bool = False


def identity(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """The images as they are, not clipped, which is the published way."""
    return images


def clip(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Cut to [-1,1], which is what image files keep."""
    return tf.clip_by_value(images, -1, 1)


CHANNELS: dict[str, Channel] = {
    "identity": Channel(identity),
    "clip": Channel(clip),
    **{name: Channel(*augmentation) for name, augmentation in AUGMENTATIONS.items()},
}


def find_channel(name: str) -> Channel:
    """The channel of this name; also `light`, `full` or a list of edits (`training.edits.chain`).

    Raises:
        UserError: there is none.
    """
    if name in CHANNELS:
        return CHANNELS[name]
    edits = named_chain(name)
    return Channel(edits.apply, edits.draw, spares_latent=True)
