"""Snapshots as plain .npz archives: arrays that any NumPy opens, and one JSON text.

Variables are called `E/...`, `G/...`, `D/...`, `Gs/...`; `configurations` is a text: what a
snapshot holds beside them, as JSON. Nothing in a file is executed.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import format_bytes
from dnnlib.safe_pickle import MAX_BYTES, printable
from training.models.legacy import AVERAGING, UNUSED_VARIABLES, NetworkData

CONFIGURATIONS = "configurations"
MAX_ENTRIES = 100_000
_MAGIC = b"PK\x03\x04"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def save_arrays(
    path: str | os.PathLike[str],
    networks: Mapping[str, NetworkData],
    content: dict[str, Any],
) -> None:
    """Writes networks as an .npz archive, completely or not at all.

    Args:
        path: file name, by custom `*.npz`.
        networks: by slot; `np.load(path)[f"{slot}/{name}"]` are their variables, those included
            that a published file had and nobody uses.
        content: plain data that goes into the JSON text, beside class and keyword arguments of
            each network.

    Raises:
        UserError: it cannot be written.
    """
    described = {
        slot: {"class": data.class_name, "kwargs": data.kwargs} for slot, data in networks.items()
    }
    arrays = {CONFIGURATIONS: np.array(json.dumps(content | {"networks": described}, indent=1))}
    for slot, data in networks.items():
        for name, value in {**data.unused, **data.variables}.items():
            arrays[f"{slot}/{name}"] = np.asarray(value, np.float32)
    with open_atomic(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its own keywords are none of ours


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as an .npz archive does; False for one that cannot be opened."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == _MAGIC
    except OSError:
        return False


def load_arrays(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    """Reads what `save_arrays` has written.

    Args:
        path: the file, which may be hostile.
        where: what error texts call it.

    Returns:
        `content`, and in it "networks": by slot "class", "kwargs" and "variables". They are as in a
        snapshot of ours and not checked yet; variables that nobody uses are left out.

    Raises:
        UserError: the archive is damaged or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # What is unpacked ends where the archive says that it ends.
            size = sum(entry.file_size for entry in entries)
            if size > MAX_BYTES or len(entries) > MAX_ENTRIES:
                raise UserError(f"{where} is larger than {format_bytes(MAX_BYTES)}; no snapshot is")
            arrays = {
                entry.filename.removesuffix(".npy"): _array(archive.read(entry))
                for entry in entries
            }
    except UserError:
        raise
    except Exception as error:  # NumPy, zipfile and its decoders have a dozen kinds of errors
        reason = printable(" ".join(str(error).split()) or type(error).__name__)
        raise UserError(
            f"{where} is not a complete .npz snapshot ({reason}); get or copy the file again"
        ) from error
    text = arrays.pop(CONFIGURATIONS, None)
    if text is None or text.dtype.kind != "U" or text.shape != ():
        raise UserError(
            f"{where} is an archive without the text {CONFIGURATIONS}; name one that "
            "`run_generator.py export --layout=npz` has written"
        )
    try:
        content = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {CONFIGURATIONS} is no JSON text; get the file again") from error
    networks = content.get("networks") if isinstance(content, dict) else None
    if not isinstance(networks, dict) or not all(isinstance(v, dict) for v in networks.values()):
        raise UserError(f"{where}: {CONFIGURATIONS} names no networks; get the file again")
    for network in networks.values():
        network["variables"] = {}
    for key, array in arrays.items():
        slot, _, name = key.partition("/")
        if slot not in networks:
            raise UserError(f"{where} has the array {printable(key)}, which is of no network")
        is_used = networks[slot].get("class") in AVERAGING and name != "lod"
        if is_used or name not in UNUSED_VARIABLES:
            networks[slot]["variables"][name] = array
    return content


def _array(data: bytes) -> np.ndarray:
    """One .npy file of numbers or text, as a view of its bytes; ValueError for anything else.

    NumPy's own reader would allocate what the header declares before it looks for it.
    """
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.kind not in "fU" or any(size < 0 for size in shape):
        raise ValueError(f"an array of type {dtype}")
    size = len(data) - stream.tell()
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array {shape} of {size} bytes")
    flat = np.frombuffer(data, dtype, offset=stream.tell()) if size else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
