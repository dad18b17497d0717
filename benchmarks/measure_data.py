"""Times the data set alone; see `bench_data`."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import floor
from benchmarks.device import measure_peak
from benchmarks.settings import Setting
from training.data.dataset import open_dataset
from training.data.writer import DatasetWriter
from training.setup import make_networks

SEED = 1


def write_images(folder: Path, count: int, resolution: int) -> None:
    """A data set of colour gradients with noise, which no store can compress to nothing."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[0:resolution, 0:resolution, 0:1][:2] / resolution
    with DatasetWriter(folder) as writer:
        for _ in range(count):
            slopes = rng.uniform(-1, 1, [2, 3])
            clean = 128 + 100 * (x * slopes[0] + y * slopes[1])
            noise = rng.integers(-20, 21, [resolution, resolution, 3])
            writer.add(np.clip(clean + noise, 0, 255).astype(np.uint8))


def measure(resolution: int, count: int, rounds: int, minibatch: int) -> dict[str, Any]:
    """Images per second of the data set alone and of training at the floor.

    Returns:
        `plain` and `mirrored`: `first` (seconds to the first batch) and `images_per_second` (median
        of `rounds`, each of them an epoch or a second, whatever is shorter); `peak_flops` (FLOP/s);
        `consumption` (images/s).
    """
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "data", count, resolution)
        dataset = open_dataset(folder, "data")
        batches: dict[str, Iterator[Any]] = {}
        figures: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            for name, mirror in (("plain", False), ("mirrored", True)):
                start = time.perf_counter()
                batches[name] = stack.enter_context(dataset.batches(minibatch, SEED, mirror))
                next(batches[name])
                figures[name] = {"first": time.perf_counter() - start}
                take(batches[name], count, 60)  # the first epoch fills the system's cache
            rates: dict[str, list[float]] = {name: [] for name in batches}
            for _ in range(rounds):
                peaks.append(measure_peak(1))
                for name, iterator in batches.items():
                    rates[name].append(take(iterator, count, 1))
    for name, values in rates.items():
        figures[name]["images_per_second"] = statistics.median(values)
    peak = statistics.median(peaks)
    consumption = peak / training_flops(resolution)
    return figures | {"images": count, "peak_flops": peak, "consumption": consumption}


def take(batches: Iterator[Any], count: int, limit: float) -> float:
    """Images per second while `count` images are drawn, or as many as `limit` seconds allow."""
    images = 0
    start = now = time.perf_counter()
    while images < count and now - start < limit:
        images += next(batches).shape[0]
        now = time.perf_counter()
    return images / (now - start)


def training_flops(resolution: int) -> float:
    """FLOPs per image of a mean iteration of config-e-Gskip-Dresnet."""
    config = Setting(resolution=resolution).make_config()
    networks = make_networks(config)
    per_image = [floor.network_flops(net) for _, net in networks.items()[:-1]]
    intervals = floor.phase_intervals(config.schedule)
    return floor.iteration_flops(floor.phase_flops(*per_image), intervals)
