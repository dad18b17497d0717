"""What stands on the stack of `safe_pickle`'s machine: names not yet used, arrays half made.

Also what it says when it refuses, and how the few allowed names are stood in for.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.format import format_bytes

_NUMPY_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


@dataclass
class Inert:
    """Stands in for an object of an allowed class: its state, and no behaviour."""

    class_name: str  # "module.name" as the file has it
    state: dict[str, Any] | None = None


@dataclass
class Call:
    """For `pickle_writer`: what a function gives for arguments, whoever reads the file."""

    name: str  # "module.function"
    args: tuple[Any, ...] = ()


def printable(value: object) -> str:
    """A text from an untrusted file, short and without control characters, for a message."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    text = value if isinstance(value, str) else f"a value of type {type(value).__name__}"
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


class RefusedError(Exception):
    """The file asks for something that is not data; the text reads "asks for ..." or the like."""


class DamagedError(Exception):
    """The file is truncated or no pickle."""


class PlaceHolder:
    """What must not be left in a result: something that a file has not finished."""

    name: str  # for the refusal


@dataclass
class Global(PlaceHolder):
    """A name of the allow-list, not yet used."""

    name: str
    make: Callable[..., Any] | None = None  # for REDUCE
    new: type | None = None  # for NEWOBJ and REDUCE


@dataclass
class Dtype(PlaceHolder):
    """A NumPy type under construction: REDUCE gives the kind and size, BUILD the byte order."""

    name: str  # for example "f4"
    built: bool = False

    def build(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 2 else None
        extras = state[2:5] if isinstance(state, tuple) else ()
        if self.built or order not in ("<", ">", "|", "=") or any(x is not None for x in extras):
            raise RefusedError("asks for a NumPy type that is not a plain number")
        self.name = order + self.name.lstrip("<>=|")
        self.built = True

    def numpy(self) -> np.dtype:
        return np.dtype(self.name)


@dataclass
class Array(PlaceHolder):
    """A NumPy array under construction: REDUCE makes an empty one, BUILD its contents."""

    name = "an unfinished array"

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if self.value is not None or not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("asks for a NumPy array in an unknown form")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, Dtype):
            raise RefusedError("asks for a NumPy array without a type of numbers")
        self.value = _array(shape, dtype, data, "F" if fortran is True else "C")


def _array(shape: Any, dtype: Dtype, data: Any, order: str) -> np.ndarray:
    """A read-only view of `data`, so that no file can make arrays larger than itself."""
    if not isinstance(data, bytes | memoryview):
        raise RefusedError("asks for a NumPy array whose contents are not bytes")
    if not (
        isinstance(shape, tuple)
        and len(shape) <= 32
        and all(type(size) is int and size >= 0 for size in shape)
    ):
        raise RefusedError("asks for a NumPy array of an impossible shape")
    count = 1
    for size in shape:  # Python's integers: no overflow
        count *= size
    itemsize = dtype.numpy().itemsize
    if count * itemsize != len(data):
        wanted = format_bytes(count * itemsize) if count < 1 << 50 else "an absurd size"
        raise RefusedError(
            f"asks for a NumPy array of {wanted} and brings {format_bytes(len(data))}"
        )
    flat = np.frombuffer(data, dtype.numpy()) if data else np.zeros(0, dtype.numpy())
    return flat.reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def position_in_file(array: np.ndarray) -> int | None:
    """Where in the pickle the first value of an array lies, in bytes from its beginning.

    Args:
        array: from `safe_pickle.load` with a path, or a part of such an array.

    Returns:
        None where the file does not hold the values as they are (protocol 2 holds text).
    """
    base: Any = array
    while not isinstance(base, memoryview):
        if base is None:
            return None
        base = getattr(base, "base", None)
    start = np.frombuffer(memoryview(base.obj), np.uint8).__array_interface__["data"][0]
    return int(array.__array_interface__["data"][0] - start)


def make_dtype(*args: Any) -> Dtype:
    name = args[0] if args else None
    if not isinstance(name, str) or not _NUMPY_DTYPE.fullmatch(name):
        raise RefusedError(f"asks for the NumPy type {printable(name)}")
    return Dtype(name)


def make_array(*args: Any) -> Array:
    # Always (ndarray, (0,), b"b") in real files: an empty array that BUILD fills.
    if len(args) != 3 or not isinstance(args[0], Global) or args[0].name != "numpy.ndarray":
        raise RefusedError("asks for a NumPy array of an unknown class")
    return Array()


def make_scalar(*args: Any) -> Any:
    if len(args) != 2 or not isinstance(args[0], Dtype):
        raise RefusedError("asks for a NumPy scalar that is not a number")
    return _array((), args[0], args[1], "C").item()


def make_ordered_dict(*args: Any) -> dict:
    if not args:
        return {}
    pairs = args[0]  # as Python 2 pickled it: [[key, value], ...]
    if len(args) != 1 or type(pairs) is not list:
        raise RefusedError("asks for collections.OrderedDict with unknown arguments")
    if not all(type(pair) is list and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
        raise RefusedError("asks for collections.OrderedDict with unknown arguments")
    return {key: value for key, value in pairs}
