"""Makes the context of the metrics from networks and a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.cache import default_cache_dir
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import PLAIN, Execution
from metrics.context import (
    ClassifyingExtractor,
    GeneratedBatch,
    GeneratedPairs,
    MetricContext,
    RealImages,
)
from metrics.walks import make_walk
from training.models.functions import (
    code_size,
    fill_batch,
    make_function,
    make_images,
    num_classes,
    to_uint8,
)
from training.networks.decoder import Decoder
from training.networks.table import TrainedGenerator

# Of the random numbers of what images are compared with. Not 0, which would be no other stream:
# NumPy fills seeds up with zeros.
_COUNTERPARTS = 1
_CLASSES = 2  # of the classes of StyleGAN2


def make_context(
    *,
    generator: TrainedGenerator,
    decoder: Decoder | None = None,
    dataset: RealImages | None = None,
    inception: ClassifyingExtractor | None = None,
    minibatch: int = 32,
    seed: int = 0,
    mirror_augment: bool = False,
    num_gpus: int = 0,
    cache_dir: Path | None = None,
    execution: Execution = PLAIN,
    devices: Devices | None = None,
    labels: np.ndarray | None = None,
) -> MetricContext:
    """Wraps networks for the metrics; they are read at every call, so one context can follow
    networks that are being trained.

    Args:
        generator: the average Gs. Plain StyleGAN2 makes its pictures without truncation, of
            labels drawn at random.
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
        labels: float32 [M,C], from which those of plain StyleGAN2 with labels are drawn; None:
            classes, all alike.

    Raises:
        ValueError: the decoder does not fit the generator.
    """
    if decoder is not None:
        for what in ("fingerprint_size", "resolution", "num_channels"):
            if getattr(generator, what) != getattr(decoder, what):
                raise ValueError(f"generator and decoder differ in {what}")
    generate, generate_pairs = _samplers(generator, seed, execution, devices, labels)
    return MetricContext(
        generate=generate,
        generate_pairs=generate_pairs,
        walk=make_walk(generator, seed, execution, devices),
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


def _samplers(
    generator: TrainedGenerator,
    seed: int,
    execution: Execution,
    devices: Devices | None,
    real_labels: np.ndarray | None,
) -> tuple[Callable[[int, int], GeneratedBatch], Callable[[int, int], GeneratedPairs]]:
    """`MetricContext.generate` and `generate_pairs` of a generator."""
    widths = (
        generator.latent_size,
        generator.fingerprint_size,
        sum(h * w for h, w in generator.noise_shapes),
    )
    classes = num_classes(generator)

    def images_of(
        latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = make_images(generator, latents, codes, generator.split_noise(noise))
        return to_uint8(images), images

    given = (widths[0], code_size(generator), widths[2])
    signature = [tf.TensorSpec([None, width], tf.float32) for width in given]
    run = make_function(images_of, generator, execution, signature, devices)

    # Drawn by the number of the first image, so that no call depends on earlier ones.
    def codes(num_images: int, *stream: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, *stream])
        latents = rng.standard_normal([num_images, widths[0]], np.float32)
        return latents, rng.integers(0, 2, [num_images, widths[1]], np.uint8)

    def labels(num_images: int, first: int) -> np.ndarray:
        rng = np.random.default_rng([seed, first, _CLASSES])
        if real_labels is not None:
            return real_labels[rng.integers(0, len(real_labels), num_images)]
        found = np.zeros([num_images, classes], np.float32)
        found[np.arange(num_images), rng.integers(0, classes, num_images)] = 1
        return found

    def batch_of(latents: np.ndarray, bits: np.ndarray, first: int) -> GeneratedBatch:
        codes = bits
        if classes:
            codes = np.concatenate([bits.astype(np.float32), labels(len(latents), first)], axis=1)
        # Drawn here, because XLA would draw other numbers by the same seed.
        noise = tf.random.stateless_normal([len(latents), widths[2]], [seed, first])
        as_uint8, as_float = run(tf.constant(latents), tf.constant(codes, tf.float32), noise)
        return GeneratedBatch(as_uint8.numpy(), as_float.numpy(), bits)

    def generate(num_images: int, first: int) -> GeneratedBatch:
        return batch_of(*codes(num_images, first), first)

    def generate_pairs(num_images: int, first: int) -> GeneratedPairs:
        latents, bits = codes(num_images, first)
        other_latents, other_bits = codes(num_images, first, _COUNTERPARTS)
        return GeneratedPairs(
            other_fingerprint=batch_of(latents, other_bits, first),
            other_latent=batch_of(other_latents, bits, first),
        )

    return generate, generate_pairs


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
