"""Fresh noise maps for generators under test."""

import tensorflow as tf

from training.networks.generator import Generator
from training.networks.plain_generator import PlainGenerator


def sample_noise(generator: Generator | PlainGenerator, num_images: int) -> list[tf.Tensor]:
    """Noise maps ~ N(0,1) in order of the layers: a list of [N,h,w,1]."""
    return [tf.random.normal([num_images, h, w, 1]) for h, w in generator.noise_shapes]
