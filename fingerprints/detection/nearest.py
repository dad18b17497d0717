"""The fingerprints that lose least weight, exactly: by products, or by a bound on bit counts.

For weights v of `evidence.weigh` (signed by the decided bits) a fingerprint of bits c loses
sum of max(v, 0) - v.c. All are whole numbers below 2^24, so that float32 has them exactly.
"""

from collections.abc import Iterable

import numpy as np

from fingerprints.bits import pack_bits, unpack_bits

_ARGMAX_UP_TO = 8  # neighbours, beyond which sorting costs less than finding them one by one
_PRODUCTS = 2**22  # numbers of a product at a time
_BLOCK = 16_384  # fingerprints at a time, so that buffers stay in the processor's cache
_SEEDS = 64  # fingerprints that give the first limit
_PLANES = 3  # bits of the weights in the bound

Found = tuple[np.ndarray, np.ndarray]  # rows and losses, int64 [M,k]


def nearest_by_product(weights: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> Found:
    """All fingerprints times all weights.

    Args:
        weights: int [M,B] of `evidence.weigh`.
        blocks: the fingerprints' bits in order, float32 [n,B] of 0 and 1.
        k: how many, at most all.

    Returns:
        Rows and losses, int64 [M,k], least first; equal ones in the order of rows.
    """
    values = weights.astype(np.float32)
    most = np.maximum(weights, 0).sum(axis=1, dtype=np.int64)[:, None]
    rows = np.zeros([len(weights), 0], np.int64)
    losses = np.zeros([len(weights), 0], np.int64)
    start = 0
    for block in blocks:
        step = max(1, _PRODUCTS // len(block))
        parts = [
            _largest(values[first : first + step] @ block.T, min(k, len(block)))
            for first in range(0, len(values), step)
        ]
        columns, gains = (np.concatenate(found) for found in zip(*parts, strict=True))
        rows = np.concatenate([rows, start + columns], axis=1)
        losses = np.concatenate([losses, most - gains.astype(np.int64)], axis=1)
        # Stable: what was there before has lower rows.
        order = np.argsort(losses, axis=1, kind="stable")[:, :k]
        rows = np.take_along_axis(rows, order, axis=1)
        losses = np.take_along_axis(losses, order, axis=1)
        start += len(block)
    return rows, losses


def _largest(products: np.ndarray, k: int) -> Found:
    """Columns and values of the k largest of every row, the first of equal ones first."""
    if k > _ARGMAX_UP_TO:
        columns = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return columns, np.take_along_axis(products, columns, axis=1)
    every = np.arange(len(products))
    columns = np.empty([len(products), k], np.int64)
    values = np.empty([len(products), k], np.float32)
    for number in range(k):
        columns[:, number] = products.argmax(axis=1)
        values[:, number] = products[every, columns[:, number]]
        products[every, columns[:, number]] = -np.inf
    return columns, values


def nearest_by_bound(weights: np.ndarray, columns: np.ndarray, k: int) -> Found:
    """Those that a lower bound of their loss, from counts of bits, does not exclude.

    Args:
        weights: int [M,B] of `evidence.weigh`.
        columns: packed bits of the fingerprints, uint64 [W,N].
        k: how many, at most N and `_BLOCK`.

    Returns:
        As `nearest_by_product`.
    """
    searches = [_Search(row, k) for row in weights]
    buffers = _Buffers(len(columns))
    for start in range(0, columns.shape[1], _BLOCK):
        block = columns[:, start : start + _BLOCK]
        for search in searches:  # all images while the block is in the cache
            search.look(block, start, buffers)
    rows, losses = ([getattr(s, name) for s in searches] for name in ("rows", "losses"))
    return np.stack(rows), np.stack(losses)


class _Buffers:
    """What is written to for every block."""

    def __init__(self, num_words: int) -> None:
        self.different = np.empty([num_words, _BLOCK], np.uint64)
        self.masked = np.empty(_BLOCK, np.uint64)
        self.counted = np.empty(_BLOCK, np.uint8)
        self.coarse = np.empty(_BLOCK, np.uint16)


class _Search:
    """One image: its k best so far.

    The bound: with weights w = c * q + e, q from 0 to 7, a fingerprint that does not agree in the
    bits x loses w.x >= c * q.x + sum of min(e, 0). q.x are three counts of bits, 1, 2 and 4 times;
    where all weights are the same it is one.
    """

    def __init__(self, weights: np.ndarray, k: int) -> None:
        self.rows = np.zeros(0, np.int64)
        self.losses = np.zeros(0, np.int64)
        self._k = k
        self._weights = weights
        self._word = pack_bits((weights > 0)[None].astype(np.uint8))[0]
        sizes = np.abs(weights).astype(np.int64)
        self._scale, levels = _coarse(sizes)
        self._slack = int(np.minimum(sizes - self._scale * levels, 0).sum())
        planes = levels >> np.arange(_PLANES)[::-1, None] & 1  # the highest first
        self._masks = pack_bits(planes.astype(np.uint8))

    def look(self, block: np.ndarray, start: int, buffers: _Buffers) -> None:
        """Takes in the fingerprints uint64 [W,n] of the rows from `start` on."""
        coarse = self._bounds(block, buffers)
        if len(self.losses):
            limit = int(self.losses[-1]) - 1  # of equal ones the first stays
        else:  # some of the first block that are good give a limit for the others
            number = max(self._k, min(_SEEDS, len(coarse))) - 1
            seeds = np.flatnonzero(coarse <= np.partition(coarse, number)[number])
            limit = int(np.sort(self._loss(block, seeds))[self._k - 1])
        most = (limit - self._slack) // self._scale
        if most < 0:
            return
        rows = np.flatnonzero(coarse <= min(most, np.iinfo(np.uint16).max))
        if len(rows) == 0:
            return
        losses = np.concatenate([self.losses, self._loss(block, rows)])
        rows = np.concatenate([self.rows, start + rows])
        order = np.argsort(losses, kind="stable")[: self._k]
        self.rows, self.losses = rows[order], losses[order]

    def _bounds(self, block: np.ndarray, buffers: _Buffers) -> np.ndarray:
        """q.x of every fingerprint of a block, uint16 [n], in a buffer."""
        size = block.shape[1]
        different = buffers.different[:, :size]
        masked, counted = buffers.masked[:size], buffers.counted[:size]
        coarse = buffers.coarse[:size]
        coarse.fill(0)
        np.bitwise_xor(block, self._word[:, None], out=different)
        for plane in self._masks:
            np.add(coarse, coarse, out=coarse)
            for bits, mask in zip(different, plane, strict=True):
                if mask:
                    np.bitwise_and(bits, mask, out=masked)
                    np.bitwise_count(masked, out=counted)
                    np.add(coarse, counted, out=coarse)
        return coarse

    def _loss(self, block: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What fingerprints of a block really lose, int64 [n]."""
        bits = unpack_bits(block[:, rows].T, len(self._weights)).astype(np.float32)
        gains = bits @ self._weights.astype(np.float32)
        return np.maximum(self._weights, 0).sum(dtype=np.int64) - gains.astype(np.int64)


def _coarse(sizes: np.ndarray) -> tuple[int, np.ndarray]:
    """The step c, a power of two, and the levels q [B] that leave least of weights [B] over."""
    steps = 2 ** np.arange(int(sizes.max(initial=1)).bit_length() + 1)[:, None]
    levels = np.clip(np.rint(sizes / steps), 0, 2**_PLANES - 1).astype(np.int64)
    best = int(np.argmin(np.abs(sizes - steps * levels).sum(axis=1)))
    return int(steps[best, 0]), levels[best]
