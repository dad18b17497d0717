"""3x3 convolutions with fewer multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308. A tile of 2x2
results takes 16 products in place of 36. What remains are 16 matrix products and sums that XLA
fuses; without such a compiler the sums cost more than they save. Single precision loses
about one bit against the direct sum.
"""

from collections.abc import Callable

import tensorflow as tf

Grid = list[list[tf.Tensor]]  # one tensor per position of a tile or of a filter

MIN_CHANNELS = 128  # with fewer, the sums outweigh the products (docs/performance.md)
MIN_SIZE = 16  # in smaller images, transforming the weights does


def pays(x: tf.Tensor, w: tf.Tensor) -> bool:
    """Whether `conv3x3` is possible for [N,H,W,I] and [k,k,I,O], and faster under XLA on a CPU."""
    if x.dtype != tf.float32:  # the sums need the digits
        return False
    height, width = x.shape[1:3]
    if w.shape[:2] != [3, 3] or height is None or width is None or height % 2 or width % 2:
        return False
    return min(height, width) >= MIN_SIZE and min(w.shape[2:]) >= MIN_CHANNELS


@tf.custom_gradient
def conv3x3(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Correlates [N,H,W,I] with [3,3,I,O], zero padding, H and W even: [N,H,W,O].

    Differentiable any number of times; its gradients are computed in the same way.
    """

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return conv3x3(dy, transposed_filter(w)), _filter_gradient(x, dy)

    return _forward(x, w), gradient


@tf.custom_gradient
def _filter_gradient(x: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Gradient of `conv3x3` for its weights: [N,H,W,I], [N,H,W,O] -> [3,3,I,O]."""

    def gradient(dw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return conv3x3(dy, transposed_filter(dw)), conv3x3(x, dw)

    return _filter_gradient_forward(x, dy), gradient


def transposed_filter(w: tf.Tensor) -> tf.Tensor:
    """The filter [k,k,O,I] of the transposed of a convolution with [k,k,I,O]."""
    return tf.transpose(w[::-1, ::-1], [0, 1, 3, 2])


def _forward(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    _, height, width, _ = x.shape
    size = [-1, height // 2, width // 2, w.shape[3]]
    tiles, filters = _input_tiles(x), _filter_tiles(w)
    products = [
        [tf.reshape(tf.matmul(tiles[i][j], filters[i][j]), size) for j in range(4)]
        for i in range(4)
    ]
    results = both_ways(_sum_results, products)  # [2][2] of [N,H/2,W/2,O]
    rows = [tf.stack(row, axis=3) for row in results]  # [N,H/2,W/2,2,O]
    return tf.reshape(tf.stack(rows, axis=2), [-1, height, width, w.shape[3]])


def _filter_gradient_forward(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    tiles = _input_tiles(x)
    corners = [[dy[:, i::2, j::2] for j in range(2)] for i in range(2)]
    errors = both_ways(_spread_results, corners)  # [4][4] of [N,H/2,W/2,O]
    products = [
        [
            tf.matmul(tiles[i][j], tf.reshape(errors[i][j], [-1, dy.shape[3]]), transpose_a=True)
            for j in range(4)
        ]
        for i in range(4)
    ]
    return tf.stack([tf.stack(row) for row in both_ways(_sum_filter, products)])


def _input_tiles(x: tf.Tensor) -> Grid:
    """B^T d B of every 4x4 tile d, at steps of 2: [4][4] of [N*H/2*W/2, I]."""
    _, height, width, channels = x.shape
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    rows = _combine_input([x[:, i : i + height - 1 : 2] for i in range(4)])
    tiles = [_combine_input([row[:, :, j : j + width - 1 : 2] for j in range(4)]) for row in rows]
    return [[tf.reshape(tile, [-1, channels]) for tile in row] for row in tiles]


def _filter_tiles(w: tf.Tensor) -> Grid:
    """G w G^T of a filter [3,3,I,O]: [4][4] of [I,O]."""
    return both_ways(_spread_filter, [[w[i, j] for j in range(3)] for i in range(3)])


def both_ways(line: Callable[[list[tf.Tensor]], list[tf.Tensor]], grid: Grid) -> Grid:
    """Applies a transform of lines to the rows of a grid, then to its columns."""
    rows = [line(row) for row in grid]
    columns = [line([row[j] for row in rows]) for j in range(len(rows[0]))]
    return [[column[i] for column in columns] for i in range(len(columns[0]))]


# The transforms of F(2,3) in one dimension; `_spread` ones are the transposed of `_sum` ones.


def _combine_input(d: list[tf.Tensor]) -> list[tf.Tensor]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _spread_filter(g: list[tf.Tensor]) -> list[tf.Tensor]:
    half = (g[0] + g[2]) * 0.5
    return [g[0], half + g[1] * 0.5, half - g[1] * 0.5, g[2]]


def _sum_filter(m: list[tf.Tensor]) -> list[tf.Tensor]:
    half = (m[1] + m[2]) * 0.5
    return [m[0] + half, (m[1] - m[2]) * 0.5, m[3] + half]


def _sum_results(m: list[tf.Tensor]) -> list[tf.Tensor]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _spread_results(y: list[tf.Tensor]) -> list[tf.Tensor]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]
