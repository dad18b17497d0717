"""How many images per second do generate-images and decode make, against their floor?

Two figures each: the network alone, as the commands call it, whose floor is its multiply-adds at
the speed of a matrix product measured between the rounds; and with what the commands do around it,
drawing by seed and writing PNG files, or reading them. The start-up, apart: the real commands with
one image, from the shell's command to its end, cold (files out of the page cache, where the system
lets us, and an empty cache folder) and warm; of the first setting alone.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from benchmarks.settings import SETTINGS
from dnnlib import cli
from dnnlib.cache import CACHE_VARIABLE
from dnnlib.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = {"128x128": 3, "32x32": 7}
MINIBATCHES = (1, 16)
COMMANDS = ("generate-images", "decode")
_SAVE_MODEL = cli.deferred("benchmarks.measure_generation:save_model")
_MEASURE = cli.deferred("benchmarks.measure_generation:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--setting", choices=SETTINGS, help="measure this one alone (default: all)")
    parser.add_argument("--rounds", type=cli.positive_int, metavar="N", help="calls of each kind")
    parser.add_argument(
        "--starts",
        type=int,
        default=2,
        metavar="N",
        help="warm starts of each command; 0: none, cold ones neither (default: 2)",
    )
    return parser


def measure_starts(model: Path, starts: int) -> dict[str, dict[str, float]]:
    """Seconds that each command takes for one image: one cold start, median of `starts` warm ones.

    Raises:
        UserError: a command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        results, cache = Path(folder) / "results", Path(folder) / "cache"
        environment = os.environ | {CACHE_VARIABLE: str(cache)}
        image = results / "00000-generate-images" / "seed0000.png"
        lines = {
            "generate-images": [
                "run_generator.py",
                "generate-images",
                f"--network={model}",
                "--seeds=0",
                f"--result-dir={results}",
            ],
            "decode": ["run_fingerprints.py", "decode", f"--network={model}", str(image)],
        }
        figures = {}
        for name, (script, *flags) in lines.items():
            command = [sys.executable, str(ROOT / script), *flags]
            forget_files([Path(sys.prefix), model.parent, ROOT / "training"])
            start = partial(_run, command, environment)
            times = [report.seconds(start) for _ in range(starts + 1)]
            figures[name] = {"cold": times[0], "warm": statistics.median(times[1:])}
        return figures


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise UserError(f"{Path(command[1]).name} failed: {run.stderr.strip()}")


def forget_files(folders: Sequence[Path]) -> None:
    """Asks the system to drop what it has cached of these folders' files, used ones aside."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                file = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    chosen = {args.setting: SETTINGS[args.setting]} if args.setting else SETTINGS
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, setting in chosen.items():
            model = Path(folder) / f"{name}.pkl"
            report.with_tensorflow(_SAVE_MODEL, setting, model)
            found = report.with_tensorflow(
                _MEASURE, model, args.rounds or ROUNDS[name], MINIBATCHES
            )
            if args.starts > 0 and not figures:  # the first alone: most of it is TensorFlow's own
                found["start"] = measure_starts(model, args.starts)
            figures[name] = found
    report.publish("generation", describe(figures), figures, args.out)


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows, starts = [], []
    for name, found in figures.items():
        for command in COMMANDS:
            for count in MINIBATCHES:
                f = found[command][str(count)]
                rows.append(
                    [
                        command,
                        name,
                        count,
                        f"{f['images_per_second']:.3g}",
                        f"{f['floor']:.3g}",
                        f"{f['fraction']:.0%}",
                        f"{f['with_files']:.3g}",
                    ]
                )
            if "start" in found:
                times = found["start"][command]
                starts.append([command, name, f"{times['cold']:.1f}", f"{times['warm']:.1f}"])
    head = ["command", "size", "minibatch", "images/s", "floor", "of the floor", "with files"]
    text = report.table(head, rows)
    if starts:
        head = ["start-up with one image", "size", "cold, s", "warm, s"]
        text += f"\n\n{report.table(head, starts)}"
    return text


if __name__ == "__main__":
    cli.run(main)
