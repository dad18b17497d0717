"""What the kernels shall compute, by definition, in NumPy and double precision.

Derivatives of activations are differences of their values, so that no formula of the kernels
stands here a second time.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_STEP = 1e-4  # of the differences: the error of second ones is about 1e-8


def activate(act: str, x: np.ndarray, alpha: float) -> np.ndarray:
    """An activation by its name, see `tools.kernels.launchers.ACTIVATIONS`."""
    match act:
        case "linear":
            return x
        case "relu":
            return np.maximum(x, 0)
        case "lrelu":
            return np.where(x >= 0, x, alpha * x)
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            return special.expit(x)
        case "elu":
            return np.where(x >= 0, x, np.expm1(np.minimum(x, 0)))
        case "selu":
            return _SELU_SCALE * np.where(x >= 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))
        case "softplus":
            return np.logaddexp(x, 0)
        case "swish":
            return x * special.expit(x)
    raise ValueError(act)


def bias_act(
    x: np.ndarray, act: str, order: int, alpha: float, gain: float, clamp: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """`clip(act(x) * gain, -clamp, clamp)` of x that holds the bias, or its derivative.

    Args:
        x: any shape.
        act, alpha, gain, clamp: as `dnnlib.tflib.ops.fused_bias_act.fused_bias_act`.
        order: of the derivative, 0 to 2; 0 is the value.

    Returns:
        The result, and where it is known: not within two steps of a kink.
    """

    def value(x: np.ndarray) -> np.ndarray:
        y = activate(act, x, alpha) * gain
        return y if clamp is None else np.clip(y, -clamp, clamp)

    if order == 0:
        return value(x), np.ones(x.shape, bool)
    low, middle, high = value(x - _STEP), value(x), value(x + _STEP)
    known = np.abs(x) > 2 * _STEP
    if clamp is not None:
        distance = np.abs(np.abs(activate(act, x, alpha) * gain) - clamp)
        known &= distance > 3 * _STEP * max(abs(gain), 1) * 2
    if order == 1:
        return (high - low) / (2 * _STEP), known
    return (high - 2 * middle + low) / _STEP**2, known


def upfirdn(
    x: np.ndarray,
    k: np.ndarray,
    up: Sequence[int],
    down: Sequence[int],
    pad0: Sequence[int],
    size: Sequence[int],
) -> np.ndarray:
    """Output o is the sum over taps t of flipped k[t] * line[o * down - pad0 + t], both ways.

    Pixel i lies at i * up of a line that is zero elsewhere.

    Args:
        x: [N,H,W,C].
        k: filter [kh,kw].
        up, down, pad0, size: of y, then of x; `size` is that of the result.
    """
    y = np.zeros([x.shape[0], *size, x.shape[3]])
    flipped = np.asarray(k, np.float64)[::-1, ::-1]
    lines = [_pixels(x.shape[1 + i], k.shape[i], up[i], down[i], pad0[i], size[i]) for i in (0, 1)]
    for i, j in np.ndindex(*k.shape):
        (rows, with_row), (columns, with_column) = lines[0][i], lines[1][j]
        met = (with_row[:, None] & with_column)[:, :, None]
        y += flipped[i, j] * np.where(met, x[:, rows][:, :, columns], 0)
    return y


def _pixels(
    length: int, taps: int, up: int, down: int, pad0: int, size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every tap the pixel that each output meets, and whether it meets one."""
    found = []
    for t in range(taps):
        place = np.arange(size) * down - pad0 + t
        pixel = place // up
        met = (place % up == 0) & (pixel >= 0) & (pixel < length)
        found.append((np.where(met, pixel, 0), met))
    return found
