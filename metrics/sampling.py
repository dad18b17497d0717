"""Makes the context of the metrics from networks and a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.cache import default_cache_dir
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import PLAIN, Execution
from metrics.context import FeatureExtractor, GeneratedBatch, MetricContext, RealImages
from training.models.functions import fill_batch, make_function, to_uint8
from training.networks.decoder import Decoder
from training.networks.generator import Generator


def make_context(
    *,
    generator: Generator,
    decoder: Decoder | None = None,
    dataset: RealImages | None = None,
    inception: FeatureExtractor | None = None,
    minibatch: int = 32,
    seed: int = 0,
    mirror_augment: bool = False,
    num_gpus: int = 0,
    cache_dir: Path | None = None,
    execution: Execution = PLAIN,
    devices: Devices | None = None,
) -> MetricContext:
    """Wraps networks for the metrics; they are read at every call, so one context can follow
    networks that are being trained.

    Args:
        generator: the average Gs.
        decoder: E as it is; None if there is none.
        dataset: real images.
        inception: what `check_inception` returned.
        minibatch: images at a time.
        seed: of latents, fingerprints and noise, >= 0. They depend on `minibatch` as well.
        mirror_augment: mirror every second real image at random.
        num_gpus: recorded in the results.
        cache_dir: for statistics of real images; by default that of downloads.
        execution: how the networks run. Latents, fingerprints and noise do not depend on it.
        devices: those under whose strategy the networks were made; None: one device. They share
            every minibatch. With several workers, all have to evaluate the same metrics at once.

    Raises:
        ValueError: the decoder does not fit the generator.
    """
    if decoder is not None:
        for what in ("fingerprint_size", "resolution", "num_channels"):
            if getattr(generator, what) != getattr(decoder, what):
                raise ValueError(f"generator and decoder differ in {what}")
    return MetricContext(
        generate=_sampler(generator, seed, execution, devices),
        resolution=generator.resolution,
        num_channels=generator.num_channels,
        fingerprint_size=generator.fingerprint_size,
        decode=None if decoder is None else _reader(decoder, minibatch, execution, devices),
        dataset=dataset,
        mirror_augment=mirror_augment,
        inception=inception,
        minibatch=minibatch,
        num_gpus=num_gpus,
        seed=seed,
        cache_dir=cache_dir if cache_dir is not None else default_cache_dir(),
    )


def _sampler(
    generator: Generator, seed: int, execution: Execution, devices: Devices | None
) -> Callable[[int, int], GeneratedBatch]:
    """`MetricContext.generate` of a generator."""
    widths = (
        generator.latent_size,
        generator.fingerprint_size,
        sum(h * w for h, w in generator.noise_shapes),
    )

    def images_of(
        latents: tf.Tensor, bits: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = generator(latents, bits, generator.split_noise(noise))
        return to_uint8(images), images

    signature = [tf.TensorSpec([None, width], tf.float32) for width in widths]
    run = make_function(images_of, generator, execution, signature, devices)

    def generate(num_images: int, first: int) -> GeneratedBatch:
        # Drawn by the number of the first image, so that no call depends on earlier ones.
        rng = np.random.default_rng([seed, first])
        latent_size, num_bits, noise_size = widths
        latents = rng.standard_normal([num_images, latent_size], np.float32)
        bits = rng.integers(0, 2, [num_images, num_bits], np.uint8)
        # Drawn here, because XLA would draw other numbers by the same seed.
        noise = tf.random.stateless_normal([num_images, noise_size], [seed, first])
        as_uint8, as_float = run(tf.constant(latents), tf.constant(bits, tf.float32), noise)
        return GeneratedBatch(as_uint8.numpy(), as_float.numpy(), bits)

    return generate


def _reader(
    decoder: Decoder, minibatch: int, execution: Execution, devices: Devices | None
) -> Callable[[np.ndarray], np.ndarray]:
    """`MetricContext.decode` of a decoder."""
    size = [None, decoder.resolution, decoder.resolution, decoder.num_channels]
    signature = [tf.TensorSpec(size, tf.float32)]
    run = make_function(lambda images: decoder(images)[1], decoder, execution, signature, devices)

    def decode(images: np.ndarray) -> np.ndarray:
        filled = tf.constant(fill_batch(images, minibatch, execution))
        return run(filled).numpy()[: len(images)]

    return decode
