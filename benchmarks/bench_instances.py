"""How fast are instances issued, does memory grow with their number, and how fast do they run?

Every format is written in a process of its own: one instance first, which pays for tracing and
conversion, then many others. The speed is that of the function behind generate-images, as this
machine runs it by default, of an instance and of its parent in turn.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli
from dnnlib.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ("pkl", "SavedModel", "ONNX")
MINIBATCH = 16
SAMPLE_SECONDS = 0.02  # many short samples: the difference is smaller than a machine's moods
_WRITING = cli.deferred("benchmarks.measure_instances:measure_writing")
_SPEED = cli.deferred("benchmarks.measure_instances:measure_speed")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    add = parser.add_argument
    add(
        "--network",
        default=str(ROOT / "models" / "portraits-32.pkl"),
        metavar="PKL",
        help="the parent (default: models/portraits-32.pkl)",
    )
    add(
        "--instances",
        type=cli.positive_int,
        default=50,
        metavar="N",
        help="how many of each format (default: 50)",
    )
    add(
        "--rounds",
        type=cli.positive_int,
        default=300,
        metavar="N",
        help="samples of the speed (default: 300)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    formats = {}
    for kind in FORMATS:
        try:
            formats[kind] = report.with_tensorflow(_WRITING, args.network, kind, args.instances)
        except UserError as error:
            if kind != "ONNX":
                raise
            report.note(f"no ONNX: {error}")
    speed = report.with_tensorflow(_SPEED, args.network, args.rounds, MINIBATCH, SAMPLE_SECONDS)
    rows = [
        [
            kind,
            f"{found['per_second']:.3g}",
            f"{found['first']:.2f}",
            f"{found['growth_mib']:.1f}",
            f"{found['file_mib']:.2f}",
        ]
        for kind, found in formats.items()
    ]
    head = ["format", "instances/s", "the first, s", "memory growth, MiB", "file, MiB"]
    text = (
        f"### {Path(args.network).name}, {args.instances} instances\n\n"
        f"{report.table(head, rows)}\n\n"
        f"{speed['execution']}, minibatch {MINIBATCH}: the parent makes {speed['parent']:.4g} "
        f"images/s, an instance {speed['instance']:.4g}, {speed['ratio']:.3f} times as many; "
        f"pixels differ by at most {speed['difference']}."
    )
    figures = {"instances": args.instances, "formats": formats, "speed": speed}
    report.publish("instances", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
