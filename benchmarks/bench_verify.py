"""How near do `decode` and `verify` come to the speed of the network alone?

PNG files are read, decoded and judged against a registry, and the results are written, as the
commands do it with --out; in turn with that, the same network decodes the same pictures from
memory, as many at a time. So a slow moment of the machine meets all of them. Nothing of it is the
time to start: networks are compiled before.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli

MIN_RATIO = 0.8  # what is asked of `verify`
_MEASURE = cli.deferred("benchmarks.measure_verify:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    report.add_network(parser, "with the decoder")
    report.add_counts(
        parser,
        ("--images", 2048, "files"),
        ("--licensees", 1000, "registered"),
        ("--minibatch", 16, "images per step, the commands' default"),
        ("--rounds", 5, "samples of each"),
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    found = report.with_tensorflow(
        _MEASURE, args.network, args.images, args.licensees, args.minibatch, args.rounds
    )
    rows = [
        [name, f"{f['images_per_second']:.0f}", f"{f['ratio']:.2f}", f"{f['cpu_us']:.0f}"]
        for name, f in found["rates"].items()
    ]
    head = ["what", "images/s", "times the network's", "processor time, us/image"]
    is_met = found["rates"]["verify"]["ratio"] >= MIN_RATIO
    text = (
        f"### {Path(args.network).name}, {found['resolution']}x{found['resolution']}, "
        f"{args.images:,} PNG files, {args.licensees:,} licensees\n\n{report.table(head, rows)}\n\n"
        f"{found['execution']}, minibatch {args.minibatch}, median of {args.rounds} rounds; the "
        "registry is not calibrated.\n\n"
        f"Goal: `verify` at {MIN_RATIO} of the network's speed at least: "
        f"{'met' if is_met else 'MISSED'}"
    )
    report.publish("verify", text, found, args.out)


if __name__ == "__main__":
    cli.run(main)
