"""What the kernels are called with, and how far their results are from those of NumPy.

Sizes lie around the borders of packs (4 or 8 channels), of blocks (256 threads) and of the largest
grid; buffers begin where a pack may begin, or one element later. What lies around a buffer must not
matter, and must be as it was.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tools.kernels import reference
from tools.kernels.arrays import Arrays
from tools.kernels.launchers import (
    ACTIVATIONS,
    MAX_TAPS,
    TYPES,
    LaunchError,
    Launchers,
    Upfirdn,
    bias_act_call,
)

# Share of the largest entry: float32 has sums in another order, the others one rounding at the end,
# which is half a unit in the last of 11 and 8 digits.
ALLOWED = {"float32": 1e-5, "float16": 2**-11 + 1e-5, "bfloat16": 2**-8 + 1e-5}
_GUARD = 64  # elements before and behind a buffer
_GRID = 65536 * 256  # threads of the largest grid


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as the elements of a tensor: float32, or the 16 bits of the half types."""
    if dtype == "float32":
        return values.astype(np.float32)
    if dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to the nearest, ties to even
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def decode(elements: np.ndarray, dtype: str) -> np.ndarray:
    """The opposite of `encode`, in double precision."""
    if dtype == "float16":
        elements = elements.view(np.float16)
    elif dtype == "bfloat16":
        elements = (elements.astype(np.uint32) << 16).view(np.float32)
    return elements.astype(np.float64)


class Buffer:
    """A tensor on the device between two guards.

    Args:
        arrays: the device.
        values: numbers, rounded to `dtype`.
        dtype: one of TYPES.
        shift: elements by which it begins behind an address where a pack may begin.
        guard: what stands in the guards: NaN around inputs, which would show in a result; a
            number around results, which a NaN from there would change.
    """

    def __init__(
        self,
        arrays: Arrays,
        values: np.ndarray,
        dtype: str,
        shift: int = 0,
        guard: float = math.nan,
    ) -> None:
        self._arrays, self._dtype, self._shape = arrays, dtype, values.shape
        elements = encode(values.ravel(), dtype)
        around = encode(np.full(_GUARD + shift, guard), dtype)
        self._first, self._end = around.size, around.size + elements.size
        whole = np.concatenate([around, elements, around])
        self._before, self._itemsize = whole, whole.itemsize
        self._data = arrays.put(whole.view(np.uint8))

    @property
    def address(self) -> int:
        """Of the first element."""
        return self._arrays.address(self._data) + self._first * self._itemsize

    @property
    def start(self) -> np.ndarray:
        """The numbers as they were put there, rounded."""
        return decode(self._before[self._first : self._end], self._dtype).reshape(self._shape)

    def read(self) -> np.ndarray:
        """The numbers as they are now; ValueError where the guards have changed."""
        now = self._arrays.get(self._data).view(self._before.dtype)
        for part in (slice(0, self._first), slice(self._end, None)):
            if not np.array_equal(now[part].view(np.uint8), self._before[part].view(np.uint8)):
                raise ValueError("written outside of the tensor")
        return decode(now[self._first : self._end], self._dtype).reshape(self._shape)

    def copy_to(self, other: "Buffer") -> None:
        """Copies everything on the device, without waiting."""
        self._arrays.copy(self._data, other._data)


