"""3x3 convolutions that double or halve the resolution, in forms that XLA makes fast on a CPU.

Even and odd rows and columns are taken apart, four images of half the size ("phases"), so that no
multiplication meets an inserted zero. The gradients, which as convolutions with dilation are the
slow part of the plain form, are written in the same way, and so are theirs:

- `upsample_conv3x3`: four small convolutions, one per phase, then filter and interleaving in one;
- `conv3x3_downsample`: filter and strided convolution, which is fast as it is;
- `_filter_gradient`, of both: a product of matrices per pair of phase and tap, with Winograd's
  F(2,2) along the even lines, which have two taps: 25 products in place of 36.

Each of the three is the derivative of another one.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import pad_lines, separate
from dnnlib.tflib.ops.winograd import MIN_CHANNELS, both_ways, transposed_filter

TAPS = 4  # of the filter


def pays(x: tf.Tensor, w: tf.Tensor, kernel: np.ndarray, factor: int) -> bool:
    """Whether the functions below take images [N,H,W,I], weights and the 2-D filter `kernel`."""
    sizes = x.shape[1:3].as_list()
    return (
        factor == 2
        and w.shape[:2] == [3, 3]
        and kernel.shape == (TAPS, TAPS)
        and separate(kernel) is not None
        and all(size is not None and size % 2 == 0 for size in sizes)
    )


def upsample_conv3x3(x: tf.Tensor, w: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    """Transposed convolution with stride 2, then the filter with pad (1,1).

    Args:
        x: [N,H,W,I].
        w: [3,3,I,O].
        kernel: separable filter [4,4].

    Returns:
        [N,2H,2W,O].
    """

    @tf.custom_gradient
    def function(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            back = kernel[::-1, ::-1]
            dx = conv3x3_downsample(dy, transposed_filter(w), back)
            return dx, transposed_filter(_filter_gradient(dy, x, back))

        return _upsample_conv3x3(x, w, kernel), gradient

    return function(x, w)


def conv3x3_downsample(x: tf.Tensor, w: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    """The filter with pad (2,2), then a convolution with stride 2.

    Args:
        x: [N,H,W,I], H and W even.
        w: [3,3,I,O].
        kernel: separable filter [4,4].

    Returns:
        [N,H/2,W/2,O].
    """

    @tf.custom_gradient
    def function(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = upsample_conv3x3(dy, transposed_filter(w), kernel[::-1, ::-1])
            return dx, _filter_gradient(x, dy, kernel)

        column, row = _factors(kernel)
        filtered = _correlate(_correlate(x, 1, column[::-1]), 2, row[::-1])
        return tf.nn.conv2d(filtered, w, strides=2, padding="VALID"), gradient

    return function(x, w)


def _filter_gradient(x: tf.Tensor, dy: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    """Gradient of `conv3x3_downsample` for its weights: [N,H,W,I], [N,H/2,W/2,O] -> [3,3,I,O]."""

    @tf.custom_gradient
    def function(x: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(dw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = upsample_conv3x3(dy, transposed_filter(dw), kernel[::-1, ::-1])
            return dx, conv3x3_downsample(x, dw, kernel)

        column, row = _factors(kernel)
        images = [_split(half, 2, row[::-1]) for half in _split(x, 1, column[::-1])]
        even_tiles = all(size % 2 == 0 for size in dy.shape[1:3])
        if even_tiles and min(x.shape[3], dy.shape[3]) >= MIN_CHANNELS:
            return _filter_gradient_by_tiles(images, dy), gradient
        return _filter_gradient_by_phases(images, dy), gradient

    return function(x, dy)


def _factors(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factors = separate(kernel)
    assert factors is not None  # see `pays`
    return factors


def _upsample_conv3x3(x: tf.Tensor, w: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    # With zero insertion x'[2i] = x[i], result p of the transposed convolution reads x' at p-2..p:
    # an even p = 2m meets the pixels m-1 and m through the taps 0 and 2, an odd one m through 1.
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    images = [[padded, padded[:, :, 1:-1]], [padded[:, 1:-1], x]]
    halves = [tf.stack([w[0], w[2]]), w[1:2]]
    filters = [[tf.stack([v[:, 0], v[:, 2]], axis=1), v[:, 1:2]] for v in halves]
    column, row = _factors(kernel)
    lines = []
    for i in range(2):
        even, odd = (tf.nn.conv2d(images[i][j], filters[i][j], 1, "VALID") for j in range(2))
        lines.append(_join(even, odd, 2, row))
    return _join(lines[0], lines[1], 1, column)


def _filter_gradient_by_phases(images: list[list[tf.Tensor]], dy: tf.Tensor) -> tf.Tensor:
    """One convolution per phase; `images` are the four phases of the filtered larger image."""
    taps: list[list[tf.Tensor]] = [[], [], []]
    for i, rows in ((0, (0, 2)), (1, (1,))):
        even, odd = (
            tf.raw_ops.Conv2DBackpropFilter(
                input=images[i][j],
                filter_sizes=[2 - i, 2 - j, images[i][j].shape[3], dy.shape[3]],
                out_backprop=dy,
                strides=[1, 1, 1, 1],
                padding="VALID",
            )
            for j in range(2)
        )
        for index, row in enumerate(rows):
            taps[row] = [even[index, 0], odd[index, 0], even[index, 1]]
    return tf.stack([tf.stack(row) for row in taps])


def _filter_gradient_by_tiles(images: list[list[tf.Tensor]], dy: tf.Tensor) -> tf.Tensor:
    """F(2,2): with even lines e and odd lines o, a tile of two results is y0 = a + b + o0 w1 and
    y1 = b - c + o1 w1, where a = (e0 - e1) w0, b = e1 (w0 + w2), c = (e1 - e2) w2.
    """
    columns = [_tiles(even, odd, 2) for even, odd in images]  # [2][4]
    lines = [_tiles(even, odd, 1) for even, odd in zip(*columns, strict=True)]  # [4][4]
    errors = [_spread(line, 2) for line in _spread(dy, 1)]
    products = [
        [tf.matmul(_matrix(lines[j][i]), _matrix(errors[i][j]), transpose_a=True) for j in range(4)]
        for i in range(4)
    ]

    def sum_taps(m: list[tf.Tensor]) -> list[tf.Tensor]:
        return [m[0] + m[1], m[3], m[1] + m[2]]

    return tf.stack([tf.stack(row) for row in both_ways(sum_taps, products)])


def _tiles(even: tf.Tensor, odd: tf.Tensor, axis: int) -> list[tf.Tensor]:
    size = even.shape[axis]
    first, second, third = (_cut(even, axis, i, size - 2 + i, 2) for i in range(3))
    return [first - second, second, second - third, odd]


def _spread(dy: tf.Tensor, axis: int) -> list[tf.Tensor]:
    """The transposed of adding up the products of a tile."""
    size = dy.shape[axis]
    first, second = _cut(dy, axis, 0, size, 2), _cut(dy, axis, 1, size, 2)
    return [first, first + second, -second, dy]


def _matrix(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[3]])


def _correlate(x: tf.Tensor, axis: int, f: np.ndarray) -> tf.Tensor:
    """Correlates n lines with `f`, two zeros on both sides: n+1 lines."""
    size = x.shape[axis] + 1
    padded = pad_lines(x, axis, 2, 2)
    return tf.add_n([f[t] * _cut(padded, axis, t, t + size) for t in range(TAPS)])


def _split(x: tf.Tensor, axis: int, f: np.ndarray) -> list[tf.Tensor]:
    """`_correlate`, even and odd lines of the result apart: n/2 + 1 and n/2."""
    size = x.shape[axis]
    padded = pad_lines(x, axis, 2, 2)
    even = tf.add_n([f[t] * _cut(padded, axis, t, t + size + 1, 2) for t in range(TAPS)])
    odd = tf.add_n([f[t] * _cut(padded, axis, t + 1, t + size, 2) for t in range(TAPS)])
    return [even, odd]


def _join(even: tf.Tensor, odd: tf.Tensor, axis: int, f: np.ndarray) -> tf.Tensor:
    """Interleaves n+1 even and n odd lines, convolves with `f`, a zero on both sides: 2n lines."""
    n = odd.shape[axis]
    padded = pad_lines(odd, axis, 1, 1)
    before, after = _cut(even, axis, 0, n), _cut(even, axis, 1, n + 1)
    first = f[3] * _cut(padded, axis, 0, n) + f[2] * before + f[1] * odd + f[0] * after
    second = f[3] * before + f[2] * odd + f[1] * after + f[0] * _cut(padded, axis, 2, n + 2)
    shape = [-1 if size is None else size for size in odd.shape]
    shape[axis] = 2 * n
    return tf.reshape(tf.stack([first, second], axis=axis + 1), shape)


def _cut(x: tf.Tensor, axis: int, begin: int, end: int, step: int = 1) -> tf.Tensor:
    index = [slice(None)] * 4
    index[axis] = slice(begin, end, step)
    return x[tuple(index)]
