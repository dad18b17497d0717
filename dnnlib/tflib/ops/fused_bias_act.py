"""Bias, activation, gain and clamp in one call (StyleGAN2, arXiv 1912.04958, appendix B)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from dnnlib.tflib.ops.impl import resolve_impl


@dataclass(frozen=True)
class Activation:
    """An activation with the slope and the gain that it has when none are given."""

    function: Callable[[tf.Tensor, float], tf.Tensor]
    alpha: float = 0.0  # negative slope, where the activation has one
    gain: float = 1.0  # keeps the variance of normal inputs near 1


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x, alpha: x),
    "relu": Activation(lambda x, alpha: tf.nn.relu(x), gain=math.sqrt(2)),
    "lrelu": Activation(
        lambda x, alpha: tf.where(x >= 0, x, x * tf.cast(alpha, x.dtype)), 0.2, math.sqrt(2)
    ),
    "tanh": Activation(lambda x, alpha: tf.tanh(x)),
    "sigmoid": Activation(lambda x, alpha: tf.sigmoid(x)),
    "elu": Activation(lambda x, alpha: tf.nn.elu(x)),
    "selu": Activation(lambda x, alpha: tf.nn.selu(x)),
    "softplus": Activation(lambda x, alpha: tf.nn.softplus(x)),
    "swish": Activation(lambda x, alpha: x * tf.sigmoid(x), gain=math.sqrt(2)),
}


def fused_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None = None,
    *,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "auto",
) -> tf.Tensor:
    """Computes `clip(act(x + b) * gain, -clamp, clamp)`; differentiable any number of times.

    Args:
        x: activations, channels last: [..., C], any floating dtype.
        b: bias [C] of the same dtype, or None.
        act: one of `ACTIVATIONS`.
        alpha: negative slope of `lrelu`; None takes the activation's own.
        gain: factor behind the activation; None takes the activation's own.
        clamp: largest magnitude of the result; None leaves it unbounded.
        impl: see `dnnlib.tflib.ops.impl`; "auto" takes the plain
            operations for a dtype that the compiled one lacks (float64).

    Returns:
        A tensor of the shape and dtype of `x`.

    Raises:
        ValueError: unknown `act` or `impl`, a bias that does not fit, a negative `clamp`, or
            "compiled" with a dtype that it lacks.
        UserError: "compiled", and the library cannot be compiled or loaded.
    """
    resolved = resolve_impl(impl)
    if act not in ACTIVATIONS:
        raise ValueError(f"act={act!r}: expected one of {', '.join(ACTIVATIONS)}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp={clamp}: expected a value >= 0 or None")
    spec = ACTIVATIONS[act]
    if b is not None and (b.shape.rank != 1 or not x.shape[-1:].is_compatible_with(b.shape)):
        raise ValueError(f"bias {b.shape} does not fit the last dimension of {x.shape}")
    alpha = spec.alpha if alpha is None else alpha
    factor = spec.gain if gain is None else gain
    if resolved == "compiled":
        from dnnlib.tflib.ops import compiled

        if compiled.takes(impl, x):
            return compiled.fused_bias_act(x, b, act, alpha, factor, clamp)
    if b is not None:
        x = _add_bias(x, b) if resolved == "xla" else x + b
    x = spec.function(x, alpha)
    if factor != 1:
        x = x * tf.cast(factor, x.dtype)
    if clamp is not None:
        limit = tf.cast(clamp, x.dtype)
        x = tf.clip_by_value(x, -limit, limit)
    return x


@tf.custom_gradient
def _add_bias(x: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """x + b, whose gradient for b is a matrix product: XLA adds up long columns slowly on a CPU."""

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.reshape(dy, [-1, dy.shape[-1]])
        return dy, tf.reshape(tf.matmul(tf.ones_like(rows[:, :1]), rows, transpose_a=True), [-1])

    return x + b, gradient