@dataclass(frozen=True)
class ActCase:
    """A call of bias, activation, gain and clamp."""

    shape: tuple[int, ...]
    act: str = "lrelu"
    order: int = 0
    bias: bool = True
    clamp: float | None = None
    shift: int = 0
    dtype: str = "float32"
    alpha: float = 0.3
    gain: float = -1.7

    operation = "fused_bias_act"

    def buffers(self, arrays: Arrays) -> tuple[Any, ...]:
        """g, x, b and y; None for what there is not."""
        rng = np.random.default_rng(math.prod(self.shape))

        def normal(*shape: int) -> Buffer:
            values = rng.standard_normal(shape, np.float32)
            return Buffer(arrays, values, self.dtype, self.shift)

        x = normal(*self.shape)
        y = Buffer(arrays, np.zeros(self.shape), self.dtype, self.shift, guard=7)
        g = normal(*self.shape) if self.order else None
        return g, x, normal(self.shape[-1]) if self.bias else None, y

    def launch(self, launchers: Launchers, buffers: tuple[Any, ...]) -> None:
        """Launches the kernel."""
        g, x, b, y = (0 if buffer is None else buffer.address for buffer in buffers)
        options = (self.act, self.order, self.alpha, self.gain, self.clamp)
        launchers.bias_act(self.dtype, g, x, b, y, bias_act_call(self.shape, *options))

    def error(self, launchers: Launchers, arrays: Arrays) -> float:
        """See `error_of`."""
        g, x, b, y = self.buffers(arrays)
        self.launch(launchers, (g, x, b, y))
        # The kernel adds the bias in float.
        inputs = (x.start + (b.start if b else 0)).astype(np.float32).astype(np.float64)
        options = (self.act, self.order, self.alpha, self.gain, self.clamp)
        expected, known = reference.bias_act(inputs, *options)
        if g:
            expected = g.start * expected
        return _share(np.where(known, y.read(), expected), expected)


