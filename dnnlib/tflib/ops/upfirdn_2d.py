"""Resampling with FIR filters: upsample, filter, downsample (StyleGAN2, arXiv 1912.04958).

All functions take images as [N,H,W,C] and are differentiable any number of times.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dnnlib.tflib.impl import resolve_impl
from dnnlib.tflib.ops import compiled
from dnnlib.tflib.shapes import unknown_to_dynamic

Filter = Sequence[float] | np.ndarray


def setup_filter(k: Filter | None, factor: int = 1, gain: float = 1.0) -> np.ndarray:
    """A 1-D or 2-D filter as a 2-D float32 array that sums to `gain`; None is a box of `factor`.

    A 1-D filter is taken as separable: its outer product with itself.
    """
    array = np.ones(factor) if k is None else np.asarray(k, np.float64)
    if array.ndim == 1:
        array = np.outer(array, array)
    if array.ndim != 2:
        raise ValueError(f"filter of shape {array.shape}: expected one or two dimensions")
    return (array * (gain / np.sum(array))).astype(np.float32)


def upfirdn_2d(
    x: tf.Tensor,
    k: Filter,
    *,
    upx: int = 1,
    upy: int = 1,
    downx: int = 1,
    downy: int = 1,
    padx0: int = 0,
    padx1: int = 0,
    pady0: int = 0,
    pady1: int = 0,
    impl: str = "auto",
) -> tf.Tensor:
    """Inserts zeros, pads, filters (a true convolution) and keeps every `down`-th pixel.

    Args:
        x: images [N,H,W,C].
        k: filter [kh,kw]; constant.
        upx, upy: each pixel is followed by `up - 1` zeros.
        downx, downy: step between the pixels that are kept.
        padx0, padx1, pady0, pady1: zeros added left, right, top, bottom; negative values crop.
        impl: "auto", "reference" or "compiled", see `dnnlib.tflib.impl`; "auto" takes the plain
            operations where the compiled one does not fit (float64, filters beyond 32x32).

    Returns:
        [N,H',W',C] with H' = (H*upy + pady0 + pady1 - kh) // downy + 1, W' likewise.

    Raises:
        ValueError: unknown `impl`, factors below 1, a filter larger than the padded image, or
            "compiled" where it does not fit.
        UserError: "compiled", and the library cannot be compiled or loaded.
    """
    resolved = resolve_impl(impl)
    kernel = np.asarray(k, np.float32)
    if x.shape.rank != 4 or kernel.ndim != 2:
        raise ValueError(f"images {x.shape} and filter {kernel.shape}: expected 4 and 2 dimensions")
    if min(upx, upy, downx, downy) < 1:
        raise ValueError("upsampling and downsampling factors must be at least 1")
    for axis, up, pad, taps in (
        (1, upy, pady0 + pady1, kernel.shape[0]),
        (2, upx, padx0 + padx1, kernel.shape[1]),
    ):
        size = x.shape[axis]
        if size is not None and size * up + pad < taps:
            raise ValueError(f"filter {kernel.shape} is larger than the padded image {x.shape}")
    if resolved == "compiled" and compiled.takes(impl, x, kernel):
        pady, padx = (pady0, pady1), (padx0, padx1)
        return compiled.upfirdn_2d(x, kernel, (upy, upx), (downy, downx), pady, padx)
    factors = separate(kernel)
    if factors is not None:
        column, row = factors
        x = _fir(x, column, axis=1, up=upy, down=downy, pad0=pady0, pad1=pady1)
        return _fir(x, row, axis=2, up=upx, down=downx, pad0=padx0, pad1=padx1)
    x = pad_lines(_insert_zeros(x, 1, upy), 1, pady0, pady1)
    x = pad_lines(_insert_zeros(x, 2, upx), 2, padx0, padx1)
    height, width = unknown_to_dynamic(x)[1:3]
    rows = []
    for i, line in enumerate(kernel[::-1]):
        shifted = x[:, i : height - kernel.shape[0] + i + 1 : downy]
        rows.append(_taps(shifted, line[::-1], 2, downx, width))
    return tf.add_n(rows)


def resample(
    x: tf.Tensor,
    kernel: np.ndarray,
    pads: Sequence[tuple[int, int]],
    *,
    up: int = 1,
    down: int = 1,
    impl: str = "auto",
) -> tf.Tensor:
    """`upfirdn_2d` with the same factors both ways; `pads` are those of y, then those of x."""
    (pady0, pady1), (padx0, padx1) = pads
    return upfirdn_2d(
        x, kernel, upx=up, upy=up, downx=down, downy=down,
        padx0=padx0, padx1=padx1, pady0=pady0, pady1=pady1, impl=impl,
    )  # fmt: skip


def separate(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Column and row whose outer product is `kernel`, or None when there are none."""
    i, j = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
    if kernel[i, j] == 0:
        return kernel[:, 0], kernel[0]
    column, row = kernel[:, j] / kernel[i, j], kernel[i]
    if np.abs(np.outer(column, row) - kernel).max() > 1e-6 * np.abs(kernel).max():
        return None
    return column, row


