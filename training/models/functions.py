"""Networks as plain functions on NumPy arrays: decode images, generate images by seed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from dnnlib.tflib.devices import Devices
from dnnlib.tflib.execution import PLAIN, Execution
from training.models.seeds import GeneratorInputs, sample_by_seed
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.networks.layers import Network
from training.networks.plain_generator import PlainGenerator
from training.networks.stylegan2 import LatentSynthesizer
from training.networks.table import AnyGenerator

NOISE_MODES = ("random", "const", "none")


def make_function(
    function: Callable[..., Any],
    network: Network,
    execution: Execution,
    signature: Sequence[Any],
    devices: Devices | None = None,
) -> Callable[..., Any]:
    """A tf.function whose network runs as `execution` says, on all devices together.

    XLA compiles for every batch size anew (see `fill_batch`); otherwise it is traced once.

    Args:
        function: from tensors [N,...] to tensors [N,...], row by row; calls `network`.
        network: read at every call, also when its weights have changed.
        execution: how to run.
        signature: of the arguments, the batch size None.
        devices: those under whose strategy the network was made; the rows are shared out among
            them, and with several workers all have to call at once. None: one device.
    """

    def run(*inputs: Any) -> Any:
        with network.running_with(execution.impl, execution.precision):
            return function(*inputs)

    signature_or_none = None if execution.jit else signature
    compiled = tf.function(
        run, input_signature=signature_or_none, jit_compile=execution.jit, autograph=False
    )
    return compiled if devices is None else devices.spread(compiled, signature_or_none)


def fill_batch(values: np.ndarray, minibatch: int | None, execution: Execution) -> np.ndarray:
    """Repeats the last of the values [N,...] up to [minibatch,...] where another size would be
    compiled anew; elsewhere, and if there are as many, they are returned as they are."""
    missing = (minibatch or 0) - len(values)
    if not execution.jit or missing <= 0:
        return values
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])


def make_decoder(
    decoder: Decoder,
    minibatch: int = 16,
    execution: Execution = PLAIN,
    devices: Devices | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Wraps a decoder network: decode(uint8 images [N,H,W,C]) -> float32 logits [N,B].

    Any N will do, also 0; `minibatch` images are decoded at a time. What XLA compiles always
    decodes as many, so no more than will ever come should be asked for. `devices`: see
    `make_function`.

    Raises (by decode):
        ValueError: the images are not uint8 or not of the network's size and channels.
    """
    shape = (decoder.resolution, decoder.resolution, decoder.num_channels)

    def logits_of(images: tf.Tensor) -> tf.Tensor:
        _, logits = decoder(centred(tf.cast(images, tf.float32)))
        return logits  # [N,B]

    signature = [tf.TensorSpec([None, *shape], tf.uint8)]
    run = make_function(logits_of, decoder, execution, signature, devices)

    def decode(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            raise ValueError(f"expected uint8 [N,*{shape}], got {images.dtype} {images.shape}")
        logits = np.empty([len(images), decoder.fingerprint_size], dtype=np.float32)
        for start in range(0, len(images), minibatch):
            part = images[start : start + minibatch]
            found = run(tf.constant(fill_batch(part, minibatch, execution))).numpy()
            logits[start : start + len(part)] = found[: len(part)]
        return logits

    return decode


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """Generated images, floats about [-1,1], to uint8: truncate(clip(127.5 * x + 128, 0, 255))."""
    return tf.cast(tf.clip_by_value(127.5 * images + 128.0, 0.0, 255.0), tf.uint8)


def convert_images_to_uint8(
    images: Any, drange: Sequence[float] = (-1, 1), nchw_to_nhwc: bool = False, shrink: int = 1
) -> tf.Tensor:
    """The published function of this name, for `Generator.run(output_transform=...)`.

    Args:
        images: floats [N,C,H,W].
        drange: the values that become 0 and 255.
        nchw_to_nhwc: give [N,H,W,C].
        shrink: take the mean of so many by so many pixels, in floats.

    Returns:
        uint8, as `to_uint8` rounds.

    Raises:
        ValueError: not four dimensions, a size that `shrink` does not divide, an empty range.
    """
    images = tf.cast(images, tf.float32)
    low, high = drange
    if images.shape.rank != 4 or not high > low:
        raise ValueError(f"expected images [N,C,H,W] and a range, got {images.shape}, {drange}")
    n, c, h, w = images.shape
    if shrink < 1 or h % shrink or w % shrink:
        raise ValueError(f"shrink={shrink} does not divide {h}x{w} pixels")
    if shrink > 1:
        cells = tf.reshape(images, [n, c, h // shrink, shrink, w // shrink, shrink])
        images = tf.reduce_mean(cells, axis=[3, 5])
    if nchw_to_nhwc:
        images = tf.transpose(images, [0, 2, 3, 1])
    scale = 255 / (high - low)
    return tf.cast(tf.clip_by_value(images * scale + (0.5 - low * scale), 0.0, 255.0), tf.uint8)


def num_classes(generator: AnyGenerator) -> int:
    """Classes of a generator, 0 where it knows none."""
    return generator.label_size


def code_size(generator: AnyGenerator) -> int:
    """Width of what `make_images` takes beside latents: bits, then classes."""
    return generator.fingerprint_size + num_classes(generator)


def split_codes(generator: AnyGenerator, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """[N,`code_size`] -> bits [N,B], and labels [N,C], None where there are no classes."""
    if not generator.label_size:
        return codes, None
    bits, labels = tf.split(codes, [generator.fingerprint_size, generator.label_size], axis=1)
    return bits, labels


def make_images(
    generator: AnyGenerator,
    latents: tf.Tensor,
    codes: tf.Tensor,
    noise: Sequence[tf.Tensor],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> tf.Tensor:
    """Images of a generator of any class, [N,H,W,C] around [-1,1].

    Args:
        latents: [N,Z].
        codes: [N,`code_size`]: bits as 0/1 floats, then one-hot labels; each where the generator
            takes some. A `PlainGenerator` carries its own fingerprint and leaves that given alone.
        noise: maps [N,h,w,1].
        truncation_psi, truncation_cutoff: of StyleGAN2, see there; those without have none.
    """
    bits, labels = split_codes(generator, codes)
    options: dict[str, Any] = {"labels": labels, "noise": noise}
    if isinstance(generator, PlainGenerator):
        return generator(latents, **options)
    if isinstance(generator, Generator):
        return generator(latents, bits, **options)
    options |= {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    if isinstance(generator, AdoptedGenerator):
        return generator(latents, bits, **options)
    return generator(latents, **options)


def make_generator(
    generator: AnyGenerator,
    minibatch: int | None = None,
    execution: Execution = PLAIN,
    devices: Devices | None = None,
    **truncation: Any,
) -> Callable[[GeneratorInputs], np.ndarray]:
    """Wraps a generator network: generate(inputs of N images) -> uint8 [N,H,W,C], any N.

    `truncation` and what each class takes of the inputs: see `make_images`.

    What XLA compiles always makes at least `minibatch` images, so that a smaller last batch needs
    no program of its own. `devices`: see `make_function`.
    """
    noise = [tf.TensorSpec([None, h, w, 1], tf.float32) for h, w in generator.noise_shapes]
    signature = [
        tf.TensorSpec([None, generator.latent_size], tf.float32),
        tf.TensorSpec([None, code_size(generator)], tf.float32),
        noise,
    ]

    def images_of(latents: tf.Tensor, codes: tf.Tensor, noise: list[tf.Tensor]) -> tf.Tensor:
        return to_uint8(make_images(generator, latents, codes, noise, **truncation))

    run = make_function(images_of, generator, execution, signature, devices)

    def generate(inputs: GeneratorInputs) -> np.ndarray:
        def fill(values: np.ndarray) -> tf.Tensor:
            return tf.constant(fill_batch(values, minibatch, execution))

        codes = np.concatenate([inputs.fingerprints.astype(np.float32), inputs.labels], axis=1)
        images = run(fill(inputs.latents), fill(codes), [fill(maps) for maps in inputs.noise])
        return images.numpy()[: len(inputs.seeds)]

    return generate


def inputs_by_seed(
    generator: AnyGenerator,
    seeds: Sequence[int],
    *,
    noise_mode: str | None = None,
    class_index: int | None = None,
    **choices: Any,
) -> Iterator[GeneratorInputs]:
    """`sample_by_seed` with the sizes of a generator.

    Args:
        generator: of any class.
        seeds: at least one.
        noise_mode: `random`, drawn by seed; `const`, the stored maps; `none`, zeros; None: as users
            of the generator's file know it.
        class_index: of a generator with classes, which needs one; None elsewhere.
        choices: the other arguments of `sample_by_seed`.

    Raises:
        ValueError: a class that there is not, or none where there are some.
    """
    label = one_hot(generator.label_size, class_index)
    if noise_mode is None and isinstance(generator, LatentSynthesizer):
        noise_mode = "const" if generator.config.stored_noise else None
    fixed = None
    if noise_mode == "const":
        fixed = [maps.numpy() for maps in generator.synthesis.stored_noise()]
    elif noise_mode == "none":
        fixed = [np.zeros([1, h, w, 1], np.float32) for h, w in generator.noise_shapes]
    return sample_by_seed(
        seeds,
        latent_size=generator.latent_size,
        fingerprint_size=generator.fingerprint_size,
        noise_shapes=generator.noise_shapes,
        label=label,
        fixed_noise=fixed,
        bits_last=isinstance(generator, AdoptedGenerator),
        **choices,
    )


def inputs_of_all_classes(
    generator: AnyGenerator, seeds: Sequence[int], minibatch: int
) -> Iterator[GeneratorInputs]:
    """`inputs_by_seed`, in batches; where there are classes, one after the other has a batch."""
    classes = num_classes(generator)
    for number, start in enumerate(range(0, len(seeds), minibatch)):
        yield from inputs_by_seed(
            generator,
            seeds[start : start + minibatch],
            class_index=number % classes if classes else None,
            minibatch=minibatch,
        )


def one_hot(label_size: int, class_index: int | None) -> np.ndarray:
    """The label of a class, float32 [C]; [0] where there are no classes.

    Raises:
        ValueError: no such class, or none is named where there are some.
    """
    label = np.zeros([label_size], np.float32)
    if (class_index is None) != (label_size == 0):
        raise ValueError(f"class {class_index} of a network with {label_size} classes")
    if class_index is not None:
        if not 0 <= class_index < label_size:
            raise ValueError(f"class {class_index} of a network with {label_size} classes")
        label[class_index] = 1
    return label


def images_by_seed(
    generator: AnyGenerator,
    seeds: Sequence[int],
    fingerprint: np.ndarray | None = None,
    *,
    minibatch: int = 16,
    execution: Execution = PLAIN,
    class_index: int | None = None,
) -> np.ndarray:
    """The pictures that `generate-images` makes of these seeds: uint8 [N,H,W,C].

    Args:
        generator: of a snapshot, or an instance.
        seeds: at least one, 0 to 2**32 - 1.
        fingerprint: [B] of 0 and 1, that all carry; None: drawn by seed. An instance has its own.
        minibatch: images at a time.
        execution: how the network runs.
        class_index: see `inputs_by_seed`.
    """
    generate = make_generator(generator, min(minibatch, len(seeds)), execution)
    batches = inputs_by_seed(
        generator, seeds, fingerprint=fingerprint, class_index=class_index, minibatch=minibatch
    )
    return np.concatenate([generate(inputs) for inputs in batches])
