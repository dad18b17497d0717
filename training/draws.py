"""Random inputs of the generator, drawn outside compiled functions.

Stateless random numbers of one seed differ between XLA and plain TensorFlow.
"""

import tensorflow as tf

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
    """
    flat = sum(h * w for h, w in generator.noise_shapes)
    size = generator.latent_size
    normal = tf.random.stateless_normal([num * (size + generator_calls * flat)], seed)
    bits = tf.random.stateless_uniform(
        [generator_calls, num, generator.fingerprint_size], seed, 0, 2, tf.int32
    )
    latents = tf.reshape(normal[: num * size], [num, size])
    noise = tf.reshape(normal[num * size :], [generator_calls, num, flat])
    return latents, tf.cast(bits, tf.float32), noise
