"""Makes the context of the metrics from networks and a data set."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.download import default_cache_dir
from metrics.context import FeatureExtractor, GeneratedBatch, MetricContext, RealImages
from training.decoding import to_uint8
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

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, latent_size], tf.float32),
            tf.TensorSpec([None, num_bits], tf.float32),
            tf.TensorSpec([2], tf.int64),
        ]
    )
    def images_of(
        latents: tf.Tensor, bits: tf.Tensor, noise_seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        flat = tf.random.stateless_normal([tf.shape(latents)[0], noise_size], noise_seed)
        images = generator(latents, bits, generator.split_noise(flat))
        return to_uint8(images), images

    def generate(num_images: int, first: int) -> GeneratedBatch:
        # Drawn by the number of the first image, so that no call depends on earlier ones.
        rng = np.random.default_rng([seed, first])
        latents = rng.standard_normal([num_images, latent_size], np.float32)
        bits = rng.integers(0, 2, [num_images, num_bits], np.uint8)
        noise_seed = np.array([seed, first], np.int64)
        as_uint8, as_float = images_of(latents, bits.astype(np.float32), noise_seed)
        return GeneratedBatch(as_uint8.numpy(), as_float.numpy(), bits)

    decode = None
    if decoder is not None:
        network = decoder

        @tf.function(input_signature=[tf.TensorSpec(size, tf.float32)])
        def logits_of(images: tf.Tensor) -> tf.Tensor:
            return network(images)[1]

        def decode(images: np.ndarray) -> np.ndarray:
            return logits_of(images).numpy()

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
