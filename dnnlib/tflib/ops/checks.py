"""Whether the compiled operations compute what the plain ones do: value, gradient, second order.

`check_library` is the shortest form, which comes before the first use of a library. That a device
passed it is remembered by a small file beside the library. `dnnlib.tflib.custom_ops` is the
command with the long form.
"""

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.tflib.compilers import BuildError
from dnnlib.tflib.ops import compiled
from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.upfirdn_2d import upfirdn_2d

# Type -> largest deviation from float32 on the same numbers, as a share of the largest entry.
ALLOWED = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
_SEPARABLE = np.outer([1.0, -2.0, 3.0, 0.5], [0.5, 4.0, 1.5, -1.0]).astype(np.float32)
_EXACT = ("linear", "relu", "lrelu")  # rounded alike everywhere, so that all clamp the same


@dataclass(frozen=True)
class ActCase:
    """`fused_bias_act` of x [...,C] and a bias; order of fields: as its arguments."""

    shape: tuple[int, ...]
    act: str = "lrelu"
    alpha: float = 0.3
    gain: float = -1.7
    clamp: float | None = None
    bias: bool = True

    operation = "fused_bias_act"

    def values(self) -> list[np.ndarray]:
        """x and, if there is one, b."""
        shapes = [self.shape, self.shape[-1:]] if self.bias else [self.shape]
        return [_normal(i, shape) for i, shape in enumerate(shapes)]

    def plain(self, x: tf.Tensor, b: tf.Tensor | None = None) -> tf.Tensor:
        """The plain operation."""
        options: dict[str, Any] = {"act": self.act, "alpha": self.alpha, "gain": self.gain}
        return fused_bias_act(x, b, **options, clamp=self.clamp, impl="reference")

    def compiled(self, x: tf.Tensor, b: tf.Tensor | None = None) -> tf.Tensor:
        """The compiled one, tested or not."""
        return compiled.fused_bias_act(x, b, self.act, self.alpha, self.gain, self.clamp)


@dataclass(frozen=True)
class FirCase:
    """`upfirdn_2d` of x [N,H,W,C]; pairs are those of y, then of x."""

    shape: tuple[int, int, int, int]
    up: tuple[int, int] = (1, 1)
    down: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((2, 1), (1, 2))
    kernel: np.ndarray = field(default_factory=_SEPARABLE.copy, repr=False, compare=False)

    operation = "upfirdn_2d"

    def values(self) -> list[np.ndarray]:
        """x."""
        return [_normal(0, self.shape)]

    def plain(self, x: tf.Tensor) -> tf.Tensor:
        """The plain operation."""
        (pady0, pady1), (padx0, padx1) = self.pads
        return upfirdn_2d(
            x, self.kernel, upx=self.up[1], upy=self.up[0], downx=self.down[1], downy=self.down[0],
            padx0=padx0, padx1=padx1, pady0=pady0, pady1=pady1, impl="reference",
        )  # fmt: skip

    def compiled(self, x: tf.Tensor) -> tf.Tensor:
        """The compiled one, tested or not."""
        return compiled.upfirdn_2d(x, self.kernel, self.up, self.down, *self.pads)


Case = ActCase | FirCase


@dataclass(frozen=True)
class Result:
    """How far a compiled operation is from the plain one, as shares of the largest entry."""

    case: Case
    dtype: str
    value: float
    gradient: float
    second: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.value, self.gradient, self.second)

    @property
    def is_wrong(self) -> bool:
        """Whether one is larger than allowed."""
        return not self.worst <= ALLOWED[self.dtype]


def short_cases() -> Iterator[Case]:
    """Every kernel, with packs and with single channels."""
    for act, channels in itertools.product(ACTIVATIONS, (3, 48)):
        yield ActCase((2, 3, 5, channels), act, clamp=0.9 if act in _EXACT else None)
    for channels in (3, 32):
        for up, down in ((1, 1), (2, 1), (1, 2), (3, 2)):
            yield FirCase((2, 5, 7, channels), (up, up), (down, down))


