"""Does the data set keep up with training?

Images per second that the input pipeline delivers alone, shuffled, with and without mirroring, from
made-up images on disk: the data set is read, shuffled and decoded as in training. They are compared
with what training on this machine could consume at most: config-e-Gskip-Dresnet at the floor, which
is its multiply-adds at the speed of a plain matrix product.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import floor, report
from benchmarks.settings import Setting
from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

IMAGES = {128: 2048, 256: 512}  # 100 MB each
MINIBATCH = 4  # small ones cost most per image
SEED = 1


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


def write_images(folder: Path, count: int, resolution: int) -> None:
    """A data set of colour gradients with noise, which no store can compress to nothing."""
    from training.data.writer import DatasetWriter

    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[0:resolution, 0:resolution, 0:1][:2] / resolution
    with DatasetWriter(folder) as writer:
        for _ in range(count):
            slopes = rng.uniform(-1, 1, [2, 3])
            clean = 128 + 100 * (x * slopes[0] + y * slopes[1])
            noise = rng.integers(-20, 21, [resolution, resolution, 3])
            writer.add(np.clip(clean + noise, 0, 255).astype(np.uint8))


def measure(resolution: int, count: int, rounds: int) -> dict[str, Any]:
    """Images per second of the data set alone and of training at the floor.

    Returns:
        `plain` and `mirrored`: `first` (seconds to the first batch) and `images_per_second` (median
        of `rounds`, each of them an epoch or a second, whatever is shorter); `peak_flops` (FLOP/s);
        `consumption` (images/s).
    """
    quiet_tensorflow(verbose=False)
    from training.data.dataset import open_dataset

    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "data", count, resolution)
        dataset = open_dataset(folder, "data")
        batches: dict[str, Iterator[Any]] = {}
        figures: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            for name, mirror in (("plain", False), ("mirrored", True)):
                start = time.perf_counter()
                batches[name] = stack.enter_context(dataset.batches(MINIBATCH, SEED, mirror))
                next(batches[name])
                figures[name] = {"first": time.perf_counter() - start}
                take(batches[name], count, 60)  # the first epoch fills the system's cache
            rates: dict[str, list[float]] = {name: [] for name in batches}
            for _ in range(rounds):
                peaks.append(floor.measure_peak(1))
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
    from training.setup import make_networks

    config = Setting(resolution=resolution).make_config()
    networks = make_networks(config)
    per_image = [floor.network_flops(net) for net in (networks.G, networks.D, networks.E)]
    intervals = floor.phase_intervals(config.schedule)
    return floor.iteration_flops(floor.phase_flops(*per_image), intervals)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    figures = {}
    rows = []
    for resolution in [args.resolution] if args.resolution else IMAGES:
        count = args.images or IMAGES.get(resolution, 1024)
        found = report.in_process(measure, resolution, count, args.rounds)
        figures[f"{resolution}x{resolution}"] = found
        for name in ("plain", "mirrored"):
            rate = found[name]["images_per_second"]
            rows.append(
                [
                    f"{resolution}x{resolution}",
                    name,
                    f"{rate:.0f}",
                    f"{found['consumption']:.2f}",
                    f"{rate / found['consumption']:.0f}",
                    f"{found[name]['first']:.2f}",
                ]
            )
    head = ["size", "images", "images/s", "training at the floor, images/s", "times", "first, s"]
    text = (
        f"{report.table(head, rows)}\n\n"
        f"Batches of {MINIBATCH}, shuffled, from a file in the system's cache. Training: config-e-"
        "Gskip-Dresnet at the speed of a matrix product, which no run exceeds."
    )
    report.publish("data", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
