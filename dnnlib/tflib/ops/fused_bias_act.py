"""Bias, activation, gain and clamp in one call (StyleGAN2, arXiv 1912.04958, appendix B)."""

import tensorflow as tf

from dnnlib.tflib.impl import resolve_impl
from dnnlib.tflib.ops import compiled
from dnnlib.tflib.ops.activations import ACTIVATIONS, plain_bias_act


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
        impl: see `dnnlib.tflib.impl`; "auto" takes the plain
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
    if resolved == "compiled" and compiled.takes(impl, x):
        return compiled.fused_bias_act(x, b, act, alpha, factor, clamp)
    return plain_bias_act(x, b, act, alpha, factor, clamp, for_xla=resolved == "xla")
