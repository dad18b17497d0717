"""How fast, how large and how sure is the search through all registered fingerprints?

Random fingerprints. Time per image with one thread, NumPy's pass through all of them against FAISS
as the prefilter; memory and time with very many; and the share of images whose fingerprint comes
first when a fifth of the bits is read wrongly: exactly so many, or each bit with that probability.
All logits are equally large there, so that the likelihood knows no more than the number of matches.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import report
from dnnlib import cli
from dnnlib.optional import require
from fingerprints.bits import pack_bits
from fingerprints.detection.search import PackedIndex, write_index

BITS = (128, 64, 32)
WRONG = {128: 26, 64: 13, 32: 6}  # bits that are read wrongly, about a fifth
FLIP = 0.2
SEED = 1
# What is asked of the search, for 1 million and 100 million fingerprints of 128 bits.
MAX_SECONDS, MAX_GIB, MIN_EXACT, MIN_INDEPENDENT = 0.010, 4.0, 0.999, 0.985


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    for flag, default, what in (
        ("--fingerprints", 1_000_000, "registered"),
        ("--large", 100_000_000, "registered, in the measurement of memory"),
        ("--trials", 2000, "images per share"),
        ("--images", 50, "that are timed"),
    ):
        parser.add_argument(
            flag, type=cli.positive_int, default=default, metavar="N",
            help=f"{what} (default: {default:,})",
        )  # fmt: skip
    return parser


def random_words(rng: np.random.Generator, count: int, num_bits: int) -> np.ndarray:
    """Uniform fingerprints, packed: uint64 [count,W]."""
    octets = rng.bytes(count * -(-num_bits // 64) * 8)
    words = np.frombuffer(octets, "<u8").reshape(count, -1).copy()
    if num_bits < 64:
        words &= pack_bits(np.ones([1, num_bits], np.uint8))[0]
    return words


def make_index(count: int, num_bits: int) -> PackedIndex:
    """An index in memory."""
    words = random_words(np.random.default_rng(SEED), count, num_bits)
    return PackedIndex.from_arrays(np.arange(count), words, num_bits)


def measure_time(count: int, num_bits: int, num_images: int) -> dict[str, float]:
    """Median seconds per image, with NumPy and with FAISS in turn."""
    faiss = require("faiss", "the benchmark needs {name}: pip install -r requirements/faiss.txt")
    faiss.omp_set_num_threads(1)
    index = make_index(count, num_bits)
    other = index.with_faiss()
    rng = np.random.default_rng(SEED + 1)
    samples: dict[str, list[float]] = {"numpy": [], "faiss": []}
    for number in range(num_images + 2):
        logits = rng.standard_normal(num_bits)
        for name, searched in (("numpy", index), ("faiss", other)):
            seconds = report.seconds(partial(searched.search, logits))
            if number >= 2:  # the first ones warm up
                samples[name].append(seconds)
    return {name: statistics.median(values) for name, values in samples.items()}


def blocks(count: int, num_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fingerprints as a registry gives them."""
    rng = np.random.default_rng(SEED)
    for start in range(0, count, 1_000_000):
        size = min(1_000_000, count - start)
        yield np.arange(start, start + size), random_words(rng, size, num_bits)


def write_large(path: str, count: int) -> dict[str, float]:
    """Writes an index of 128 bits; seconds and peak memory in GiB."""
    seconds = report.seconds(lambda: write_index(path, blocks(count, 128), 128))
    return {"seconds": seconds, "peak_gib": report.peak_memory_gb()}


def search_large(path: str) -> dict[str, float]:
    """Searches it; seconds to open it and, median, per image; peak memory and size in GiB."""
    start = time.perf_counter()
    index = PackedIndex.open(path)
    opened = time.perf_counter() - start
    rng = np.random.default_rng(SEED + 1)
    queries = rng.standard_normal([4, 128])
    samples = [report.seconds(partial(index.search, logits)) for logits in queries]
    return {
        "open_seconds": opened,
        "seconds": statistics.median(samples[1:]),  # the first one maps the file
        "peak_gib": report.peak_memory_gb(),
        "file_gib": Path(path).stat().st_size / 2**30,
    }


