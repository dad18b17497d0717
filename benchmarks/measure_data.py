"""Times the data set alone; see `bench_data`."""

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


LAYOUTS = {"published": False, "compressed": True}
KINDS = {
    (f"{layout}, mirrored" if mirror else layout): (layout, mirror)
    for layout in LAYOUTS
    for mirror in (False, True)
}


def write_images(folder: Path, count: int, resolution: int, compress: bool = False) -> None:
    """A data set of colour gradients with noise, which no store can compress to nothing."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[0:resolution, 0:resolution, 0:1][:2] / resolution
    with DatasetWriter(folder, compress=compress) as writer:
        for _ in range(count):
            slopes = rng.uniform(-1, 1, [2, 3])
            clean = 128 + 100 * (x * slopes[0] + y * slopes[1])
            noise = rng.integers(-20, 21, [resolution, resolution, 3])
            writer.add(np.clip(clean + noise, 0, 255).astype(np.uint8))


def measure(resolution: int, count: int, rounds: int, minibatch: int) -> dict[str, Any]:
    """Images per second of the data set alone and of training at the floor.

    Returns:
        Of each of `KINDS`: `first` (seconds to the first batch), `images_per_second` (median of
        `rounds`, each of them an epoch or a second, whatever is shorter) and
        `per_processor_second` (images, over all rounds); `peak_flops` (FLOP/s); `consumption`
        (images/s).
    """
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for layout, compress in LAYOUTS.items():
            write_images(Path(folder) / layout, count, resolution, compress)
        figures: dict[str, Any] = {}
        rates: dict[str, list[float]] = {name: [] for name in KINDS}
        work = dict.fromkeys(KINDS, (0, 0.0))
        for name, (layout, mirror) in KINDS.items():
            start = time.perf_counter()
            with open_dataset(folder, layout).batches(minibatch, SEED, mirror) as batches:
                next(batches)
                figures[name] = {"first": time.perf_counter() - start}
                take(batches, count, 60)  # the first epoch fills the system's cache
        for _ in range(rounds):
            peaks.append(measure_peak(1))
            # One after another: what reads ahead must not take the processor from the next one.
            for name, (layout, mirror) in KINDS.items():
                with open_dataset(folder, layout).batches(minibatch, SEED, mirror) as batches:
                    next(batches)
                    before = time.process_time()
                    images, rate = take(batches, count, 1)
                rates[name].append(rate)
                total, seconds = work[name]
                work[name] = total + images, seconds + time.process_time() - before
    for name, values in rates.items():
        figures[name]["images_per_second"] = statistics.median(values)
        figures[name]["per_processor_second"] = work[name][0] / work[name][1]
    peak = statistics.median(peaks)
    consumption = peak / training_flops(resolution)
    return figures | {"images": count, "peak_flops": peak, "consumption": consumption}


def take(batches: Iterator[Any], count: int, limit: float) -> tuple[int, float]:
    """Draws `count` images, or as many as `limit` seconds allow.

    Returns:
        How many these are, and images per second.
    """
    images = 0
    start = now = time.perf_counter()
    while images < count and now - start < limit:
        images += next(batches).shape[0]
        now = time.perf_counter()
    return images, images / (now - start)


def training_flops(resolution: int) -> float:
    """FLOPs per image of a mean iteration of config-e-Gskip-Dresnet."""
    config = Setting(resolution=resolution).make_config()
    networks = make_networks(config)
    per_image = [floor.network_flops(net) for _, net in networks.items()[:-1]]
    intervals = floor.phase_intervals(config.schedule)
    return floor.iteration_flops(floor.phase_flops(*per_image), intervals)
