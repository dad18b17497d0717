"""The activations, and bias, activation, gain and clamp in plain TensorFlow."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


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


def plain_bias_act(
    x: tf.Tensor,
    b: tf.Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
    *,
    for_xla: bool = False,
) -> tf.Tensor:
    """`clip(act(x + b) * gain, -clamp, clamp)` of x [...,C] and b [C] or None.

    `for_xla` chooses the form that is fastest once XLA has compiled it for a CPU.
    """
    if b is not None:
        x = _add_bias(x, b) if for_xla else x + b
    x = ACTIVATIONS[act].function(x, alpha)
    if gain != 1:
        x = x * tf.cast(gain, x.dtype)
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
