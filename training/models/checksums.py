"""Checksums of a snapshot's arrays: a flipped bit on a disk is found when the file is read."""

import functools
import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.safe_pickle import printable
from training.models.legacy import NetworkData


def of_arrays(variables: Mapping[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 in hex of every array's values, as float32 in little-endian order."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(value, "<f4").data).hexdigest()
        for name, value in variables.items()
    }


@functools.cache  # once for each file
def say_there_are_none(where: str) -> None:
    """Says of a file that its damage would not be noticed."""
    print(f"{where} has no checksums: a damaged file would not show", file=sys.stderr)


def check(recorded: Any, networks: Mapping[str, NetworkData], where: str) -> None:
    """Compares the arrays of a file with what it recorded of them.

    Files of versions before 0.2 have recorded nothing, which stderr says.

    Args:
        recorded: slot -> name -> `of_arrays`; None: the file has none.
        networks: of the file.
        where: the file, for texts.

    Raises:
        UserError: an array has changed.
    """
    if recorded is None:
        say_there_are_none(where)
        return
    for slot, data in networks.items():
        arrays = {k: v for k, v in data.variables.items() if isinstance(v, np.ndarray)}
        found = of_arrays({k: v for k, v in arrays.items() if v.dtype.kind == "f"})
        theirs = recorded.get(slot) if isinstance(recorded, dict) else None
        if not isinstance(theirs, dict):
            raise UserError(f"{where}: {slot} has no proper checksums; get the file again")
        for name, value in found.items():
            # Names that should not be there are found where the network is built.
            if name in theirs and theirs[name] != value:
                raise UserError(
                    f"{where}: the variable {printable(name)} of {slot} is not what was saved: the "
                    "file is damaged or was changed; get it again"
                )
