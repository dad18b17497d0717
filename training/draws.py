"""Random inputs of the generator, drawn outside compiled functions.

Stateless random numbers of one seed differ between XLA and plain TensorFlow.
"""

import tensorflow as tf

from training.networks.adopted import AdoptedGenerator
from training.networks.table import Fingerprinted


def draw_inputs(
    generator: Fingerprinted, seed: tf.Tensor, num: int, generator_calls: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What calls of the generator with the same latents need.

    Args:
        generator: whose inputs they are.
        seed: int64 [2], of stateless random numbers.
        num: pictures of a call.
        generator_calls: each with fingerprints and noise of its own.

    Returns:
        Latents [num,Z], bits [calls,num,B] of 0 and 1, and flat noise [calls,num,sum h*w], float32.
        Behind the bits of an adopted generator stand labels, one-hot, of classes drawn uniformly
        and the same in all calls: [calls,num,B+C].
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
    if isinstance(generator, AdoptedGenerator) and generator.label_size:
        # Another stream: integers by one seed go together.
        which = tf.random.stateless_uniform([num], seed + [1, 0], 0, generator.label_size, tf.int32)
        labels = tf.one_hot(which, generator.label_size)
        codes = tf.concat([codes, tf.tile(labels[None], [generator_calls, 1, 1])], axis=2)
    return latents, codes, noise
