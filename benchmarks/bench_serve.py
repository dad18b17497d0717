"""How near does the service come to bulk `verify`, and does its memory stay as it is?

A service is started as `serve` starts it, and many clients on this machine send it PNG files, each
on a connection of its own, the next one when the last is answered; in turn with that, bulk `verify`
reads the same files, so that a slow moment of the machine meets both. Clients and service share
the cores. Every answer is compared with what `verify` says of the picture.

With --memory-requests, so many requests are sent, and the service's memory is read in between.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli

MIN_RATIO = 0.8  # of bulk `verify`
MAX_P99 = 1000.0  # ms
_MEASURE = cli.deferred("benchmarks.measure_serve:measure")
_MEASURE_MEMORY = cli.deferred("benchmarks.measure_serve:measure_memory")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    report.add_network(parser, "with the decoder")
    report.add_counts(
        parser,
        ("--images", 2048, "files"),
        ("--licensees", 1000, "registered"),
        ("--clients", 64, "at the same time"),
        ("--rounds", 5, "samples of each"),
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1, 4], metavar="N",
        help="pictures of a request (default: 1 4)",
    )  # fmt: skip
    parser.add_argument(
        "--memory-requests", type=cli.positive_int, nargs="+", metavar="N",
        help="read the memory after so many requests, for example 10000 50000 100000; "
        "nothing else is measured",
    )  # fmt: skip
    parser.add_argument(
        "--flags", nargs="*", default=[], metavar="NAME=VALUE",
        help="more flags of serve, without their dashes: max-batch=32",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    flags = [f"--{flag}" for flag in args.flags]
    if args.memory_requests:
        found = report.with_tensorflow(
            _MEASURE_MEMORY, args.network, args.licensees, args.clients,
            sorted(args.memory_requests), flags,
        )  # fmt: skip
        report.publish("serve-memory", memory_text(args, found), found, args.out)
        return
    found = report.with_tensorflow(
        _MEASURE, args.network, args.images, args.licensees, args.clients, args.sizes,
        args.rounds, flags,
    )  # fmt: skip
    report.publish("serve", text(args, found), found, args.out)


def text(args: Any, found: dict[str, Any]) -> str:
    """The report, in Markdown."""
    head = [
        *("pictures a request", "images/s", "of `verify`", "p50, ms", "p99, ms"),
        *("refused", "wrong", "processor time of the service, us/image", "of the clients"),
    ]
    rows = [
        [
            *(size, f"{f['images_per_second']:.0f}", f"{f['ratio']:.2f}", f"{f['p50_ms']:.0f}"),
            *(f"{f['p99_ms']:.0f}", f["refused"], f["wrong"], f"{f['server_cpu_us']:.0f}"),
            f"{f['client_cpu_us']:.0f}",
        ]
        for size, f in found["serve"].items()
    ]
    is_met = {
        size: f["ratio"] >= MIN_RATIO and f["p99_ms"] < MAX_P99 and not f["wrong"]
        for size, f in found["serve"].items()
    }
    goals = ", ".join(f"{size}: {'met' if met else 'MISSED'}" for size, met in is_met.items())
    size = found["resolution"]
    return (
        f"### {Path(args.network).name}, {size}x{size}, {args.images:,} PNG files, "
        f"{args.licensees:,} licensees, {args.clients} clients\n\n"
        f"Bulk `verify`: {found['verify']['images_per_second']:.0f} images/s, processor time "
        f"{found['verify']['cpu_us']:.0f} us/image.\n\n"
        f"{report.table(head, rows)}\n\nMedian of {args.rounds} rounds; the registry is not "
        f"calibrated.\n\nGoal: {MIN_RATIO} of bulk `verify`, p99 under 1 s, nothing wrong; "
        f"{goals}"
    )


def memory_text(args: Any, found: dict[str, Any]) -> str:
    """The report on memory, in Markdown."""
    rows = [[f"{int(count):,}", f"{mb:.0f}"] for count, mb in found["memory"].items()]
    return (
        f"### {Path(args.network).name}, {args.clients} clients, one picture a request\n\n"
        f"{report.table(['requests', 'resident memory, MiB'], rows)}\n\n"
        f"{found['refused']} refused, {found['wrong']} wrong."
    )


if __name__ == "__main__":
    cli.run(main)
