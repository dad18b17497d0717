"""Makes the context of the metrics from networks and a data set."""

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
    latent_size, num_bits = generator.latent_size, generator.fingerprint_size
    noise_size = sum(h * w for h, w in generator.noise_shapes)
    size = [None, generator.resolution, generator.resolution, generator.num_channels]

    def images_of(
        latents: tf.Tensor, bits: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = generator(latents, bits, generator.split_noise(noise))
        return to_uint8(images), images

    widths = (latent_size, num_bits, noise_size)
    signature = [tf.TensorSpec([None, width], tf.float32) for width in widths]
    run_generator = make_function(images_of, generator, execution, signature, devices)

    def generate(num_images: int, first: int) -> GeneratedBatch:
        # Drawn by the number of the first image, so that no call depends on earlier ones.
        rng = np.random.default_rng([seed, first])
        latents = rng.standard_normal([num_images, latent_size], np.float32)
        bits = rng.integers(0, 2, [num_images, num_bits], np.uint8)
        # Drawn here, because XLA would draw other numbers by the same seed.
        noise = tf.random.stateless_normal([num_images, noise_size], [seed, first])
        inputs = tf.constant(latents), tf.constant(bits, tf.float32), noise
        as_uint8, as_float = run_generator(*inputs)
        return GeneratedBatch(as_uint8.numpy(), as_float.numpy(), bits)

    decode = None
    if decoder is not None:
        network = decoder

        run_decoder = make_function(
            lambda images: network(images)[1],
            network,
            execution,
            [tf.TensorSpec(size, tf.float32)],
            devices,
        )

        def decode(images: np.ndarray) -> np.ndarray:
            filled = tf.constant(fill_batch(images, minibatch, execution))
            return run_decoder(filled).numpy()[: len(images)]

    return MetricContext(
        generate=generate,
        resolution=generator.resolution,
        num_channels=generator.num_channels,
        fingerprint_size=num_bits,
        decode=decode,
        dataset=dataset,
        mirror_augment=mirror_augment,
        inception=inception,
        minibatch=minibatch,
        num_gpus=num_gpus,
        seed=seed,
        cache_dir=cache_dir if cache_dir is not None else default_cache_dir(),
    )