def long_cases() -> Iterator[Case]:
    """Odd sizes, those around blocks of threads, all kinds of filters, factors and pads."""
    yield from short_cases()
    for act in ACTIVATIONS:
        yield ActCase((7,), act)
        yield ActCase((70, 513), act, bias=False)
        yield ActCase((257, 8), act)
    for rows, channels in itertools.product((85, 86, 255, 256, 257), (1, 3, 4, 8)):
        yield ActCase((rows, channels), clamp=1.1)
    yield ActCase((65536 * 256 // 257 + 1, 257), bias=False)  # more elements than threads
    for size, channels in itertools.product(((1, 1), (17, 9), (8, 33)), (1, 8, 16, 19)):
        for up, down in ((1, 1), (2, 1), (1, 2)):
            pads = ((4, 5), (6, 3)) if size == (17, 9) else ((3, 2), (2, 3))
            yield FirCase((2, *size, channels), (up, up), (down, down), pads)
    rng = np.random.default_rng(0)
    for _ in range(20):
        upy, upx, downy, downx = (int(v) for v in rng.integers(1, 5, 4))
        taps = rng.standard_normal(rng.integers(1, 8, 2)).astype(np.float32)
        pads = ((-1, 7), (8, -2))
        channels = int(rng.choice([3, 8]))
        yield FirCase((2, 5, 11, channels), (upy, upx), (downy, downx), pads, taps)
    largest = rng.standard_normal([compiled.MAX_TAPS] * 2).astype(np.float32)
    yield FirCase((1, 9, 8, 17), (1, 2), (3, 1), ((20, 19), (15, 16)), largest)


def compare(case: Case, dtype: str, device: str) -> Result:
    """Compares compiled in `dtype` with plain in float32, on the same numbers and device."""
    with tf.device(device):
        values = [tf.cast(v, dtype) for v in case.values()]
        weights = tf.cast(_normal(2, case.compiled(*values).shape), dtype)
        directions = [tf.cast(_normal(3 + i, v.shape), dtype) for i, v in enumerate(values)]
        ours = _derivatives(case.compiled, values, weights, directions)
        single = [[tf.cast(v, tf.float32) for v in some] for some in (values, directions)]
        expected = _derivatives(case.plain, single[0], tf.cast(weights, tf.float32), single[1])
    errors = [
        max((deviation(a, b) for a, b in zip(some, others, strict=True)), default=0.0)
        for some, others in zip(ours, expected, strict=True)
    ]
    return Result(case, dtype, *errors)


def deviation(found: tf.Tensor, expected: tf.Tensor) -> float:
    """The largest difference as a share of the largest entry; infinite for what is no number."""
    found, expected = tf.cast(found, tf.float32), tf.cast(expected, tf.float32)
    largest = tf.reduce_max(tf.abs(found - expected)).numpy()
    scale = max(float(tf.reduce_max(tf.abs(expected)).numpy()), 1e-3)
    return float(largest) / scale if np.isfinite(largest) else math.inf


def _derivatives(
    function: Callable[..., tf.Tensor],
    values: Sequence[tf.Tensor],
    weights: tf.Tensor,
    directions: Sequence[tf.Tensor],
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
    """The value, its gradients for `weights`, and theirs along `directions`."""
    with tf.GradientTape() as second:
        second.watch([*values, weights])
        with tf.GradientTape() as first:
            first.watch(values)
            y = function(*values)
        gradients = first.gradient(y, values, output_gradients=weights)
    seconds = second.gradient(
        gradients, [*values, weights], output_gradients=directions, unconnected_gradients="zero"
    )
    return [y], gradients, seconds


def _normal(seed: int, shape: Iterable[int]) -> np.ndarray:
    # Not TensorFlow's random numbers: drawing some would change those of a training.
    return np.random.default_rng(seed).standard_normal(tuple(shape), np.float32)


def devices() -> list[str]:
    """The CPU and the GPUs of this process: CPU:0, GPU:0, ..."""
    return ["CPU:0", *(f"GPU:{i}" for i in range(len(tf.config.list_logical_devices("GPU"))))]


def device_name(device: str) -> str:
    """With what it is called, if that is known: GPU:0 (NVIDIA H100 80GB HBM3, sm_90)."""
    if not device.startswith("GPU"):
        return device
    physical = tf.config.get_visible_devices("GPU")[int(device.partition(":")[2])]
    details = tf.config.experimental.get_device_details(physical)
    major, minor = details.get("compute_capability", ("?", "?"))
    return f"{device} ({details.get('device_name', 'unknown')}, sm_{major}{minor})"


def marker(library: Path, device: str) -> Path:
    """The file that says that this library, byte for byte, passed on this device."""
    digest = hashlib.sha256(library.read_bytes() + device_name(device).encode())
    return library.with_name(f"{library.stem}.{digest.hexdigest()[:16]}.passed")


def remember(library: Path, device: str) -> None:
    """Writes the marker; where that is impossible, the next process tests again."""
    with contextlib.suppress(UserError), open_atomic(marker(library, device), "w") as file:
        file.write(f"as plain TensorFlow on {device_name(device)}\n")


def forget(library: Path, device: str) -> None:
    """Removes the marker: the library did not pass."""
    with contextlib.suppress(OSError):
        marker(library, device).unlink()


def check_library(library: Path) -> None:
    """Compares the operations with plain TensorFlow, on devices that have not passed before.

    Args:
        library: the file that is loaded.

    Raises:
        BuildError: they differ or fail.
    """
    # It may be asked for while a function is traced or a gradient is recorded; a thread of its own
    # is free of both.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_devices, library).result()


def _check_devices(library: Path) -> None:
    for device in devices():
        if marker(library, device).exists():
            continue
        for case, dtype in itertools.product(short_cases(), ALLOWED):
            if reason := _reason(case, dtype, device):
                raise BuildError(
                    f"custom operations: {case.operation} in {dtype} on {device_name(device)} "
                    f"{reason}; see `python -m dnnlib.tflib.custom_ops selftest`, and compute "
                    "with --ops=xla until that passes"
                )
        remember(library, device)


def _reason(case: Case, dtype: str, device: str) -> str:
    """Why a kernel must not be used; "" if it may."""
    try:
        result = compare(case, dtype, device)
    except tf.errors.OpError as error:
        return f"fails: {' '.join(str(error.message).split())}"
    if result.is_wrong:
        return (
            f"differs from plain TensorFlow by {result.worst:.1e} of the largest entry, "
            f"{ALLOWED[dtype]:.0e} is allowed"
        )
    return ""
