"""Two images a small step apart, on a way between two latents or two fingerprints."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import PLAIN, Execution
from metrics.path_length import STEP
from training.models.functions import (
    code_size,
    make_function,
    make_images,
    num_classes,
    split_codes,
)
from training.networks.adopted import AdoptedGenerator
from training.networks.generator import Generator
from training.networks.table import TrainedGenerator

_WALKS = 3  # of the random numbers, beside those of `sampling`

# Space "z" or "w", number of pairs, number of the first, whether the step may be anywhere ->
# images [N,H,W,C] around [-1,1], not clipped, and those a step on.
Walk = Callable[[str, int, int, bool], tuple[np.ndarray, np.ndarray]]


def make_walk(
    generator: TrainedGenerator,
    seed: int,
    execution: Execution = PLAIN,
    devices: Devices | None = None,
) -> Walk:
    """Steps of the generator, as the perceptual path length has them (StyleGAN, arXiv 1812.04948,
    section 4.1).

    In "z" the way leads from a latent to another on the sphere, and all else is the same. In "w" it
    is a straight line between styles: of two fingerprints, with one latent, where fingerprints make
    the styles; of two latents in StyleGAN2. Noise is that of the other image. Labels are drawn
    evenly among the classes.

    Args:
        generator: the average Gs.
        seed: of all that is drawn.
        execution: how the network runs.
        devices: see `make_function`.
    """
    noise_size = sum(h * w for h, w in generator.noise_shapes)
    widths = (generator.latent_size,) * 2 + (code_size(generator),) * 2 + (1, noise_size)
    signature = [tf.TensorSpec([None, width], tf.float32) for width in widths]

    def along_z(
        start: tf.Tensor, end: tf.Tensor, codes: tf.Tensor, _: tf.Tensor, t: tf.Tensor, n: tf.Tensor
    ) -> tf.Tensor:
        return make_images(generator, slerp(start, end, t), codes, generator.split_noise(n))

    def along_w(
        start: tf.Tensor,
        end: tf.Tensor,
        codes: tf.Tensor,
        others: tf.Tensor,
        t: tf.Tensor,
        n: tf.Tensor,
    ) -> tf.Tensor:
        bits, labels = split_codes(generator, codes)
        noise = generator.split_noise(n)
        if isinstance(generator, Generator):
            first = generator.map_fingerprints(bits)
            second = generator.map_fingerprints(split_codes(generator, others)[0])
            styles = first + t[:, :, None] * (second - first)
            return generator.synthesize(start, styles, noise, labels)
        first, second = (generator.map_latents(latents, labels) for latents in (start, end))
        styles = first + t[:, :, None] * (second - first)
        shifts = generator.shifts(bits) if isinstance(generator, AdoptedGenerator) else None
        return generator.synthesize(styles, noise, shifts)

    runs = {
        "z": make_function(along_z, generator, execution, signature, devices),
        "w": make_function(along_w, generator, execution, signature, devices),
    }

    def walk(space: str, count: int, first: int, anywhere: bool) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, first, _WALKS])
        latents = rng.standard_normal([2, count, widths[0]], np.float32)
        codes = np.zeros([2, count, widths[2]], np.float32)
        size = generator.fingerprint_size
        codes[:, :, :size] = rng.integers(0, 2, [2, count, size])
        if classes := num_classes(generator):
            codes[:, np.arange(count), size + rng.integers(0, classes, count)] = 1
        begin = rng.random([count, 1], np.float32) if anywhere else np.zeros([count, 1], np.float32)
        noise = rng.standard_normal([count, noise_size], np.float32)
        pair = [
            runs[space](*map(tf.constant, (*latents, *codes, t, noise))).numpy()
            for t in (begin, begin + np.float32(STEP))
        ]
        return pair[0], pair[1]

    return walk


def slerp(start: tf.Tensor, end: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Directions [N,Z] on the great circle between two, their lengths in between: t [N,1]."""
    lengths = [tf.norm(x, axis=1, keepdims=True) for x in (start, end)]
    first, second = start / lengths[0], end / lengths[1]
    cosine = tf.reduce_sum(first * second, axis=1, keepdims=True)
    across = tf.math.l2_normalize(second - cosine * first, axis=1)
    angle = t * tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))
    length = lengths[0] + t * (lengths[1] - lengths[0])
    return length * (tf.cos(angle) * first + tf.sin(angle) * across)
