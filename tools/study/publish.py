"""Writes the networks of a finished model."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.format import format_bytes
from training.models.snapshot import read_snapshot, save_networks


def publish(snapshot: str, output: str, *, half: bool = False, discriminator: bool = False) -> str:
    """Writes Gs and E.

    Args:
        snapshot: of a training run.
        output: file to write.
        half: all numbers as float16.
        discriminator: D as well.

    Returns:
        The file and its size, for people.

    Raises:
        UserError: a network is missing, or a number is too large for 16 bits.
    """
    networks, position = read_snapshot(snapshot)
    wanted = ("E", "D", "Gs") if discriminator else ("E", "Gs")
    if missing := [slot for slot in wanted if slot not in networks]:
        raise UserError(f"{snapshot} holds no network {missing[0]}; name a snapshot of a training")
    chosen = {slot: networks[slot] for slot in wanted}
    if half:
        largest = max(np.abs(v).max() for data in chosen.values() for v in data.variables.values())
        if largest > np.finfo(np.float16).max:
            raise UserError(f"{snapshot}: a value of {largest:g} is too large for --half")
        chosen = {
            slot: replace(
                data, variables={n: v.astype(np.float16) for n, v in data.variables.items()}
            )
            for slot, data in chosen.items()
        }
    save_networks(output, chosen, position)
    return f"{output}: {format_bytes(Path(output).stat().st_size)}"
