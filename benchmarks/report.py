"""What all benchmarks share: the machine, processes of their own, Markdown tables, JSON files."""

import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from dnnlib import cli
from dnnlib.atomic import open_atomic, write_error
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
_GPU_NAMES = cli.deferred("benchmarks.device:gpu_names")


def build_parser(doc: str | None) -> cli.ArgumentParser:
    """A parser with the flags that every benchmark has."""
    parser = cli.ArgumentParser(description=doc)
    parser.add_argument("--out", metavar="DIR", help="also write NAME.md and NAME.json there")
    parser.add_verbose()
    return parser


def add_network(parser: cli.ArgumentParser, what: str) -> None:
    """Adds `--network`, the 32x32 portraits if it is not given."""
    parser.add_argument(
        "--network",
        default=str(ROOT / "models" / "portraits-32.pkl"),
        metavar="PKL",
        help=f"{what} (default: models/portraits-32.pkl)",
    )


def add_counts(parser: cli.ArgumentParser, *counts: tuple[str, int, str]) -> None:
    """Adds flags that are whole numbers above 0: name, default, what is counted."""
    for flag, default, what in counts:
        parser.add_argument(
            flag, type=cli.positive_int, default=default, metavar="N",
            help=f"{what} (default: {default:,})",
        )  # fmt: skip


def machine() -> dict[str, Any]:
    """CPU, cores, memory, GPUs and versions. TensorFlow is loaded only where there may be a GPU."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _gpus(),
        "tensorflow": version("tensorflow"),
        "python": platform.python_version(),
    }


def describe(where: Mapping[str, Any]) -> str:
    """`machine()` in one line."""
    return (
        f"{where['cores']} cores of {where['cpu']}, {where['memory_gb']:g} GiB of memory, "
        f"{', '.join(where['gpus']) or 'no GPU'}; TensorFlow {where['tensorflow']}, "
        f"Python {where['python']}"
    )


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    if not Path("/dev/nvidia0").exists():
        return []
    return with_tensorflow(_GPU_NAMES)


def in_process(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` in a fresh process, so that its peak memory is its own.

    The function belongs to a module's top level; arguments and result are pickled.

    Raises:
        UserError: the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise UserError(
                "a measurement was killed, most likely for want of memory: choose a smaller setting"
            ) from error


def with_tensorflow(function: Callable[..., T], *args: Any) -> T:
    """`in_process` for a function of `cli.deferred`: TensorFlow is loaded there alone."""
    return in_process(_quietly, function, *args)


def _quietly(function: Callable[..., T], *args: Any) -> T:
    quiet_tensorflow(verbose=False)
    return function(*args)


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in GiB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    # Unlike ru_maxrss, this one leaves out what the parent had before it started us.
    if found := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
        return int(found[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds(function: Callable[[], Any]) -> float:
    """Duration of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def repeat(function: Callable[[], Any], times: int) -> None:
    """Calls a function several times."""
    for _ in range(times):
        function()


def paired_medians(
    functions: Mapping[str, Callable[[], Any]],
    rounds: int,
    between: Callable[[], Any] = lambda: None,
) -> dict[str, float]:
    """Median seconds of functions that run in turn, so that a slow moment meets all of them.

    `between` is called before every round. Warm up the functions before.
    """
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        between()
        for name, function in functions.items():
            samples[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in samples.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    numeric = [
        all(row[i][:1].isdigit() or row[i] == "-" for row in cells[1:]) for i in range(len(head))
    ]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append(f"| {' | '.join(padded)} |")
    rule = [
        "-" * (width - 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    ]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def publish(name: str, text: str, figures: Mapping[str, Any], out: str | None) -> None:
    """Prints the report of a benchmark and writes it, with its figures, below `out`.

    Args:
        name: of the benchmark; `out` gets `<name>.md` and `<name>.json`.
        text: Markdown, without the machine.
        figures: for the JSON file, beside the machine and the time.
        out: folder, made if need be; None writes nothing.

    Raises:
        UserError: the folder cannot be written.
    """
    where = machine()
    text = f"## {name}\n\n{describe(where)}\n\n{text}\n"
    print(text, flush=True)
    if out is None:
        return
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    record = {
        "benchmark": name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": where,
        "figures": figures,
    }
    with open_atomic(folder / f"{name}.json", "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2)
    with open_atomic(folder / f"{name}.md", "w", encoding="utf-8") as file:
        file.write(text)


def note(text: str) -> None:
    """Says on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)
