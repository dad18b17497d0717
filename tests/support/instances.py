"""What an instance may hold, looked at as data."""

import os
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from training.models.snapshot import build_network, read_snapshot

_CLASS = "PlainGenerator"
_SLOT = "Gs"  # the slot from which pictures are made


def inspect_instance(path: str | os.PathLike[str]) -> None:
    """Makes sure that a .pkl file holds one plain generator and nothing else, reading it as data.

    That rules out a mapping network, styles, a fingerprint, a decoder, and notes of any kind.

    Raises:
        UserError: it cannot be read, or holds anything else; names the first such thing.
    """
    where = os.fspath(path)
    networks, position = read_snapshot(path)
    for data in networks.values():
        if data.class_name != _CLASS:
            raise UserError(f"{where} is no instance: it holds a {data.class_name}; issue it again")
    if position:
        raise UserError(f"{where} is no instance: it holds a training position; issue it again")
    build_network(networks[_SLOT], f"{where}: {_SLOT}")  # names and shapes, no more and no fewer
    for name, value in networks[_SLOT].variables.items():
        if value.dtype != np.float32:
            raise UserError(f"{where} is no instance: {name} is {value.dtype}; issue it again")
    # What the reader of snapshots passes over.
    content: Any = safe_pickle.load(path)
    for entry, known in (
        (content, {"format", "version", "position", "networks", "checksums"}),
        (content["networks"][_SLOT], {"class", "kwargs", "variables"}),
    ):
        if unknown := [key for key in entry if key not in known]:
            raise UserError(
                f"{where} is no instance: it holds {safe_pickle.printable(unknown[0])}; issue it "
                "again"
            )
