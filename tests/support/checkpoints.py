"""A position, and ways to damage a checkpoint."""

import os
from pathlib import Path

import numpy as np

from training.checkpoint import Position

POSITION = Position(
    iteration=7,
    num_images=448,
    tick=1,
    tick_images=320,
    outputs_due=True,
    elapsed=1.5,
    statistics={"loss_G": [0.1, float(np.float32(0.2))]},
    metric_files={"metric-x.txt": 12},
    settings={"seed": 1, "loss": {"bits": 2.0}, "modulated_log2": [2, 3]},
    environment={"threads": 2},
    bit_exact=True,
    finished=False,
)


def damage_variables(path: Path) -> None:
    (data,) = path.glob("variables.data-*")
    content = bytearray(data.read_bytes())
    content[4] ^= 1
    data.write_bytes(content)


def damage_position(path: Path) -> None:
    (path / "position.json").write_text("{")


def cut_variables(path: Path) -> None:
    (data,) = path.glob("variables.data-*")
    os.truncate(data, data.stat().st_size - 3)
