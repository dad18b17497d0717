"""How long does a training iteration take, against the floor of its multiply-adds?

An iteration is the average over the schedule: generator and decoder step and discriminator step
every time, path length and R1 at their intervals. Times are medians of single steps that run in
turn, with matrix products between the rounds that tell the machine's peak; the floor is the work of
the phases at that peak. What the first call of a phase takes longer is reported apart: XLA compiles
it, or loads the program that an earlier run kept (GAN_FINGERPRINTS_XLA_CACHE=0 always compiles).
Every setting runs in a process of its own, whose peak memory is given.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import floor, report
from benchmarks.settings import SETTINGS, Setting
from dnnlib import cli
from dnnlib.tflib.start import add_execution
from training.options import AUGMENTS

ROUNDS = {"128x128": 3, "32x32": 15}
_MEASURE = cli.deferred("benchmarks.measure_training:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--setting", choices=SETTINGS, help="measure this one alone (default: all)")
    parser.add_argument("--config", metavar="CONFIG", help="measure this preset instead")
    parser.add_argument(
        "--resolution", type=int, default=32, metavar="N", help="with --config (default: 32)"
    )
    count: dict[str, Any] = {"type": cli.positive_int, "metavar": "N"}
    parser.add_argument("--minibatch", default=8, help="with --config (default: 8)", **count)
    parser.add_argument("--rounds", help="steps of each phase", **count)
    parser.add_argument("--immunize", metavar="EDITS", help="as in run_training.py")
    parser.add_argument("--augment", choices=tuple(AUGMENTS), help="as in run_training.py")
    add_execution(parser)
    return parser


def describe(name: str, figures: dict[str, Any]) -> str:
    """The figures of one setting as Markdown."""
    rows = [
        [
            phase,
            f["interval"],
            f"{f['median']:.3f}",
            f"{f['floor']:.3f}",
            f"{f['fraction']:.0%}",
            f"{max(f['first'] - f['median'], 0):.0f}",
        ]
        for phase, f in figures["phases"].items()
    ]
    mean = figures["iteration"]
    first = sum(float(row[-1]) for row in rows)
    rows.append(
        [
            "**iteration**",
            1,
            f"{mean['median']:.3f}",
            f"{mean['floor']:.3f}",
            f"{mean['fraction']:.0%}",
            f"{first:.0f}",
        ]
    )
    flops = ", ".join(f"{key} {value:.3g}" for key, value in figures["gflop_per_image"].items())
    head = ["phase", "every", "s", "floor, s", "of the floor", "compile or load, s"]
    return (
        f"### {name}, {figures['setting']['config']}, minibatch {figures['minibatch']}, "
        f"{figures['execution']}\n\n"
        f"{report.table(head, rows)}\n\n"
        f"{mean['images_per_second']:.3g} images/s. Peak {figures['peak_flops'] / 1e9:.0f} GFLOP/s "
        f"({floor.PEAK_SIZE}^3 matrix product); GFLOP per image: {flops}. "
        f"Peak memory {figures['memory_gb']:.2f} GiB."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    if args.config:
        name = f"{args.resolution}x{args.resolution}"
        chosen = {name: Setting(args.config, resolution=args.resolution, minibatch=args.minibatch)}
    else:
        chosen = {args.setting: SETTINGS[args.setting]} if args.setting else SETTINGS
    options = {name: getattr(args, name) for name in ("ops", "precision", "immunize", "augment")}
    figures = {}
    for name, setting in chosen.items():
        rounds = args.rounds or ROUNDS.get(name, 10)
        figures[name] = report.with_tensorflow(_MEASURE, setting, rounds, options)
    text = "\n\n".join(describe(name, values) for name, values in figures.items())
    report.publish("training", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
