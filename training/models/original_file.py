"""The file that an adopted generator came in, as a part of a snapshot."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from training.models.legacy import NetworkData

_FILE, _HASH = "original_file", "original_sha256"


def entries(data: NetworkData) -> dict[str, Any]:
    """What a snapshot's entry of a network holds beside class, arguments and variables."""
    if data.original_file is None:
        return {}
    return {_FILE: data.original_file, _HASH: sha256(data.original_file)}


def check(entry: Mapping[str, Any], where: str) -> np.ndarray | None:
    """The file in a snapshot's entry of a network, uint8 [M]; None where there is none.

    Args:
        entry: from a file that may be hostile.
        where: file and slot, for error texts.

    Raises:
        UserError: no bytes, or other bytes than were saved.
    """
    found = entry.get(_FILE)
    if found is None:
        return None
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != 1:
        raise UserError(f"{where}: its {_FILE} is no list of bytes; get the file again")
    if entry.get(_HASH) != sha256(found):
        raise UserError(
            f"{where}: its {_FILE} is not what was saved: the file is damaged or was changed; get "
            "it again"
        )
    return found


def sha256(file: np.ndarray) -> str:
    """SHA-256 in hex of bytes, uint8 [M]."""
    return hashlib.sha256(np.ascontiguousarray(file).data).hexdigest()
