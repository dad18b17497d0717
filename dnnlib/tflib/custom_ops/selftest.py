"""The long self-test: every device, every type, tensors that 32 bits cannot index, and the speed.

Errors are the largest differences from plain TensorFlow in float32, as shares of the largest
entry. GB/s are the bytes that an operation has to read and to write, by its time.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from dnnlib.tflib import op_library
from dnnlib.tflib.machine import resolve_num_gpus
from dnnlib.tflib.ops import checks
from dnnlib.tflib.ops.checks import ALLOWED, ActCase, Case, FirCase

_SPEED_SHAPE = (16, 128, 256, 64)  # 134 MB in float32: more than caches hold
_PIECE = (4, 256, 256, 64)  # 2^24 elements
_PIECES = 129  # which are more than 2^31
_LARGE_TYPE = "bfloat16"
_LARGE_BYTES = 3.5 * 2 * _PIECES * math.prod(_PIECE)  # x, y and a gradient, and what is compared
_HEAD = ("device", "operation", "type", "value", "gradient", "second", "allowed", "GB/s", "of copy")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    operation: str
    dtype: str
    errors: tuple[float | None, ...] = ()  # value, gradient, second order; None: not computed
    rate: float | None = None  # GB/s
    copied: float | None = None  # of a plain copy
    problem: str = ""  # what went wrong: status 1
    left_out: str = ""  # why it was not tried

    def cells(self, device: str) -> list[str]:
        """As texts, in the order of the head."""
        start = [device, self.operation, self.dtype]
        if self.problem or self.left_out:
            text = self.problem or f"left out: {self.left_out}"
            if not self.errors:
                return [*start, text]
        errors = ["-" if e is None else f"{e:.1e}" for e in (*self.errors, None, None, None)[:3]]
        rate = "-" if self.rate is None else f"{self.rate:.1f}"
        share = "-" if not self.rate or not self.copied else f"{self.rate / self.copied:.0%}"
        return [*start, *errors, f"{ALLOWED[self.dtype]:.0e}", rate, share]


def run(*, large: bool = True) -> None:
    """Builds the library, tests it on every device and prints the table.

    Args:
        large: with tensors of more than 2^31 elements, where there is memory for them.

    Raises:
        BuildError: it cannot be built or loaded.
        SystemExit: status 1, where an operation differs from plain TensorFlow.
    """
    resolve_num_gpus(None)  # memory as it is needed
    has_gpu = op_library.sees_gpu()
    op_library.get_library(cuda=has_gpu)
    library = op_library.library_path()
    if not has_gpu:
        print("TensorFlow sees no GPU here: the CPU's kernels alone are tested.", file=sys.stderr)
    failed = False
    print("| " + " | ".join(_HEAD) + " |\n|---|---|---|--:|--:|--:|--:|--:|--:|", flush=True)
    for device in checks.devices():
        rows = list(check_device(device, large=large, report=print_row))
        wrong = [row for row in rows if row.problem]
        failed = failed or bool(wrong)
        if wrong:
            checks.forget(library, device)
        else:
            checks.remember(library, device)
        for row in wrong:
            text = f"error: {device}: {row.operation} in {row.dtype}: {row.problem}"
            print(text, file=sys.stderr)
    if failed:
        sys.exit(1)


def print_row(device: str, row: Row) -> None:
    """Prints a line of the table."""
    print("| " + " | ".join(row.cells(device)) + " |", flush=True)


def check_device(device: str, *, large: bool, report: Callable[[str, Row], None]) -> Iterator[Row]:
    """Tests all operations on a device such as GPU:0; `report` takes each row with its name."""
    name = checks.device_name(device)

    def told(row: Row) -> Row:
        report(name, row)
        return row

    copied = _copy_rate(device)
    yield told(Row("copy", "float32", rate=copied, copied=copied))
    for operation in (ActCase.operation, FirCase.operation):
        for dtype in ALLOWED:
            yield told(_test_type(operation, dtype, device, copied))
    # Asked for once: what one test has used, the next one gets from TensorFlow's allocator.
    free = free_memory() if device.startswith("CPU") else math.inf
    for case in (ActCase(_PIECE, act="lrelu", bias=False), FirCase(_PIECE)):
        yield told(_test_large(case, device, free) if large else _left_out(case, "--no-large"))


def _test_type(operation: str, dtype: str, device: str, copied: float) -> Row:
    """One operation in one type, on all sizes."""
    cases = [case for case in checks.long_cases() if case.operation == operation]
    worst = [0.0, 0.0, 0.0]
    wrong = []
    try:
        for case in tqdm(cases, f"{device} {operation} {dtype}", disable=None, leave=False):
            result = checks.compare(case, dtype, device)
            errors = (result.value, result.gradient, result.second)
            worst = [max(a, b) for a, b in zip(worst, errors, strict=True)]
            if result.is_wrong:
                wrong.append(case)
        rate = _rate(operation, dtype, device)
    except tf.errors.OpError as error:
        return Row(operation, dtype, problem=f"fails: {' '.join(str(error.message).split())}")
    problem = f"differs in {len(wrong)} of {len(cases)} cases, first {wrong[0]}" if wrong else ""
    return Row(operation, dtype, tuple(worst), rate, copied, problem)


def _rate(operation: str, dtype: str, device: str) -> float:
    """GB/s of an operation forward; it writes as much as it reads."""
    case: Case = ActCase(_SPEED_SHAPE) if operation == ActCase.operation else FirCase(_SPEED_SHAPE)
    with tf.device(device):
        values = [tf.cast(v, dtype) for v in case.values()]
        taken = _seconds(lambda: case.compiled(*values))
    return 2 * values[0].dtype.size * math.prod(_SPEED_SHAPE) / taken / 1e9


def _copy_rate(device: str) -> float:
    """GB/s of a plain copy, read and written."""
    with tf.device(device):
        x = tf.ones(_SPEED_SHAPE)
        taken = _seconds(lambda: tf.raw_ops.DeepCopy(x=x))
    return 2 * 4 * math.prod(_SPEED_SHAPE) / taken / 1e9


def _seconds(call: Callable[[], tf.Tensor], rounds: int = 5) -> float:
    """The fastest of some batches of calls, per call."""
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        tf.test.experimental.sync_devices()
        begin = time.perf_counter()
        for _ in range(4):
            call()
        tf.test.experimental.sync_devices()
        times.append((time.perf_counter() - begin) / 4)
    return min(times[1:])


def _left_out(case: Case, reason: str) -> Row:
    return Row(f"{case.operation}, beyond 2^31 elements", _LARGE_TYPE, left_out=reason)


def _test_large(case: Case, device: str, free: float) -> Row:
    """Value and gradient of the same piece again and again, each compared with the piece's own.

    `free` are the bytes that there are for it, infinite where only trying tells.
    """
    name = f"{case.operation}, beyond 2^31 elements"
    if free < _LARGE_BYTES:
        reason = f"needs {_LARGE_BYTES / 2**30:.0f} GiB of memory, {free / 2**30:.0f} GiB are free"
        return _left_out(case, reason)
    try:
        errors = large_errors(case, device, _PIECES)
    except tf.errors.ResourceExhaustedError:
        needed = f"needs about {_LARGE_BYTES / 2**30:.0f} GiB of memory, which the GPU has not free"
        return _left_out(case, needed)
    except tf.errors.OpError as error:
        problem = f"fails: {' '.join(str(error.message).split())}"
        return Row(name, _LARGE_TYPE, problem=problem)
    wrong = not max(errors) <= ALLOWED[_LARGE_TYPE]
    problem = "differs from its pieces" if wrong else ""
    return Row(name, _LARGE_TYPE, (*errors, None), problem=problem)


def large_errors(case: Case, device: str, pieces: int) -> tuple[float, float]:
    """Deviations of value and gradient of `pieces` times the case's images in one tensor."""
    with tf.device(device):
        piece = tf.cast(case.values()[0], _LARGE_TYPE)
        single = tf.cast(piece, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(single)
            expected = case.plain(single)
        expected_gradient = tape.gradient(expected, single, output_gradients=single)
        x = tf.concat([piece] * pieces, 0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = case.compiled(x)
        value = _piece_error(y, expected, pieces)
        gradient = tape.gradient(y, x, output_gradients=x)
        return value, _piece_error(gradient, expected_gradient, pieces)


def _piece_error(found: tf.Tensor, expected: tf.Tensor, pieces: int) -> float:
    n = found.shape[0] // pieces
    parts = (found[i * n : (i + 1) * n] for i in range(pieces))
    return max(checks.deviation(part, expected) for part in parts)


def free_memory() -> float:
    """Bytes that this process may still take; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024.0 * next(int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0.0
    group = Path("/sys/fs/cgroup")
    try:  # of a container
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii")
        return free if limit == "max" else min(free, float(limit) - float(used))
    except (OSError, ValueError):
        return free
