"""Does the data set keep up with training?

Images per second that the input pipeline delivers alone, shuffled, with and without mirroring, from
made-up images on disk, in the published layout and compressed: the data set is read, shuffled and
decoded as in training. They are compared with what training on this machine could consume at most:
config-e-Gskip-Dresnet at the floor, which is its multiply-adds at the speed of a plain matrix
product.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli

IMAGES = {128: 2048, 256: 512}  # 100 MB each
MINIBATCH = 4  # small ones cost most per image
_MEASURE = cli.deferred("benchmarks.measure_data:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument(
        "--resolution",
        type=cli.positive_int,
        metavar="N",
        help="measure this one alone (default: 128 and 256)",
    )
    parser.add_argument("--images", type=cli.positive_int, metavar="N", help="in the data set")
    parser.add_argument(
        "--rounds", type=cli.positive_int, default=5, metavar="N", help="(default: 5)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    figures = {}
    rows = []
    for resolution in [args.resolution] if args.resolution else IMAGES:
        count = args.images or IMAGES.get(resolution, 1024)
        found = report.with_tensorflow(_MEASURE, resolution, count, args.rounds, MINIBATCH)
        figures[f"{resolution}x{resolution}"] = found
        kinds = {name: some for name, some in found.items() if isinstance(some, dict)}
        for name, values in kinds.items():
            rate = values["images_per_second"]
            rows.append(
                [
                    f"{resolution}x{resolution}",
                    name,
                    f"{rate:.0f}",
                    f"{values['per_processor_second']:.0f}",
                    f"{found['consumption']:.2f}",
                    f"{rate / found['consumption']:.0f}",
                    f"{values['first']:.2f}",
                ]
            )
    head = ["size", "data set", "images/s", "per processor second",
            "training at the floor, images/s", "times", "first, s"]  # fmt: skip
    text = (
        f"{report.table(head, rows)}\n\n"
        f"Batches of {MINIBATCH}, shuffled, from a file in the system's cache. Training: config-e-"
        "Gskip-Dresnet at the speed of a matrix product, which no run exceeds."
    )
    report.publish("data", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
