"""Random inputs of the generator, drawn outside compiled functions.

Stateless random numbers of one seed differ between XLA and plain TensorFlow.
"""

import numpy as np
import tensorflow as tf

from training.networks.table import Fingerprinted


def draw_inputs(
    generator: Fingerprinted,
    seed: tf.Tensor,
    num: int,
    generator_calls: int,
    labels: np.ndarray | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What calls of the generator with the same latents need.

    Args:
        generator: whose inputs they are.
        seed: int64 [2], of stateless random numbers.
        num: pictures of a call.
        generator_calls: each with fingerprints and noise of its own.
        labels: float32 [M,C], of all real images, which those of pictures are drawn from; None:
            classes drawn uniformly.

    Returns:
        Latents [num,Z], bits [calls,num,B] of 0 and 1, and flat noise [calls,num,sum h*w], float32.
        Behind the bits of a generator with classes stand labels, the same in all calls:
        [calls,num,B+C].
    """
    flat = sum(h * w for h, w in generator.noise_shapes)
    size = generator.latent_size
    normal = tf.random.stateless_normal([num * (size + generator_calls * flat)], seed)
    bits = tf.random.stateless_uniform(
        [generator_calls, num, generator.fingerprint_size], seed, 0, 2, tf.int32
    )
    latents = tf.reshape(normal[: num * size], [num, size])
    noise = tf.reshape(normal[num * size :], [generator_calls, num, flat])
    codes = tf.cast(bits, tf.float32)
    if generator.label_size:
        count = generator.label_size if labels is None else len(labels)
        # Another stream: integers by one seed go together.
        which = tf.random.stateless_uniform([num], seed + [1, 0], 0, count, tf.int32)
        if labels is None:
            drawn = tf.one_hot(which, generator.label_size)
        else:
            drawn = tf.gather(tf.constant(labels), which)
        codes = tf.concat([codes, tf.tile(drawn[None], [generator_calls, 1, 1])], axis=2)
    return latents, codes, noise