def measure_recall(count: int, num_bits: int, trials: int) -> dict[str, float]:
    """Shares of images whose fingerprint comes first."""
    index = make_index(count, num_bits)
    rng = np.random.default_rng(SEED + 2)
    found = {"exact": 0, "independent": 0}
    for row in rng.integers(0, count, trials):
        bits = np.unpackbits(index.words[row : row + 1].copy().view(np.uint8), count=num_bits)
        for kind in found:
            wrong = np.zeros(num_bits, bool)
            if kind == "exact":
                wrong[rng.choice(num_bits, WRONG[num_bits], replace=False)] = True
            else:
                wrong = rng.random(num_bits) < FLIP
            best = index.search(np.where(bits ^ wrong, 1.0, -1.0), 1)[0]
            found[kind] += best.row == row
    return {kind: hits / trials for kind, hits in found.items()}


def judge(figures: dict[str, Any]) -> str:
    """The goals, one a line, and whether they are met."""
    best, large = figures["bits"]["128"], figures["large"]
    peak = max(large["search"]["peak_gib"], large["write"]["peak_gib"])
    checks = [
        (f"at most {MAX_SECONDS * 1e3:g} ms/image", best["seconds"]["numpy"] <= MAX_SECONDS),
        (f"at most {MAX_GIB:g} GiB for the large index, written and searched", peak <= MAX_GIB),
        (
            f"first at {WRONG[128]} wrong bits: {MIN_EXACT} at least",
            best["recall"]["exact"] >= MIN_EXACT,
        ),
        (
            f"first at independent errors of {FLIP}: {MIN_INDEPENDENT} at least",
            best["recall"]["independent"] >= MIN_INDEPENDENT,
        ),
    ]
    return "\n".join(f"- {what}: {'met' if is_met else 'MISSED'}" for what, is_met in checks)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of the processes that measure
    figures: dict[str, Any] = {"fingerprints": args.fingerprints, "bits": {}}
    rows = []
    for num_bits in BITS:
        report.note(f"{num_bits} bits ...")
        seconds = report.in_process(measure_time, args.fingerprints, num_bits, args.images)
        recall = report.in_process(measure_recall, args.fingerprints, num_bits, args.trials)
        figures["bits"][str(num_bits)] = {"seconds": seconds, "recall": recall}
        rows.append([
            num_bits, f"{seconds['numpy'] * 1e3:.1f}", f"{seconds['faiss'] * 1e3:.1f}",
            WRONG[num_bits], f"{recall['exact']:.4f}", f"{recall['independent']:.4f}",
        ])  # fmt: skip
    report.note(f"{args.large:,} fingerprints ...")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "large.idx")
        written = report.in_process(write_large, path, args.large)
        searched = report.in_process(search_large, path)
    figures["large"] = {"fingerprints": args.large, "write": written, "search": searched}
    head = [
        "bits", "ms/image, NumPy", "ms/image, FAISS", "bits wrong", "first, exactly so many",
        "first, each with 0.2",
    ]  # fmt: skip
    text = (
        f"{report.table(head, rows)}\n\n"
        f"{args.fingerprints:,} fingerprints, one thread; shares of {args.trials:,} images.\n\n"
        f"{args.large:,} fingerprints of 128 bits: file {searched['file_gib']:.2f} GiB; search "
        f"{searched['seconds'] * 1e3:.0f} ms/image with {searched['peak_gib']:.2f} GiB of memory "
        f"at its peak, the mapped file included; opening it {searched['open_seconds']:.1f} s; "
        f"writing it {written['seconds']:.0f} s and {written['peak_gib']:.2f} GiB.\n\n"
        f"Goals, for 128 bits and NumPy:\n\n{judge(figures)}"
    )
    report.publish("attribution", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
