"""Is the p-value of T right? Random fingerprints against pictures that know nothing of them.

Given a picture, a fingerprint that is drawn by fair coins reaches a level with the attained size:
the largest p-value at or below it, which is a little smaller where sums are few. Logits of many
kinds, made up and read by a decoder from pictures that no model of ours made; with --foreign, of
every source there.
"""

import math
import os
import sys
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import scipy.stats
from PIL import Image

from benchmarks import report
from dnnlib import cli
from dnnlib.errors import UserError
from fingerprints.detection.evidence import chance, weigh
from fingerprints.image_files import find_images, read_image

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
NUM_BITS = 128
SEED = 1
CONFIDENCE = 0.999  # of the intervals
_WORDS = 20_000  # fingerprints at a time
_DECODE = cli.deferred("benchmarks.decoded:decode_pictures")
_ROOT = Path(__file__).resolve().parent.parent


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    report.add_counts(
        parser,
        ("--pictures", 64, "of each kind"),
        ("--fingerprints", 200_000, "drawn for each picture"),
        ("--size", 32, "of pictures, pixels: what the network reads"),
    )
    report.add_network(parser, "whose decoder reads pictures; an empty text: none")
    parser.add_argument(
        "--foreign", metavar="DIR", help="folder of folders, see tools/foreign_images.py"
    )
    return parser


def made_up(num_pictures: int) -> dict[str, np.ndarray]:
    """Logits [M,B] by the name of their distribution."""
    rng = np.random.default_rng(SEED)
    shape = (num_pictures, NUM_BITS)
    normal = rng.standard_normal(shape)
    return {
        "all equal": rng.choice([-1.0, 1.0], shape),
        "normal": normal,
        "heavy-tailed (Cauchy)": rng.standard_cauchy(shape),
        "few dominate": normal * np.where(rng.random(shape) < 0.05, 100, 1),
        "half are zero": normal * (rng.random(shape) < 0.5),
    }


