"""How long do the phases of a training iteration take, once compiled?

Prints a Markdown table; `--json FILE` writes the same figures. Times are medians of single steps
that run in turn, the compilation before them is reported apart.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib import cli
from dnnlib.atomic import open_atomic


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="config-tiny", help="preset (default: config-tiny)")
    parser.add_argument("--resolution", type=int, default=32, help="of the images (default: 32)")
    parser.add_argument("--rounds", type=cli.positive_int, default=30, help="steps of each phase")
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    parser.add_verbose()
    return parser


def time_phases(phases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Runs the phases in turn: name -> seconds of the first call, median seconds of the others."""
    figures = {}
    for name, phase in phases.items():
        start = time.perf_counter()
        phase()
        figures[name] = {"first": time.perf_counter() - start}
    samples: dict[str, list[float]] = {name: [] for name in phases}
    for _ in range(rounds):
        for name, phase in phases.items():
            start = time.perf_counter()
            phase()
            samples[name].append(time.perf_counter() - start)
    for name, values in samples.items():
        figures[name]["median"] = statistics.median(values)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    cli.quiet_tensorflow(args.verbose)
    import tensorflow as tf

    from training.config import TrainOptions, setup_training_config
    from training.schedule import learning_rates
    from training.setup import make_networks, make_steps

    options = TrainOptions(dataset="none", config=args.config)
    config = setup_training_config(options, args.resolution, 3)
    steps = make_steps(config, make_networks(config))
    rates = tf.constant(learning_rates(config, 0), tf.float32)
    weights = tf.constant([config.loss.decouple, config.loss.latent, config.loss.bits])
    step = tf.constant(0, tf.int64)
    reals = tf.random.normal([config.minibatch, args.resolution, args.resolution, 3])
    beta = tf.constant(0.999)
    phases: dict[str, Callable[[], Any]] = {
        "generator and decoder": lambda: steps.generator_step(step, rates, weights),
        "discriminator": lambda: steps.discriminator_step(step, reals, rates, beta),
    }
    intervals = {name: 1 for name in phases}
    if config.schedule.g_reg_interval:
        phases["path length"] = lambda: steps.path_length_step(step, rates)
        intervals["path length"] = config.schedule.g_reg_interval
    if config.schedule.d_reg_interval:
        phases["R1"] = lambda: steps.r1_step(reals, rates)
        intervals["R1"] = config.schedule.d_reg_interval
    figures = time_phases(phases, args.rounds)
    average = sum(figure["median"] / intervals[name] for name, figure in figures.items())
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, TensorFlow {tf.__version__}"
    print(f"{args.config} at {args.resolution}x{args.resolution}, minibatch {config.minibatch}")
    print(f"on {machine}\n")
    print("| phase | every | ms per step (median) | share of an iteration | s for the first call |")
    print("|---|---|---|---|---|")
    for name, figure in figures.items():
        share = figure["median"] / intervals[name] / average
        print(
            f"| {name} | {intervals[name]} | {figure['median'] * 1000:.1f} | {share:.0%} "
            f"| {figure['first']:.1f} |"
        )
    print(f"\n{config.minibatch / average:.1f} images/s")
    if args.json:
        record = {"config": args.config, "machine": machine, "phases": figures}
        with open_atomic(args.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)


if __name__ == "__main__":
    cli.run(main)
