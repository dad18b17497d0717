"""A snapshot in the layout of another program: the published code's, or plain arrays."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from training.models.arrays_file import save_arrays
from training.models.legacy import NetworkData
from training.models.published import is_folded, save_published
from training.models.snapshot import (
    FORMAT,
    VERSION,
    build_networks,
    network_data,
    read_snapshot,
)
from training.models.torch_writer import save_torch

__all__ = ["LAYOUTS", "export_snapshot"]


def _published(
    path: str | os.PathLike[str],
    networks: Mapping[str, NetworkData],
    position: dict[str, Any],
    where: str,
) -> str:
    save_published(path, networks, where)
    if is_folded(networks):
        return "centred bits are now part of the first layer's weights: images differ by rounding"
    return ""


def _npz(
    path: str | os.PathLike[str],
    networks: Mapping[str, NetworkData],
    position: dict[str, Any],
    where: str,
) -> str:
    save_arrays(path, networks, {"format": FORMAT, "version": VERSION, "position": position})
    if any(data.original_file is not None for data in networks.values()):
        return "the file that the generator came in is left out: instances of it need the snapshot"
    return ""


def _torch(
    path: str | os.PathLike[str],
    networks: Mapping[str, NetworkData],
    position: dict[str, Any],
    where: str,
) -> str:
    save_torch(path, networks, where)
    if networks["Gs"].kwargs["stored_noise"]:
        return ""
    return "pictures by seed take the noise that is stored in such a file, not one drawn by seed"


# Name -> what writes it; returns what the user should know, if anything.
LAYOUTS: dict[str, Callable[..., str]] = {
    "published": _published,
    "torch": _torch,
    "npz": _npz,
}


def export_snapshot(
    path_or_url: str | os.PathLike[str], layout: str, out: str | os.PathLike[str]
) -> str:
    """Writes the networks of a snapshot in another layout.

    Args:
        path_or_url: any snapshot that `load_networks` reads.
        layout: "published", a pickle that the published code reads if the snapshot has all of E,
            G, D and Gs; "torch", a pickle of plain StyleGAN2 as StyleGAN2-ADA's PyTorch code has
            it, of all of G, D and Gs; "npz", arrays and a JSON text, of whatever networks there
            are.
        out: the file to write, completely or not at all.

    Returns:
        What the user should know, one line; "" if there is nothing.

    Raises:
        UserError: no such snapshot, one that the layout has no place for, or `out` cannot be
            written.
        KeyError: an unknown layout.
    """
    write = LAYOUTS[layout]
    where = os.fspath(path_or_url)
    networks, position = read_snapshot(path_or_url)
    built = build_networks(networks, position, where)  # which checks all of it
    complete = {
        slot: replace(network_data(getattr(built, slot)), unused=data.unused)
        for slot, data in networks.items()
    }
    return write(out, complete, position, where)
