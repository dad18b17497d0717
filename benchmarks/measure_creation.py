"""Times the making of data sets, and looks at its memory; see `bench_creation`."""

import contextlib
import functools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import report
from dnnlib.ahead import num_cores
from dnnlib.images import UnreadableImageError
from gan_fingerprints.commands import dataset
from training.data.building import BuildOptions, build
from training.data.dataset import open_dataset
from training.data.preparing import Square, fit_square
from training.data.sources import ImageSource
from training.data.writer import DatasetWriter

SEED = 1
RESOLUTION = 128  # of the data sets
READ = 32  # images per batch when they are read
TINY = 8  # pixels


def write_sources(folder: Path, size: tuple[int, int], suffix: str, count: int) -> list[Path]:
    """Made-up pictures of (width, height): blurred noise of several sizes, like photographs."""
    rng = np.random.default_rng(SEED)
    paths = []
    for number in range(count):
        picture = np.full([size[1], size[0], 3], 128.0)
        for cells, strength in ((4, 60), (16, 30), (64, 12)):
            small = Image.fromarray(rng.integers(0, 256, [cells, cells, 3], np.uint8))
            large = np.asarray(small.resize(size, Image.Resampling.BICUBIC), float)
            picture += (large - 128) * strength / 80
        picture += rng.normal(0, 2, picture.shape)
        paths.append(folder / f"{number:05d}.{suffix}")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def measure(
    size: tuple[int, int], suffix: str, count: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Processor seconds, seconds and bytes per image of three ways to make a data set.

    `pillow`: a loop that decodes, crops, resizes and compresses with Pillow, and writes nothing;
    `pillows`: as many such loops as there are cores, processes that share the pictures; `plain`: a
    loop that writes the published layout; `ours`: the command's own work on all cores.
    `read_*`: of the images per processor second when batches of the latter two are read. Medians of
    rounds in which the ways take turns.
    """
    cores = num_cores()
    loops = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as name, loops:
        folder = Path(name)
        paths = write_sources(folder, size, suffix, count)
        shares = [paths[i::cores] for i in range(cores)]
        list(loops.map(_pillow, shares))  # they have started, and imported what they need
        for path in paths:
            path.read_bytes()  # into the system's cache
        ways: dict[str, Callable[[Path], Any]] = {
            "pillow": lambda out: _pillow(paths),
            "pillows": lambda out: list(loops.map(_pillow, shares)),
            "plain": lambda out: _plain(paths, out),
            "ours": lambda out: _ours(paths, out),
        }
        samples: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds):
            for way, work in ways.items():
                out = folder / f"{way}-{number}"
                samples.setdefault(way, []).append(_time(functools.partial(work, out), count))
                if out.exists():
                    read = _time(functools.partial(_read, folder, out.name), READ * 20)
                    samples.setdefault(f"read_{way}", []).append(read)
        found = {
            way: {key: statistics.median(sample[key] for sample in some) for key in some[0]}
            for way, some in samples.items()
        }
        for way in ("plain", "ours"):
            files = (folder / f"{way}-0").iterdir()
            found[way]["bytes"] = sum(path.stat().st_size for path in files) / count
    return found


def write_tiny(folder: str, count: int) -> None:
    """PNG files of 8x8 pixels."""
    rng = np.random.default_rng(SEED)
    for number in range(count):
        pixels = rng.integers(0, 256, [TINY, TINY, 3], np.uint8)
        Image.fromarray(pixels).save(Path(folder) / f"{number:08d}.png", compress_level=0)


def measure_tiny(folder: str, out: str) -> dict[str, float]:
    """Largest memory of this process before and after the command has made a data set, in GiB."""
    before = report.peak_memory_gb()
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        dataset.main(["create_from_images", out, folder])
    return {"before": before, "peak": report.peak_memory_gb()}


def _time(work: Callable[[], Any], count: int) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "cpu": (time.process_time() - cpu) / count,
        "wall": (time.perf_counter() - start) / count,
    }


def _pillow(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as picture:
            small = fit_square(picture.convert("RGB"), RESOLUTION)
        with open(os.devnull, "wb") as file:
            small.save(file, "WEBP", lossless=True, method=0, quality=0)


def _plain(paths: list[Path], out: Path) -> None:
    with DatasetWriter(out, lods=True) as writer:
        for path in paths:
            with Image.open(path) as picture:
                writer.add(np.asarray(fit_square(picture.convert("RGB"), RESOLUTION)))


def _ours(paths: list[Path], out: Path) -> None:
    def fetch(number: int) -> bytes:
        try:
            return paths[number].read_bytes()
        except OSError as error:
            raise UnreadableImageError(str(error), "unreadable") from error

    source = ImageSource(out, [path.name for path in paths], fetch)
    options = BuildOptions("RGB", False, 0, False, out.with_suffix(".jsonl"))
    build(out, source, range(len(paths)), Square(RESOLUTION), options)


def _read(folder: Path, name: str) -> None:
    with open_dataset(folder, name).batches(READ, SEED) as batches:
        for _ in range(20):
            next(batches)