@dataclass(frozen=True)
class FirCase:
    """A call of upsampling, filter and downsampling; pairs are those of y, then of x."""

    shape: tuple[int, int, int, int]
    taps: tuple[int, int] = (4, 4)
    up: tuple[int, int] = (1, 1)
    down: tuple[int, int] = (1, 1)
    pad0: tuple[int, int] = (2, 1)
    size: tuple[int, int] | None = None  # of the result; None: that of x, times up, by down
    fast: bool = False
    shift: int = 0
    dtype: str = "float32"

    operation = "upfirdn_2d"

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Of the result."""
        n, height, width, channels = self.shape
        around = (height * self.up[0] // self.down[0], width * self.up[1] // self.down[1])
        return n, *(self.size or around), channels

    def filter(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """The filter, float32, and column and row of which it is made."""
        rng = np.random.default_rng(sum(self.taps))
        column, row = (rng.standard_normal(n).astype(np.float32) for n in self.taps)
        return np.outer(column, row), (column, row)

    def buffers(self, arrays: Arrays) -> tuple[Any, ...]:
        """x and y."""
        rng = np.random.default_rng(math.prod(self.shape))
        x = Buffer(arrays, rng.standard_normal(self.shape, np.float32), self.dtype, self.shift)
        return x, Buffer(arrays, np.zeros(self.out_shape), self.dtype, self.shift, guard=7)

    def launch(self, launchers: Launchers, buffers: tuple[Any, ...]) -> None:
        """Launches the kernel."""
        k, taps = self.filter()
        x, y = (buffer.address for buffer in buffers)
        launchers.upfirdn(self.dtype, x, y, self.call(), k, taps if self.fast else None)

    def call(self) -> Upfirdn:
        """The structure."""
        n, out_h, out_w, channels = self.out_shape
        return Upfirdn(
            n, *self.shape[1:3], channels, out_h, out_w, self.pad0[1], self.pad0[0],
            self.up[1], self.up[0], self.down[1], self.down[0], *self.taps[::-1],
        )  # fmt: skip

    def error(self, launchers: Launchers, arrays: Arrays) -> float:
        """See `error_of`."""
        x, y = self.buffers(arrays)
        self.launch(launchers, (x, y))
        k = self.filter()[0]
        size = self.out_shape[1:3]
        expected = reference.upfirdn(x.start, k, self.up, self.down, self.pad0, size)
        return _share(y.read(), expected)


Case = ActCase | FirCase


def error_of(case: Case, launchers: Launchers, arrays: Arrays) -> tuple[float, str]:
    """The largest deviation as a share of the largest entry, and what went wrong, or ""."""
    try:
        error = case.error(launchers, arrays)
    except (LaunchError, ValueError) as problem:
        return math.inf, str(problem)
    return error, "" if error <= ALLOWED[case.dtype] else "differs from NumPy"


def _share(found: np.ndarray, expected: np.ndarray) -> float:
    difference = np.abs(found - expected)
    if not np.isfinite(found).all():
        return math.inf
    return float(difference.max() / max(np.abs(expected).max(), 0.1))


def act_cases() -> Iterator[ActCase]:
    """Activations and orders; sizes around packs, blocks and the largest grid."""
    for act, order in itertools.product(ACTIVATIONS, range(3)):
        for channels, clamp in ((37, None), (48, None), (48, 0.9)):
            yield ActCase((19, channels), act, order, clamp=clamp)
    for rows, channels in (
        *((1, 1), (1, 8), (3, 5), (7, 4)),
        *((n, 1) for n in (255, 256, 257, 511, 513)),
        *((n, 3) for n in (85, 86, 171)),
        *((n, 8) for n in (127, 128, 129, 255, 256, 257)),
    ):
        for shift in (0, 1):
            yield ActCase((rows, channels), shift=shift)
            yield ActCase((rows, channels), "swish", 1, bias=shift == 0, shift=shift)


def large_cases() -> Iterator[Case]:
    """More threads than the largest grid has, so that each takes several elements."""
    yield ActCase((_GRID // 3 + 5, 3), dtype="float16")
    yield ActCase((_GRID // 257 + 1, 257), dtype="float32", order=1)


def fir_cases() -> Iterator[FirCase]:
    """Both kinds of kernels at odd sizes, with cropping pads and with filters of all sizes."""
    for up, down in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))):
        for fast, channels, shift in itertools.product((True, False), (1, 8, 16, 19), (0, 1)):
            for (height, width), pad0 in (((1, 1), (2, 1)), ((7, 10), (-1, 3)), ((17, 9), (5, 12))):
                size = (height * up[0] // down[0] + 2, max(1, width * up[1] // down[1]) + 1)
                shape = (2, height, width, channels)
                yield FirCase(shape, (4, 4), up, down, pad0, size, fast, shift)
    # A strip is 8 rows, a block 256 strips or pixels: one below, at and one above both borders.
    for height, width in itertools.product((7, 8, 9, 16, 17), (31, 32, 33)):
        yield FirCase((1, height, width, 8), fast=True)
        yield FirCase((1, height, width, 8))
    rng = np.random.default_rng(0)
    for _ in range(20):
        taps, up, down, pad0, size = (
            (int(rng.integers(low, high)), int(rng.integers(low, high)))
            for low, high in ((1, 8), (1, 5), (1, 5), (-3, 8), (1, 12))
        )
        yield FirCase((2, 5, 11, int(rng.choice([3, 8]))), taps, up, down, pad0, size)
    yield FirCase((1, 9, 8, 8), (MAX_TAPS, MAX_TAPS), (2, 1), (1, 3), (20, 15), (20, 7))


def all_cases() -> Iterator[Case]:
    """Every case in every type."""
    for dtype in TYPES:
        yield from (replace(case, dtype=dtype) for case in act_cases())
        yield from (replace(case, dtype=dtype) for case in fir_cases())
    yield from large_cases()


def speed_cases(dtype: str) -> dict[str, Case]:
    """Name -> a case of about a million packs, whose time is that of its memory traffic."""
    shape = (8, 256, 256, 64)
    return {
        "fused_bias_act": ActCase(shape, dtype=dtype),
        "upfirdn_2d, same": FirCase(shape, fast=True, dtype=dtype),
        "upfirdn_2d, up 2": FirCase((8, 128, 128, 64), up=(2, 2), fast=True, dtype=dtype),
        "upfirdn_2d, down 2": FirCase(shape, down=(2, 2), fast=True, dtype=dtype),
        "upfirdn_2d, any filter": FirCase(shape, dtype=dtype),
    }


def traffic(case: Case) -> int:
    """Bytes that a case has to read and to write at least."""
    itemsize = 4 if case.dtype == "float32" else 2
    written: Any = case.out_shape if isinstance(case, FirCase) else case.shape
    return itemsize * (math.prod(case.shape) + math.prod(written))
