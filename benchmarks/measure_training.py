"""Times the phases of training; see `bench_training`."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks import floor, report
from benchmarks.device import measure_peak
from benchmarks.settings import Setting
from dnnlib.tflib.machine import resolve_execution
from training.config import TrainConfig
from training.loss import weights_of
from training.schedule import learning_rates, strengths
from training.setup import make_networks, make_steps
from training.steps import Steps


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
    config = setting.make_config(**options)
    networks = make_networks(config)
    execution = resolve_execution(config.ops, config.precision)
    steps = make_steps(config, networks, execution)
    intervals = floor.phase_intervals(config.schedule)
    phases = make_phases(config, steps)
    calls = {name: phases[name] for name in intervals}
    first = {name: report.seconds(call) for name, call in calls.items()}

    peaks: list[float] = []
    medians = report.paired_medians(calls, rounds, lambda: peaks.append(measure_peak(3)))
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


def make_phases(config: TrainConfig, steps: Steps) -> dict[str, Callable[[], Any]]:
    """Name of a phase -> a call of it that waits for its end."""
    rates = tf.nest.map_structure(tf.constant, learning_rates(config, 0))
    weights = tf.nest.map_structure(tf.constant, weights_of(config.loss, 0))
    strong = tf.nest.map_structure(tf.constant, strengths(config, 0))
    step = tf.constant(0, tf.int64)
    size = config.G.resolution
    reals = tf.random.normal([config.minibatch, size, size, config.G.num_channels])
    beta = tf.constant(0.999)
    phases = {
        "generator and decoder": lambda: steps.generator_step(step, rates, weights, strong),
        "discriminator": lambda: steps.discriminator_step(step, reals, rates, beta),
        "path length": lambda: steps.path_length_step(step, rates),
        "R1": lambda: steps.r1_step(step, reals, rates),
    }

    def waiting(call: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: [value.numpy() for value in call().values()]

    return {name: waiting(call) for name, call in phases.items()}