def _fir(
    x: tf.Tensor, taps: np.ndarray, *, axis: int, up: int, down: int, pad0: int, pad1: int
) -> tf.Tensor:
    """One-dimensional upfirdn along `axis`."""
    if up > 1 and down == 1:
        return _fir_up(x, taps, axis, up, pad0, pad1)
    x = pad_lines(_insert_zeros(x, axis, up), axis, pad0, pad1)
    return _taps(x, taps[::-1], axis, down, unknown_to_dynamic(x)[axis])


def _fir_up(x: tf.Tensor, taps: np.ndarray, axis: int, up: int, pad0: int, pad1: int) -> tf.Tensor:
    """Upsampling without touching the inserted zeros: one short filter per output phase.

    Output i reads the zero-inserted, padded signal at i..i+k-1; position j holds a pixel where
    j - pad0 is a multiple of `up`, so that each of the `up` phases of i meets every up-th tap.
    """
    size = unknown_to_dynamic(x)[axis]
    flipped = taps[::-1]
    length = size * up + pad0 + pad1 - len(taps) + 1
    phases = -(-length // up)  # outputs per phase, rounded up
    # Pixel index of tap t at output i = phase + up*m:  (phase + t - pad0) / up + m.
    chosen = []
    for phase in range(up):
        chosen.append(
            [
                ((phase + t - pad0) // up, flipped[t])
                for t in range(len(taps))
                if (phase + t - pad0) % up == 0
            ]
        )
    offsets = [offset for met in chosen for offset, _ in met]
    before = max(0, -min(offsets, default=0))
    last = max(offsets, default=0)
    after = last + phases - size
    after = tf.maximum(after, 0) if isinstance(after, tf.Tensor) else max(0, after)
    padded = pad_lines(x, axis, before, after)
    outputs = []
    for met in chosen:
        terms = [
            _slice(padded, axis, offset + before, phases) * tf.cast(tap, x.dtype)
            for offset, tap in met
        ]
        zeros = tf.zeros_like(_slice(padded, axis, 0, phases))
        outputs.append(tf.add_n(terms) if terms else zeros)
    interleaved = tf.stack(outputs, axis=axis + 1)
    shape = unknown_to_dynamic(x)
    shape[axis] = phases * up
    return _slice(tf.reshape(interleaved, shape), axis, 0, length)


def _taps(x: tf.Tensor, taps: np.ndarray, axis: int, down: int, size: int | tf.Tensor) -> tf.Tensor:
    """Correlates with `taps` along `axis` and keeps every `down`-th result."""
    terms = []
    for t, tap in enumerate(taps):
        index = [slice(None)] * 4
        index[axis] = slice(t, size - len(taps) + t + 1, down)
        terms.append(x[tuple(index)] * tf.cast(tap, x.dtype))
    return tf.add_n(terms)


def _slice(x: tf.Tensor, axis: int, begin: int, size: int | tf.Tensor) -> tf.Tensor:
    index = [slice(None)] * 4
    index[axis] = slice(begin, begin + size)
    return x[tuple(index)]


def _insert_zeros(x: tf.Tensor, axis: int, up: int) -> tf.Tensor:
    """Follows every pixel along `axis` by `up - 1` zeros."""
    if up == 1:
        return x
    shape = unknown_to_dynamic(x)
    paddings = [[0, 0]] * 5
    paddings[axis + 1] = [0, up - 1]
    x = tf.pad(tf.expand_dims(x, axis + 1), paddings)
    shape[axis] = shape[axis] * up
    return tf.reshape(x, shape)


def pad_lines(x: tf.Tensor, axis: int, before: int, after: int | tf.Tensor) -> tf.Tensor:
    """Pads with zeros along `axis`; negative amounts crop."""
    if isinstance(after, int) and before == 0 and after == 0:
        return x
    if before < 0 or (isinstance(after, int) and after < 0):
        begin = max(-before, 0)
        size = unknown_to_dynamic(x)[axis]
        x = _slice(x, axis, begin, size - begin - max(-int(after), 0))
        before, after = max(before, 0), max(int(after), 0)
    paddings = [[0, 0]] * 4
    paddings[axis] = [before, after]
    return tf.pad(x, paddings)


def upsample_2d(
    x: tf.Tensor,
    k: Filter | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
    impl: str = "auto",
) -> tf.Tensor:
    """Enlarges images [N,H,W,C] to [N,H*factor,W*factor,C]; `k` None repeats pixels."""
    kernel = setup_filter(k, factor, gain * factor**2)
    pads = [((n - factor + 1) // 2 + factor - 1, (n - factor) // 2) for n in kernel.shape]
    return resample(x, kernel, pads, up=factor, impl=impl)


def downsample_2d(
    x: tf.Tensor,
    k: Filter | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
    impl: str = "auto",
) -> tf.Tensor:
    """Shrinks images [N,H,W,C] to [N,H/factor,W/factor,C]; `k` None averages pixels."""
    kernel = setup_filter(k, factor, gain)
    pads = [((n - factor + 1) // 2, (n - factor) // 2) for n in kernel.shape]
    return resample(x, kernel, pads, down=factor, impl=impl)
