"""The smallest runs that have every phase, and what they leave."""

import re
from pathlib import Path

import numpy as np

from training.config import LossConfig, Preset, TickConfig
from training.data.writer import DatasetWriter

METRIC = "watermark_accuracy_1k"


# As small as can be; every phase takes part. Ticks 0, 1, 2, 3, 4 come at 64, 576, 1088, 1600 and
# 2048 images.
SMALL = Preset(
    fmap_base=32,
    fmap_max=4,
    latent_size=6,
    dlatent_size=8,
    mapping="linear",
    watermark_size=8,
    modulated_range="4-8",
    total_kimg=2.048,
    minibatch_gpu=32,
    loss=LossConfig(gamma=1.0),
    ticks=TickConfig(kimg=0.512, image_ticks=2, snapshot_ticks=2),
)


def write_images(path: Path, count: int, channels: int = 3, size: int = 8) -> None:
    """A data set of noise."""
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(count):
            writer.add(rng.integers(0, 256, [size, size, channels], np.uint8))


def ticks_of(log: str) -> list[tuple[str, ...]]:
    """The fields of every tick; each line must have exactly the documented form."""
    found = []
    for line in log.splitlines():
        if not line.startswith("tick"):
            continue
        match = TICK_PATTERN.fullmatch(line)
        assert match, line
        number, kimg, lod, minibatch, elapsed, *rest = match.groups()
        values = (
            int(number), float(kimg), float(lod), int(minibatch), elapsed.strip(),
            *(float(value) for value in rest),
        )  # fmt: skip
        assert TICK % values == line
        assert re.fullmatch(r"(\d+d \d\dh \d\dm|(\d+h )?(\d+m )?\d+s)", elapsed.strip())
        found.append((number, kimg, minibatch))
    return found


TICK = (
    "tick %-5d kimg %-8.1f lod %-5.2f minibatch %-4d time %-12s sec/tick %-7.1f "
    "sec/kimg %-7.2f maintenance %-6.1f gpumem %.1f"
)


TICK_PATTERN = re.compile(
    r"tick (\d+) +kimg (\d+\.\d) +lod (0\.00) +minibatch (\d+) +time (\S.*\S|\ds) +"
    r"sec/tick (\d+\.\d) +sec/kimg (\d+\.\d\d) +maintenance (\d+\.\d) +gpumem (\d+\.\d)"
)
