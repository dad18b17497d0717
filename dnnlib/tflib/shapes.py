"""Checks of tensor shapes on entry to public functions."""

from collections.abc import Sequence

import tensorflow as tf


def check_shape(tensor: tf.Tensor, expected: Sequence[int | None], what: str = "input") -> None:
    """Raises ValueError unless the static shape of `tensor` fits `expected` (None: any size)."""
    if not tensor.shape.is_compatible_with(tf.TensorShape(expected)):
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"{what}: expected shape [{wanted}], got {tensor.shape}")


def unknown_to_dynamic(tensor: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape of `tensor` as integers, with scalar tensors where it is not known statically."""
    dynamic = tf.shape(tensor)
    return [
        dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape.as_list())
    ]
