"""Many small PNG files at once, by TensorFlow's decoder, which needs no Python between them."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dnnlib.plain_png import GREY, RGB, is_plain_png

# Contents of files -> uint8 [M,R,R,C]; None where one of them needs `dnnlib.images`.
Pixels = Callable[[Sequence[bytes]], np.ndarray | None]


def make_png_decoder(resolution: int, num_channels: int) -> Pixels:
    """A function that decodes files which are plain (`plain_png`), with the pixels of Pillow.

    It gives None where one of the files is anything else, damaged ones included. Threads may share
    it.

    Args:
        resolution: R, width and height that the files must have.
        num_channels: C, 1 for grey files or 3 for grey and RGB ones.
    """
    shape = [resolution, resolution, num_channels]
    types = frozenset((GREY,) if num_channels == 1 else (GREY, RGB))

    def decode(contents: tf.Tensor) -> tf.Tensor:
        def one(content: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.io.decode_png(content, channels=num_channels), shape)

        with tf.device("/CPU:0"):
            return tf.map_fn(one, contents, fn_output_signature=tf.TensorSpec(shape, tf.uint8))

    compiled = tf.function(
        decode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )

    def pixels(contents: Sequence[bytes]) -> np.ndarray | None:
        size = (resolution, resolution)
        if not all(is_plain_png(content, size, types) for content in contents):
            return None
        try:
            return np.asarray(compiled(tf.constant(contents, tf.string)))
        except tf.errors.InvalidArgumentError:  # damaged
            return None

    return pixels