def pictures(num_pictures: int, size: int = 32) -> dict[str, np.ndarray]:
    """uint8 [M,R,R,3], R = `size`: emoji of the sample data set, upside down; noise; gradients."""
    rng = np.random.default_rng(SEED + 1)
    with zipfile.ZipFile(_ROOT / "datasets" / "noto-emoji-32.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        chosen = rng.choice(names, num_pictures, replace=False)
        emoji = [Image.open(BytesIO(archive.read(name))).convert("RGB") for name in chosen]
    emoji = [one.resize((size, size), Image.Resampling.LANCZOS) for one in emoji]
    ramp = np.linspace(0, 1, size)[:, None, None] * rng.integers(0, 256, (num_pictures, 1, 1, 3))
    shape = (num_pictures, size, size, 3)
    return {
        "emoji, upside down": np.stack([np.asarray(picture)[::-1] for picture in emoji]),
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "gradients": np.broadcast_to(ramp, shape).astype(np.uint8),
        "one colour": np.broadcast_to(ramp[:, -1:], shape).astype(np.uint8),
    }


def foreign_pictures(folder: str, num_pictures: int, size: int) -> dict[str, np.ndarray]:
    """uint8 [M,R,R,3] by source, drawn from all of its pictures; M is `num_pictures` at most.

    Raises:
        UserError: there are no folders of pictures.
    """
    rng = np.random.default_rng(SEED + 1)
    found = {}
    for source in sorted(path for path in Path(folder).glob("*") if path.is_dir()):
        paths = find_images([str(source)])
        chosen = rng.choice(len(paths), min(num_pictures, len(paths)), replace=False)
        images = [read_image(paths[number], size, 3, resize=True) for number in chosen]
        found[source.name] = np.stack(images)
    if not found:
        raise UserError(f"--foreign={folder} holds no folders of images, one per source")
    return found


def count(logits: np.ndarray, num_fingerprints: int, seed: int) -> list[dict[str, float]]:
    """How many random fingerprints reach each level, and how many should.

    Returns:
        Per level: `level`, `rate` found, `size` attained, `low` and `high`, the interval of the
        rate for that size.
    """
    rng = np.random.default_rng(seed)
    hits, sizes = np.zeros(len(LEVELS)), np.zeros(len(LEVELS))
    weights = weigh(logits)
    for row in weights:
        values, found = tails_of(row)
        limits = []
        for number, level in enumerate(LEVELS):
            last = int(np.searchsorted(found, level, side="right")) - 1
            limits.append(values[last] if last >= 0 else -1)
            sizes[number] += found[last] / len(weights) if last >= 0 else 0.0
        most = int(np.maximum(row, 0).sum())
        for start in range(0, num_fingerprints, _WORDS):
            num_words = min(_WORDS, num_fingerprints - start)
            octets = np.frombuffer(rng.bytes(num_words * NUM_BITS // 8), np.uint8)
            octets = octets.reshape(num_words, -1)
            gains = np.unpackbits(octets, axis=1).astype(np.float32) @ row.astype(np.float32)
            hits += np.sum((most - gains)[:, None] <= limits, axis=0)
    total = len(weights) * num_fingerprints
    rows = []
    for level, hit, size in zip(LEVELS, hits, sizes, strict=True):
        low, high = scipy.stats.binom.interval(CONFIDENCE, total, size) if size else (0, 0)
        rate = {"level": level, "rate": hit / total, "size": size}
        rows.append(rate | {"low": float(low) / total, "high": float(high) / total})
    return rows


def tails_of(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses from 0 on that are possible or nearly so, and their p-values up to about 0.02."""
    step = int(np.gcd.reduce(weights)) or 1
    total = int(np.abs(weights).sum())
    few = total / 2 - math.sqrt(float(np.sum(weights**2.0)))
    values = np.arange(0, max(few, 0) + 1, step).astype(np.int64)
    return values, chance(np.broadcast_to(weights, (len(values), len(weights))), values)


def judge(figures: dict[str, list[dict[str, float]]]) -> str:
    """Whether every rate is what it should be, and none is above its level."""
    rows = [row for found in figures.values() for row in found]
    checks = [
        ("rates within the interval of the attained size",
         all(row["low"] <= row["rate"] <= row["high"] for row in rows)),
        ("no attained size above its level", all(row["size"] <= row["level"] for row in rows)),
    ]  # fmt: skip
    return "\n".join(f"- {what}: {'met' if is_met else 'MISSED'}" for what, is_met in checks)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    if args.foreign is not None and not args.network:
        raise UserError("--foreign goes with a --network, whose decoder reads these pictures")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    kinds = made_up(args.pictures)
    if args.network:
        report.note("decoding ...")
        seen = pictures(args.pictures, args.size)
        if args.foreign is not None:
            seen |= foreign_pictures(args.foreign, args.pictures, args.size)
        logits = report.with_tensorflow(_DECODE, args.network, seen)
        kinds |= {f"decoder, {name}": values for name, values in logits.items()}
    figures: dict[str, Any] = {}
    for number, (name, values) in enumerate(kinds.items()):
        report.note(f"{name} ...")
        figures[name] = report.in_process(count, values, args.fingerprints, SEED + 2 + number)
    head = ["logits", *(f"{level:g}: size" for level in LEVELS), *(f"{v:g}: rate" for v in LEVELS)]
    rows = [
        [name, *(f"{row['size']:.2e}" for row in found), *(f"{row['rate']:.2e}" for row in found)]
        for name, found in figures.items()
    ]
    text = (
        f"{report.table(head, rows)}\n\n{args.pictures:,} pictures of each kind at most, "
        f"{args.fingerprints:,} fingerprints of {NUM_BITS} bits for each of them.\n\n"
        f"Goals ({CONFIDENCE:.1%} intervals):\n\n{judge(figures)}"
    )
    report.publish("null", text, {"kinds": figures}, args.out)


if __name__ == "__main__":
    cli.run(main)
