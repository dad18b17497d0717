"""Random inputs of the generator, drawn outside compiled functions.

Stateless random numbers of one seed differ between XLA and plain TensorFlow.
"""

import numpy as np
import tensorflow as tf

from training.networks.table import Fingerprinted

_KNOWN = 2**20  # stream of random numbers


def known_fingerprints(seed: int, count: int, num_bits: int) -> np.ndarray:
    """The fingerprints of a run that sees no others: uint8 [count,B] of 0 and 1.

    They are drawn independently, so that some may be equal where `count` is near 2**B.
    """
    rng = np.random.default_rng([seed, _KNOWN])
    return rng.integers(0, 2, [count, num_bits], np.uint8)


def draw_known(known: np.ndarray, seed: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Fingerprints out of those that are known, each as likely: float32 [*shape,B].

    Args:
        known: uint8 [K,B].
        seed: int64 [2], of stateless random numbers; that of the other inputs.
        shape: of what is drawn, without B.
    """
    # Another stream: integers by one seed go together.
    which = tf.random.stateless_uniform(shape, seed + [_KNOWN, 0], 0, len(known), tf.int32)
    return tf.cast(tf.gather(tf.constant(known), which), tf.float32)


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
