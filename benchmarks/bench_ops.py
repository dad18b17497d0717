"""What do the operations of our own gain over plain TensorFlow and over XLA?

Forward, and forward with the gradient, at the sizes of config-e at 128x128. Three implementations:
plain TensorFlow in a tf.function, the same compiled with XLA, and the compiled custom operation.
Times are medians of calls that run in turn. Within a network XLA also fuses an operation with its
neighbours, which shows in the training benchmark alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from benchmarks.op_cases import CASES, IMPLEMENTATIONS
from dnnlib import cli

_MEASURE = cli.deferred("benchmarks.measure_ops:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument(
        "--rounds", type=cli.positive_int, default=25, metavar="N", help="(default: 25)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="of the images (default: float32)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    figures = report.with_tensorflow(_MEASURE, args.rounds, args.dtype)
    rows = []
    for name, times in figures["cases"].items():
        operation, shape, _ = CASES[name]
        size = "x".join(str(n) for n in shape)
        for direction, label in (("forward", "forward"), ("both", "and gradient")):
            found = times[direction]
            cells = [f"{found[key] * 1000:.2f}" if key in found else "-" for key in IMPLEMENTATIONS]
            rows.append([f"`{operation}`: {name}", size, label, *cells])
    head = ["operation", "images", "", "plain, ms", "XLA, ms", "compiled, ms"]
    text = f"{report.table(head, rows)}\n\nImages of {args.dtype}."
    if figures["problem"]:
        text += f" No compiled operations: {figures['problem']}."
    report.publish("ops", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
