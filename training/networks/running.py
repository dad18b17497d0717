"""`run` as scripts for the published code call it: NumPy in, NumPy out, images channels first.

What stands behind `Generator.run` and `PlainGenerator.run`. Commands use
`training.models.functions`, which compile what they run.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# A callable of float32 images [N,C,H,W], or one as "func" with its keywords.
OutputTransform = Callable[..., Any] | Mapping[str, Any]


def run_in_batches(
    function: Callable[..., tf.Tensor],
    inputs: Mapping[str, tuple[Any, int]],
    noise_shapes: Sequence[tuple[int, int]],
    *,
    minibatch_size: int | None,
    output_transform: OutputTransform | None,
    randomize_noise: bool,
    truncation_psi: float | None,
) -> np.ndarray:
    """Runs a generator over arrays, a minibatch at a time.

    Args:
        function: from tensors [n,...] and noise, a list of maps [n,h,w,1] or None, to images
            [n,H,W,C].
        inputs: by name, array and width: numbers [N,width], the same N, at least 1.
        noise_shapes: height and width of the maps.
        minibatch_size, output_transform, randomize_noise, truncation_psi: see `Generator.run`.

    Raises:
        ValueError: other shapes, a minibatch below 1, or no function to transform with.
    """
    arrays = [_checked(name, value, width) for name, (value, width) in inputs.items()]
    num_images = len(arrays[0])
    if any(len(array) != num_images for array in arrays):
        lengths = ", ".join(f"{name} {len(a)}" for name, a in zip(inputs, arrays, strict=True))
        raise ValueError(f"expected as many rows everywhere, got {lengths}")
    if minibatch_size is not None and minibatch_size < 1:
        raise ValueError(f"minibatch_size={minibatch_size}: expected at least 1")
    if truncation_psi is not None:
        warnings.warn(
            "truncation_psi has no effect: these networks have no truncation", stacklevel=3
        )
    transform = _transform(output_transform)
    rng = np.random.default_rng()
    step = minibatch_size or num_images
    results = []
    for start in range(0, num_images, step):
        parts = [tf.constant(array[start : start + step]) for array in arrays]
        noise = None
        if randomize_noise:
            noise = [
                tf.constant(rng.standard_normal([len(parts[0]), h, w, 1], np.float32))
                for h, w in noise_shapes
            ]
        images = function(*parts, noise)
        results.append(np.asarray(transform(tf.transpose(images, [0, 3, 1, 2]))))
    return np.concatenate(results)


def _checked(name: str, value: Any, width: int) -> np.ndarray:
    """`value` as float32 [N,width]."""
    array = np.asarray(value)
    fits = array.ndim == 2 and array.shape[1] == width and len(array) > 0
    if not fits or array.dtype.kind not in "biuf":
        raise ValueError(
            f"expected {name} of shape [N,{width}], N at least 1, got {array.dtype} {array.shape}"
        )
    return array.astype(np.float32)


def _transform(given: OutputTransform | None) -> Callable[[tf.Tensor], Any]:
    if given is None:
        return lambda images: images
    if callable(given):
        return given
    if not isinstance(given, Mapping) or not callable(given.get("func")):
        raise ValueError("output_transform: expected a function, or a dict with one as 'func'")
    keywords = {name: value for name, value in given.items() if name != "func"}
    function = given["func"]
    return lambda images: function(images, **keywords)
