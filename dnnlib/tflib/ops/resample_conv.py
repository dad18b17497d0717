"""Convolutions that change the resolution by 2, smoothed by a FIR filter (arXiv 1912.04958)."""

import numpy as np
import tensorflow as tf

from dnnlib.tflib.impl import check_impl
from dnnlib.tflib.ops import phases, winograd
from dnnlib.tflib.ops.upfirdn_2d import Filter, resample, setup_filter
from dnnlib.tflib.shapes import unknown_to_dynamic


def conv_2d(x: tf.Tensor, w: tf.Tensor, *, impl: str = "auto") -> tf.Tensor:
    """Correlates [N,H,W,I] with [k,k,I,O], stride 1, zero padding: [N,H,W,O].

    Raises:
        ValueError: an unknown `impl`.
    """
    check_impl(impl)
    if impl == "xla" and winograd.pays(x, w):
        return winograd.conv3x3(x, w)
    return _conv(x, w, padding="SAME")


def upsample_conv_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Filter | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
    impl: str = "auto",
) -> tf.Tensor:
    """Transposed convolution with stride `factor`, then the FIR filter `k`.

    Args:
        x: [N,H,W,I].
        w: weights [kh,kw,I,O], kh = kw.
        k: filter, normalised to sum `gain * factor**2`; None is a box.
        factor: enlargement.
        gain: factor of the result.
        impl: see `dnnlib.tflib.impl`.

    Returns:
        [N,H*2,W*2,O] for factor 2; the published pads make others `factor - 2` pixels smaller than
        H*factor, W*factor.
    """
    taps = _check_weights(x, w)
    kernel = setup_filter(k, factor, gain * factor**2)
    pads = []
    for n in kernel.shape:
        total = (n - factor) - (taps - 1)
        pads.append(((total + 1) // 2 + factor - 1, total // 2 + 1))
    if impl == "xla" and phases.pays(x, w, kernel, factor):
        return phases.upsample_conv3x3(x, w, kernel)
    if factor == 2 and taps == 3:
        x = _transposed_conv3x3(x, w)
    else:
        n, height, width, _ = unknown_to_dynamic(x)
        shape = [n, (height - 1) * factor + taps, (width - 1) * factor + taps, w.shape[3]]
        x = tf.nn.conv2d_transpose(
            x,
            winograd.transposed_filter(w),
            output_shape=tf.stack(shape),
            strides=factor,
            padding="VALID",
        )
    return resample(x, kernel, pads, impl=impl)


def _transposed_conv3x3(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """3x3 correlation of the zero-inserted image, full padding: [N,H,W,I] -> [N,2H+1,2W+1,O].

    As one 2x2 convolution with four times the channels, one group per output phase: neither the
    forward nor the backward pass then meets an inserted zero, and all are plain convolutions.
    With zero insertion x'[2i] = x[i], output p reads x' at p-2..p: an even p = 2m meets the pixels
    m-1 and m through the taps 0 and 2, an odd p = 2m+1 only the pixel m, through tap 1.
    """
    _, _, fan_in, fan_out = w.shape
    zero = tf.zeros_like(w[:1])
    even, odd = tf.stack([w[0], w[2]]), tf.concat([zero, w[1:2]], 0)  # [2,3,I,O]

    def columns(v: tf.Tensor) -> list[tf.Tensor]:
        return [
            tf.stack([v[:, 0], v[:, 2]], axis=1),
            tf.stack([tf.zeros_like(v[:, 1]), v[:, 1]], axis=1),
        ]

    taps = tf.stack([*columns(even), *columns(odd)], axis=3)  # [2,2,I,4,O]
    taps = tf.reshape(taps, [2, 2, fan_in, 4 * fan_out])
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    y = _conv(x, taps)  # [N,H+1,W+1,4*O]
    y = tf.nn.depth_to_space(y, 2)  # [N,2H+2,2W+2,O]; the last row and column are zeros
    return y[:, :-1, :-1]


def conv_downsample_2d(
    x: tf.Tensor,
    w: tf.Tensor,
    k: Filter | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
    impl: str = "auto",
) -> tf.Tensor:
    """FIR filter `k`, normalised to sum `gain`, then a convolution with stride `factor`.

    The arguments are those of `upsample_conv_2d`; `factor` is the reduction.

    Returns:
        [N,H/factor,W/factor,O].
    """
    taps = _check_weights(x, w)
    kernel = setup_filter(k, factor, gain)
    pads = []
    for n in kernel.shape:
        total = (n - factor) + (taps - 1)
        pads.append(((total + 1) // 2, total // 2))
    if impl == "xla" and phases.pays(x, w, kernel, factor):
        return phases.conv3x3_downsample(x, w, kernel)
    if taps == 1:  # filtering and 1x1 convolution commute with dropping pixels
        return _conv(resample(x, kernel, pads, down=factor, impl=impl), w)
    return _conv(resample(x, kernel, pads, impl=impl), w, stride=factor)


def _conv(x: tf.Tensor, w: tf.Tensor, *, stride: int = 1, padding: str = "VALID") -> tf.Tensor:
    """`tf.nn.conv2d`, whose oneDNN version gives the result of no images a wrong shape."""
    y = tf.nn.conv2d(x, w, strides=stride, padding=padding)
    if x.shape[0]:
        return y
    n, height, width, _ = unknown_to_dynamic(x)
    if padding == "VALID":
        height = (height - w.shape[0]) // stride + 1
        width = (width - w.shape[1]) // stride + 1
    return tf.reshape(y, [n, height, width, w.shape[3]])


def _check_weights(x: tf.Tensor, w: tf.Tensor) -> int:
    """Returns the side of the square kernel; ValueError when the shapes do not fit."""
    if x.shape.rank != 4 or w.shape.rank != 4 or w.shape[0] != w.shape[1]:
        raise ValueError(f"images {x.shape} and weights {w.shape}: expected [N,H,W,I], [k,k,I,O]")
    if x.shape[3] != w.shape[2]:
        raise ValueError(f"images {x.shape} do not fit weights {w.shape}")
    return int(w.shape[0])


RESAMPLE_FILTER = np.array([1.0, 3.0, 3.0, 1.0], np.float32)
