"""Compiles the CUDA kernels alone, without TensorFlow, and compares them with NumPy.

Needs nvcc, a GPU, and CuPy or PyTorch for its memory. With --host the same kernels are compiled
for the CPU, where threads are loops. Status 1 where a kernel differs.
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dnnlib import cli
from dnnlib.errors import UserError
from tools.kernels.arrays import Arrays, HostArrays, gpu_arrays, seconds
from tools.kernels.cases import ALLOWED, all_cases, error_of, speed_cases, traffic
from tools.kernels.launchers import TYPES, Launchers, compile_cuda, compile_host


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.check_kernels", description=__doc__)
    parser.add_argument(
        "--host", action="store_true", help="on the CPU, threads as loops; needs no GPU"
    )
    return parser


def compare(launchers: Launchers, arrays: Arrays) -> tuple[dict[tuple[str, str], float], list[str]]:
    """Runs all cases.

    Returns:
        (operation, type) -> the largest error; and one text for each case that fails.
    """
    worst: dict[tuple[str, str], float] = {}
    failures = []
    for case in tqdm(list(all_cases()), desc="cases", disable=None, leave=False):
        error, problem = error_of(case, launchers, arrays)
        key = case.operation, case.dtype
        worst[key] = max(worst.get(key, 0.0), error)
        if problem:
            failures.append(f"{case}: {problem} ({error:.1e})")
    return worst, failures


def error_table(worst: dict[tuple[str, str], float]) -> list[str]:
    """Lines of Markdown: errors as shares of the largest entry."""
    lines = ["| operation | type | largest error | allowed |", "|---|---|--:|--:|"]
    for (operation, dtype), error in worst.items():
        lines.append(f"| `{operation}` | {dtype} | {error:.1e} | {ALLOWED[dtype]:.1e} |")
    return lines


def speed_table(launchers: Launchers, arrays: Arrays) -> list[str]:
    """Lines of Markdown: GB/s that are read and written, beside those of a copy."""
    lines = ["| operation | type | GB/s | of a copy |", "|---|---|--:|--:|"]
    for dtype in TYPES:
        copied = math.nan
        for name, case in speed_cases(dtype).items():
            buffers = case.buffers(arrays)
            if math.isnan(copied):  # the first one's x and y
                taken = seconds(arrays, partial(buffers[1].copy_to, buffers[3]))
                copied = traffic(case) / taken / 1e9
                lines.append(f"| copy | {dtype} | {copied:.0f} | 100% |")
            taken = seconds(arrays, partial(case.launch, launchers, buffers))
            rate = traffic(case) / taken / 1e9
            lines.append(f"| `{name}` | {dtype} | {rate:.0f} | {rate / copied:.0%} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the tool."""
    args = build_parser().parse_args(argv)
    arrays: Arrays = HostArrays() if args.host else gpu_arrays()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        path = compile_host(where) if args.host else compile_cuda(where, [arrays.arch])
        launchers = Launchers(path, arrays.stream)
        if not args.host and (problem := launchers.problem()):
            raise UserError(f"the CUDA kernels cannot be run here: {problem}; update the driver")
        print(f"Kernels against NumPy on {arrays.name}\n")
        worst, failures = compare(launchers, arrays)
        print("\n".join(error_table(worst)))
        if not args.host:
            print("\n" + "\n".join(speed_table(launchers, arrays)))
    for text in failures:
        print(f"error: {text}", file=sys.stderr)
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
