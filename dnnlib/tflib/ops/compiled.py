"""The compiled operations and their gradients, for callers that asked `resolve_impl` before.

The derivative of `GanBiasAct` of order n is `GanBiasActGrad`, whose own is the one of order n + 1;
`GanUpfirdn` is linear and its gradient another `GanUpfirdn`. Both so differentiate any number of
times, in eager mode and in graphs.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib import op_library
from dnnlib.tflib.ops.activations import plain_bias_act
from dnnlib.tflib.shapes import unknown_to_dynamic

DTYPES = (tf.float32, tf.float16, tf.bfloat16)
MAX_TAPS = 32
_PIECEWISE_LINEAR = ("linear", "relu", "lrelu")
_KERNEL_ORDERS = 2  # derivatives that the kernel knows


def takes(impl: str, x: tf.Tensor, kernel: np.ndarray | None = None) -> bool:
    """Whether the compiled operations take these images and this filter.

    Raises:
        ValueError: they do not, and `impl` asks for them.
    """
    if x.dtype not in DTYPES:
        known = ", ".join(dtype.name for dtype in DTYPES)
        reason = f"dtype {x.dtype.name} is not one of {known}"
    elif kernel is not None and max(kernel.shape) > MAX_TAPS:
        reason = f"filter {kernel.shape} is larger than ({MAX_TAPS}, {MAX_TAPS})"
    else:
        return True
    if impl == "compiled":
        raise ValueError(f"impl='compiled': {reason}")
    return False


def _library() -> Any:
    return op_library.get_library(cuda=op_library.sees_gpu())


def fused_bias_act(
    x: tf.Tensor, b: tf.Tensor | None, act: str, alpha: float, gain: float, clamp: float | None
) -> tf.Tensor:
    """`clip(act(x + b) * gain, -clamp, clamp)` of x [..., C] and b [C] or None."""
    return _library().gan_bias_act(
        x=x,
        b=tf.zeros([0], x.dtype) if b is None else b,
        act=act,
        alpha=alpha,
        gain=gain,
        clamp=-1.0 if clamp is None else clamp,
    )


def _bias_act_derivative(
    order: int, g: tf.Tensor, x: tf.Tensor, b: tf.Tensor, attributes: dict[str, Any]
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """`g` times the derivative of this order, for x and, summed up, for b."""
    if order > 1 and attributes["act"] in _PIECEWISE_LINEAR:
        return None, None
    if order <= _KERNEL_ORDERS:
        dx = _library().gan_bias_act_grad(g=g, x=x, b=b, order=order, **attributes)
    else:
        dx = g * _plain_derivative(order, x, b, attributes)
    if b.shape == [0]:  # no bias
        return dx, None
    # In float: as many bfloat16 as an image has pixels do not add up in bfloat16. BiasAddGrad is
    # faster than tf.reduce_sum, and wants at least two dimensions.
    rows = tf.cast(dx if x.shape.rank != 1 else dx[tf.newaxis], tf.float32)
    return dx, tf.cast(tf.raw_ops.BiasAddGrad(out_backprop=rows), b.dtype)


def _plain_derivative(
    order: int, x: tf.Tensor, b: tf.Tensor, attributes: dict[str, Any]
) -> tf.Tensor:
    """Derivatives beyond those of the kernel, which no training needs, by TensorFlow."""
    clamp = attributes["clamp"]
    options = attributes | {"clamp": None if clamp < 0 else clamp}
    if order == 0:
        return plain_bias_act(x, None if b.shape == [0] else b, **options)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = _plain_derivative(order - 1, x, b, attributes)
    return tape.gradient(y, x, unconnected_gradients="zero")


def _attributes(op: Any) -> dict[str, Any]:
    act = op.get_attr("act")
    numbers = {name: op.get_attr(name) for name in ("alpha", "gain", "clamp")}
    return {"act": act.decode() if isinstance(act, bytes) else act, **numbers}


@tf.RegisterGradient("GanBiasAct")
def _bias_act_gradient(op: Any, g: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
    x, b = op.inputs
    return _bias_act_derivative(1, g, x, b, _attributes(op))


@tf.RegisterGradient("GanBiasActGrad")
def _bias_act_grad_gradient(op: Any, gg: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
    g, x, b = op.inputs
    attributes = _attributes(op)
    order = op.get_attr("order")
    dg = _library().gan_bias_act_grad(g=gg, x=x, b=b, order=order, **attributes)
    if attributes["act"] in _PIECEWISE_LINEAR:
        return dg, None, None
    return dg, *_bias_act_derivative(order + 1, gg * g, x, b, attributes)


def upfirdn_2d(
    x: tf.Tensor,
    kernel: np.ndarray,
    up: tuple[int, int],
    down: tuple[int, int],
    pady: tuple[int, int],
    padx: tuple[int, int],
) -> tf.Tensor:
    """As `upfirdn_2d.upfirdn_2d`; `up` and `down` are (y, x)."""
    height, width = unknown_to_dynamic(x)[1:3]
    kh, kw = kernel.shape
    size = [
        (height * up[0] + sum(pady) - kh) // down[0] + 1,
        (width * up[1] + sum(padx) - kw) // down[1] + 1,
    ]
    return _library().gan_upfirdn(
        x=x,
        size=tf.stack(size) if any(isinstance(n, tf.Tensor) for n in size) else size,
        k=kernel.ravel().tolist(),
        kh=kh,
        kw=kw,
        upy=up[0],
        upx=up[1],
        downy=down[0],
        downx=down[1],
        pady0=pady[0],
        padx0=padx[0],
    )


@tf.RegisterGradient("GanUpfirdn")
def _upfirdn_gradient(op: Any, g: tf.Tensor) -> tuple[tf.Tensor, None]:
    """The transposed operation: the filter flipped, `up` and `down` swapped."""
    x = op.inputs[0]
    kh, kw = op.get_attr("kh"), op.get_attr("kw")
    size = x.shape[1:3]
    dx = _library().gan_upfirdn(
        x=g,
        size=size.as_list() if size.is_fully_defined() else tf.shape(x)[1:3],
        k=op.get_attr("k")[::-1],
        kh=kh,
        kw=kw,
        upy=op.get_attr("downy"),
        upx=op.get_attr("downx"),
        downy=op.get_attr("upy"),
        downx=op.get_attr("upx"),
        pady0=kh - 1 - op.get_attr("pady0"),
        padx0=kw - 1 - op.get_attr("padx0"),
    )
    return dx, None
