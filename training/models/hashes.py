"""The names by which a registry knows a model: hashes of what its networks compute."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.canonical_json import canonical_bytes
from dnnlib.errors import UserError
from training.models.legacy import NetworkData
from training.models.limits import check_kwargs
from training.networks.table import NETWORKS


def network_hash(data: NetworkData, where: str = "the network") -> str:
    """SHA-256 of what a network computes: class, arguments and values; 64 hex digits.

    It does not depend on the file's format or the order in it. Arguments at their default are left
    out, so that one that a later version adds changes no hash.

    Args:
        data: from a file that may be hostile.
        where: file and slot, for error texts.

    Raises:
        UserError: unknown or impossible arguments, a variable that is not an array of floats.
    """
    check_kwargs(data, where)
    known = {field.name: field for field in fields(NETWORKS[data.class_name].Config)}
    kwargs = {
        name: float(value) if known[name].type is float else value
        for name, value in data.kwargs.items()
        if value != known[name].default
    }
    digest = hashlib.sha256(_line([data.class_name, kwargs]))
    for name in sorted(data.variables):
        value = data.variables[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise UserError(
                f"{where}: the variable {safe_pickle.printable(name)} is not an array of floats"
            )
        digest.update(_line([name, list(value.shape)]))
        digest.update(np.ascontiguousarray(value, "<f4").data)
    return digest.hexdigest()


ORIGINAL = "original_decoder"  # in the position of a snapshot whose decoder was retuned


def hashes_of(
    networks: dict[str, NetworkData],
    where: str = "the snapshot",
    position: Mapping[str, Any] | None = None,
) -> tuple[str | None, str | None]:
    """The names by which a registry knows a model: its own and its decoder's.

    A model is known by its generator and the decoder that it was trained with, also when it is read
    by another decoder: a retuned snapshot says the hash of the first one. A hash that is not true
    does no harm, since with it no generator gives the hash of a registered model.

    Args:
        networks: by slot, from `snapshot.read_snapshot`.
        where: the file, for error texts.
        position: from there, too; None: none.

    Returns:
        SHA-256 in hex of generator (Gs, or else G) and first decoder together, None where either is
        missing; SHA-256 of the decoder in the file, None where it is missing.

    Raises:
        UserError: as `network_hash`.
    """
    if "E" not in networks:
        return None, None
    decoder_hash = network_hash(networks["E"], f"{where}: E")
    slot = "Gs" if "Gs" in networks else "G"
    if slot not in networks:
        return None, decoder_hash
    original = str((position or {}).get(ORIGINAL, decoder_hash))
    both = _line([network_hash(networks[slot], f"{where}: {slot}"), original])
    return hashlib.sha256(both).hexdigest(), decoder_hash


def _line(values: list) -> bytes:
    """Plain data that ends where it ends, so that no two rows run into each other."""
    return canonical_bytes(values) + b"\n"
