"""What does training need in memory, and how far does --minibatch-gpu bring it down?

Real runs of run_training.py, one iteration with all phases each, that differ in --minibatch-gpu
alone: the minibatch is computed in slices of that size. The figure is the largest resident memory
of the process, which includes TensorFlow itself and the compilation; the default minibatch is so
large that images outweigh both. On a GPU its own memory counts, which the log tells (gpumem).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution

COMMAND = Path(__file__).resolve().parent.parent / "run_training.py"
IMAGES = 256  # in the data set
_WRITE_IMAGES = cli.deferred("benchmarks.measure_data:write_images")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    add = parser.add_argument
    add("--config", default="config-tiny", metavar="CONFIG", help="(default: config-tiny)")
    add("--resolution", type=cli.positive_int, default=32, metavar="N", help="(default: 32)")
    add("--minibatch", type=cli.positive_int, default=512, metavar="N", help="(default: 512)")
    add(
        "--slices",
        type=cli.number_list,
        default=[512, 32],
        metavar="LIST",
        help="the --minibatch-gpu to compare (default: 512,32)",
    )
    add_execution(parser)
    return parser


def measure(
    script: Path, data_dir: Path, minibatch: int, minibatch_gpu: int, flags: Sequence[str]
) -> dict[str, Any]:
    """One iteration of run_training.py on the data set `data` below `data_dir`.

    Call it in a small process: what a process held when it started a child counts for the child.

    Returns:
        `memory_gb`: peak resident memory in GiB; `seconds`: from start to end.

    Raises:
        UserError: the run failed.
    """
    with tempfile.TemporaryDirectory() as results, tempfile.TemporaryFile() as output:
        command = [
            sys.executable,
            str(script),
            f"--data-dir={data_dir}",
            "--dataset=data",
            f"--result-dir={results}",
            f"--minibatch={minibatch}",
            f"--minibatch-gpu={minibatch_gpu}",
            f"--total-kimg={minibatch / 1000}",
            *flags,
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # wait4 alone tells the memory of one child.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else "no output"
            raise UserError(f"run_training.py ended with status {process.returncode}: {reason}")
    return {"memory_gb": usage.ru_maxrss / 2**20, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    flags = [f"--config={args.config}", f"--ops={args.ops}", f"--precision={args.precision}"]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        report.with_tensorflow(_WRITE_IMAGES, Path(folder) / "data", IMAGES, args.resolution)
        for size in args.slices:
            figures[size] = report.in_process(
                measure, COMMAND, Path(folder), args.minibatch, size, flags
            )
    largest = max(figure["memory_gb"] for figure in figures.values())
    rows = [
        [
            size,
            args.minibatch // size,
            f"{figure['memory_gb']:.2f}",
            f"{figure['memory_gb'] / largest:.0%}",
            f"{figure['seconds']:.0f}",
        ]
        for size, figure in figures.items()
    ]
    head = ["--minibatch-gpu", "slices", "peak memory, GiB", "of the largest", "run, s"]
    text = (
        f"### {args.config} at {args.resolution}x{args.resolution}, minibatch {args.minibatch}\n\n"
        f"{report.table(head, rows)}\n\n"
        "One iteration with all phases, from the start of the command to its end."
    )
    names = ("config", "resolution", "minibatch", "ops", "precision")
    settings = {name: getattr(args, name) for name in names}
    report.publish("memory", text, settings | {"minibatch_gpu": figures}, args.out)


if __name__ == "__main__":
    cli.run(main)
