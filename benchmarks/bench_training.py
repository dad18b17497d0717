"""How long does a training iteration take, against the floor of its multiply-adds?

An iteration is the average over the schedule: generator and decoder step and discriminator step
every time, path length and R1 at their intervals. Times are medians of single steps that run in
turn, with matrix products between the rounds that tell the machine's peak; the floor is the work of
the phases at that peak. What the first call of a phase takes longer is reported apart: XLA compiles
it, or loads the program that an earlier run kept (GAN_FINGERPRINTS_XLA_CACHE=0 always compiles).
Every setting runs in a process of its own, whose peak memory is given.
"""

import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import floor, report
from benchmarks.settings import SETTINGS, Setting
from dnnlib import cli
from dnnlib.tflib.start import add_execution, quiet_tensorflow

ROUNDS = {"128x128": 3, "32x32": 15}


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--setting", choices=SETTINGS, help="measure this one alone (default: all)")
    parser.add_argument("--config", metavar="CONFIG", help="measure this preset instead")
    parser.add_argument(
        "--resolution", type=int, default=32, metavar="N", help="with --config (default: 32)"
    )
    parser.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=8,
        metavar="N",
        help="with --config (default: 8)",
    )
    parser.add_argument("--rounds", type=cli.positive_int, metavar="N", help="steps of each phase")
    add_execution(parser)
    return parser


def measure(setting: Setting, rounds: int, options: dict[str, Any]) -> dict[str, Any]:
    """Times the phases of one setting.

    Args:
        setting: what to train.
        rounds: steps of each phase, the first one of each not counted.
        options: further fields of TrainOptions.

    Returns:
        `phases`: name -> `interval` (iterations), `first` and `median` (seconds of the first and
        of a later call), `floor` (seconds), `fraction`; the same for a mean `iteration`, with
        `images_per_second`; `peak_flops` (FLOP/s), `memory_gb`, `minibatch`, `execution`,
        `gflop_per_image` of each network.
    """
    quiet_tensorflow(verbose=False)
    import tensorflow as tf

    from dnnlib.tflib.machine import resolve_execution
    from training.setup import make_networks, make_steps

    config = setting.make_config(**options)
    networks = make_networks(config)
    execution = resolve_execution(config.ops, config.precision)
    steps = make_steps(config, networks, execution)
    intervals = floor.phase_intervals(config.schedule)
    phases = make_phases(config, steps, tf)
    calls = {name: phases[name] for name in intervals}
    first = {name: report.seconds(call) for name, call in calls.items()}

    peaks: list[float] = []
    medians = report.paired_medians(calls, rounds, lambda: peaks.append(floor.measure_peak(3)))
    peak = statistics.median(peaks)
    flops = {name: floor.network_flops(getattr(networks, name)) for name in ("G", "D", "E")}
    work = floor.phase_flops(flops["G"], flops["D"], flops["E"])
    floors = {name: work[name] * config.minibatch / peak for name in calls}
    total = sum(medians[name] / intervals[name] for name in calls)
    total_floor = floor.iteration_flops(work, intervals) * config.minibatch / peak
    return {
        "setting": dataclasses.asdict(setting),
        "minibatch": config.minibatch,
        "execution": execution.label,
        "gflop_per_image": {name: value / 1e9 for name, value in flops.items()},
        "peak_flops": peak,
        "phases": {
            name: {
                "interval": intervals[name],
                "first": first[name],
                "median": medians[name],
                "floor": floors[name],
                "fraction": floors[name] / medians[name],
            }
            for name in calls
        },
        "iteration": {
            "median": total,
            "floor": total_floor,
            "fraction": total_floor / total,
            "images_per_second": config.minibatch / total,
        },
        "memory_gb": report.peak_memory_gb(),
    }


def make_phases(config: Any, steps: Any, tf: Any) -> dict[str, Callable[[], Any]]:
    """Name of a phase -> a call of it that waits for its end."""
    from training.schedule import learning_rates

    rates = tf.constant(learning_rates(config, 0), tf.float32)
    weights = tf.constant([config.loss.decouple, config.loss.latent, config.loss.bits])
    step = tf.constant(0, tf.int64)
    size = config.G["resolution"]
    reals = tf.random.normal([config.minibatch, size, size, config.G["num_channels"]])
    beta = tf.constant(0.999)
    phases = {
        "generator and decoder": lambda: steps.generator_step(step, rates, weights),
        "discriminator": lambda: steps.discriminator_step(step, reals, rates, beta),
        "path length": lambda: steps.path_length_step(step, rates),
        "R1": lambda: steps.r1_step(reals, rates),
    }

    def waiting(call: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: [value.numpy() for value in call().values()]

    return {name: waiting(call) for name, call in phases.items()}


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
    options = {"ops": args.ops, "precision": args.precision}
    figures = {}
    for name, setting in chosen.items():
        rounds = args.rounds or ROUNDS.get(name, 10)
        figures[name] = report.in_process(measure, setting, rounds, options)
    text = "\n\n".join(describe(name, values) for name, values in figures.items())
    report.publish("training", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
