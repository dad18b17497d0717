"""Writes plain data as a pickle that programs of the time of NumPy 1 and Python 3.6 read.

Python's own pickler names what the installed NumPy calls its functions, since NumPy 2
`numpy._core.multiarray`, which NumPy 1 does not have. The one in this file writes the names that
both have, and objects of classes that are not there: it needs a class's name only. It is the
counterpart of `dnnlib.safe_pickle`, which reads these files.
"""

import pickle
import struct
from collections.abc import Iterable
from typing import IO

import numpy as np

from dnnlib.pickle_values import Call, Inert

PROTOCOL = 3  # bytes as they are; every Python 3 reads it
_ARRAYS = "numpy.core.multiarray"  # NumPy 2 reads this name as well
_BATCH = 1000  # items of a container that lie on the reader's stack at once


def dump(value: object, file: IO[bytes]) -> None:
    """Writes one value.

    Args:
        value: nested dict, list, tuple, `Inert`, `Call`, str, bytes, int of 32 bits, float, bool,
            None, NumPy arrays and scalars of numbers. An `Inert` becomes an object of the class
            that it names, which the reader makes empty and gives the state; a `Call` becomes what
            the function gives there. What occurs twice is written twice.
        file: open for binary writing.

    Raises:
        ValueError: something else.
    """
    file.write(pickle.PROTO + bytes([PROTOCOL]))
    _write(value, file)
    file.write(pickle.STOP)


def _write(value: object, file: IO[bytes]) -> None:
    if isinstance(value, np.ndarray):
        _write_array(value, file)
    elif isinstance(value, np.generic):
        _write_global(_ARRAYS, "scalar", file)
        _write_dtype(value.dtype, file)
        _write(value.tobytes(), file)
        file.write(pickle.TUPLE2 + pickle.REDUCE)
    elif isinstance(value, Inert):
        module, _, name = value.class_name.rpartition(".")
        _write_global(module, name, file)
        file.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        _write(value.state, file)
        file.write(pickle.BUILD)
    elif isinstance(value, Call):
        module, _, name = value.name.rpartition(".")
        _write_global(module, name, file)
        _write(value.args, file)
        file.write(pickle.REDUCE)
    elif isinstance(value, dict):
        file.write(pickle.EMPTY_DICT)
        pairs = list(value.items())
        for start in range(0, len(pairs), _BATCH):
            part = pairs[start : start + _BATCH]
            _write_marked((item for pair in part for item in pair), pickle.SETITEMS, file)
    elif isinstance(value, list):
        file.write(pickle.EMPTY_LIST)
        for start in range(0, len(value), _BATCH):
            _write_marked(value[start : start + _BATCH], pickle.APPENDS, file)
    elif isinstance(value, tuple):
        _write_marked(value, pickle.TUPLE, file)
    else:
        file.write(_plain(value))


def _write_marked(items: Iterable[object], operation: bytes, file: IO[bytes]) -> None:
    file.write(pickle.MARK)
    for item in items:
        _write(item, file)
    file.write(operation)


def _write_global(module: str, name: str, file: IO[bytes]) -> None:
    file.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())


def _write_array(array: np.ndarray, file: IO[bytes]) -> None:
    """In the form of NumPy's own: `_reconstruct` makes an empty array, BUILD fills it."""
    _write_global(_ARRAYS, "_reconstruct", file)
    file.write(pickle.MARK)
    _write_global("numpy", "ndarray", file)
    _write((0,), file)
    _write(b"b", file)
    file.write(pickle.TUPLE + pickle.REDUCE + pickle.MARK)
    _write(1, file)  # version of the form
    _write(array.shape, file)
    _write_dtype(array.dtype, file)
    _write(False, file)  # not in Fortran's order
    _write(array.tobytes(), file)
    file.write(pickle.TUPLE + pickle.BUILD)


def _write_dtype(dtype: np.dtype, file: IO[bytes]) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"NumPy type {dtype} is not one of numbers")
    order = dtype.str[0]
    _write_global("numpy", "dtype", file)
    _write((dtype.str[1:], False, True), file)
    file.write(pickle.REDUCE)
    _write((3, order, None, None, None, -1, -1, 0), file)
    file.write(pickle.BUILD)


def _plain(value: object) -> bytes:
    """A value that is one operation."""
    if value is None:
        return pickle.NONE
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, float):
        return pickle.BINFLOAT + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return pickle.BINUNICODE + struct.pack("<I", len(text)) + text
    if isinstance(value, bytes) and len(value) < 1 << 32:
        return pickle.BINBYTES + struct.pack("<I", len(value)) + value
    raise ValueError(f"no plain data: {type(value).__name__}")
