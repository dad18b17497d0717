"""`Gs.run` as the published code has it: NumPy in, NumPy out, images channels first."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

OutputTransform = Mapping[str, Any] | Callable[[np.ndarray], np.ndarray] | None


def convert_images_to_uint8(
    images: np.ndarray, drange: tuple[float, float] = (-1, 1), nchw_to_nhwc: bool = False
) -> np.ndarray:
    """Generated images as pixels: truncate(clip(127.5 * x + 128, 0, 255)) for values in [-1,1].

    Args:
        images: [N,C,H,W].
        drange: the values that become 0 and 255.
        nchw_to_nhwc: give [N,H,W,C] back.
    """
    scale = 255 / (drange[1] - drange[0])
    values = images * np.float32(scale) + np.float32(0.5 - drange[0] * scale)
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1) if nchw_to_nhwc else pixels


def run_generator(
    images_of: Callable[[tf.Tensor, tf.Tensor, list[tf.Tensor] | None], tf.Tensor],
    latents: np.ndarray,
    fingerprints: np.ndarray,
    *,
    noise_shapes: list[tuple[int, int]],
    minibatch_size: int | None,
    randomize_noise: bool,
    output_transform: OutputTransform,
) -> np.ndarray:
    """Runs a generator on arrays, a minibatch at a time; see `Generator.run`."""
    results = []
    step = minibatch_size or max(len(latents), 1)
    for begin in range(0, len(latents), step):
        part = slice(begin, begin + step)
        z = tf.constant(latents[part], tf.float32)
        noise = None
        if randomize_noise:
            noise = [tf.random.normal([len(z), h, w, 1]) for h, w in noise_shapes]
        images = images_of(z, tf.constant(fingerprints[part], tf.float32), noise).numpy()
        results.append(_transformed(images.transpose(0, 3, 1, 2), output_transform))
    return np.concatenate(results)


def _transformed(images: np.ndarray, transform: OutputTransform) -> np.ndarray:
    if transform is None:
        return images
    if callable(transform):
        return transform(images)
    arguments = dict(transform)
    function = arguments.pop("func")
    return np.asarray(function(images, **arguments))
