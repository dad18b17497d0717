"""Names by which PyTorch pickles tensors and modules, for `safe_pickle`: no torch is imported.

A tensor in a pickle is a call that gives a stretch of numbers a shape; the numbers are a stream of
their own within the pickle, of several small pickles and the raw values. A module pickled by
NVIDIA's `torch_utils.persistence` brings its class's source text, which stays a text here and is
dropped. Arrays are views of the file's bytes.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from dnnlib.format import format_bytes
from dnnlib.pickle_values import DamagedError, Global, Inert, PlaceHolder, RefusedError, printable

# The magic number 0x1950a86a20f9469cfc6c and the version 1001, each as a pickle of protocol 2.
_BEGINNING = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + bytes.fromhex("80024de9032e")
_MAX_HEAD = 1024  # bytes in front of the values; real ones take about 250
_MAX_STREAMS = 20_000  # three networks of 1024x1024 have about 600
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_STORAGE_NAMES: safe_pickle.Allowed = {("torch", name): Inert for name in _DTYPES}


@dataclass
class _Storage:
    """What a persistent id names: so many numbers under a key."""

    dtype: np.dtype
    key: str
    count: int


@dataclass
class _Values(PlaceHolder):
    """A stretch of numbers, not yet a tensor."""

    name = "PyTorch values"
    flat: np.ndarray


def names() -> safe_pickle.Allowed:
    """The names for one call of `safe_pickle.load`, which allows only so many streams.

    A module becomes an `Inert` with its class's name, which is just a text, and its state.
    """
    streams = _Streams()
    return {
        ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
        ("torch._utils", "_rebuild_parameter"): _make_parameter,
        ("torch.storage", "_load_from_bytes"): streams.read,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _make_module,
        ("builtins", "set"): _make_set,
        ("__builtin__", "set"): _make_set,
    }


def load_variables(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a network's variables as `torch.save` wrote them before PyTorch 1.6, in one stream.

    Such a file is several small pickles, of which the fourth holds the names and shapes, and then
    the values. The fourth is read twice: how many values it wants is known only at its end.

    Returns:
        Name -> read-only array, a view of the file's bytes.

    Raises:
        UserError: the file cannot be read, is in another form, or asks for anything but tensors.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return _read_variables(data)
    except (RefusedError, DamagedError) as error:
        raise UserError(
            f"{path} is not a PyTorch file of tensors alone, in the form before PyTorch 1.6: it "
            f"{error}; get the file again"
        ) from None


def _read_variables(data: bytes) -> dict[str, np.ndarray]:
    if not data.startswith(_BEGINNING):
        raise RefusedError("begins otherwise")
    system, start = _read(data, len(_BEGINNING))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedError("brings PyTorch values that are not little-endian")
    wanted: dict[str, _Storage] = {}

    def note(name: Any) -> _Storage:
        storage = _make_storage(name)
        if wanted.setdefault(storage.key, storage) != storage:
            raise RefusedError("names the same PyTorch values in two ways")
        return storage

    rebuilt = [("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_tensor")]
    allowed = {**_STORAGE_NAMES, **dict.fromkeys(rebuilt, lambda *args: None)}
    _, position = safe_pickle.read_next(data, start, allowed, note)
    keys, position = _read(data, position)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(wanted):
        raise RefusedError("brings other PyTorch values than it names")
    values = {}
    for key in keys:
        storage = wanted[key]
        begin = position + 8
        position = begin + storage.count * storage.dtype.itemsize
        if position > len(data):
            raise DamagedError("ends too early")
        if int.from_bytes(data[begin - 8 : begin], "little") != storage.count:
            raise RefusedError("brings other PyTorch values than it names")
        values[key] = _Values(np.frombuffer(data[begin:position], storage.dtype))
    if position != len(data):
        raise RefusedError("goes on after its end")
    allowed = {**_STORAGE_NAMES, **dict.fromkeys(rebuilt, _make_tensor)}
    named, _ = safe_pickle.read_next(
        data, start, allowed, lambda name: values[_make_storage(name).key]
    )
    if not isinstance(named, dict) or not all(isinstance(v, np.ndarray) for v in named.values()):
        raise RefusedError("holds something else than named tensors")
    return named


class _Streams:
    """Reads streams of values; a file that asks for one stream again and again is refused."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, *args: Any) -> _Values:
        if len(args) != 1 or not isinstance(args[0], bytes | memoryview):
            raise RefusedError("asks for PyTorch values that are not bytes")
        self._count += 1
        if self._count > _MAX_STREAMS:
            raise RefusedError(f"asks for more than {_MAX_STREAMS:,} tensors")
        data = memoryview(args[0])
        head = bytes(data[:_MAX_HEAD])
        if not head.startswith(_BEGINNING):
            raise RefusedError("brings PyTorch values in an unknown form")
        system, position = _read(head, len(_BEGINNING))
        storage, position = _read(head, position)
        keys, position = _read(head, position)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise RefusedError("brings PyTorch values that are not little-endian")
        is_one = isinstance(keys, list) and len(keys) == 1 and isinstance(keys[0], str)
        if not isinstance(storage, _Storage) or not is_one or keys[0] != storage.key:
            raise RefusedError("brings PyTorch values in an unknown form")
        values = data[position + 8 :]
        count = int.from_bytes(data[position : position + 8], "little")
        size = storage.count * storage.dtype.itemsize
        if count != storage.count or size != len(values):
            wanted = format_bytes(size) if size < 1 << 50 else "an absurd size"
            raise RefusedError(
                f"asks for PyTorch values of {wanted} and brings {format_bytes(len(values))}"
            )
        flat = np.frombuffer(values, storage.dtype) if size else np.zeros(0, storage.dtype)
        return _Values(flat)


def _read(head: bytes, start: int) -> tuple[Any, int]:
    if start >= len(head):
        raise DamagedError("PyTorch values end too early")
    return safe_pickle.read_next(head, start, _STORAGE_NAMES, _make_storage)


def _make_storage(name: Any) -> _Storage:
    """From the persistent id ("storage", type, key, device, count, view)."""
    if not isinstance(name, tuple) or len(name) != 6 or name[0] != "storage":
        raise RefusedError("names PyTorch values in an unknown form")
    _, kind, key, device, count, view = name
    if not isinstance(kind, Global) or not kind.name.startswith("torch."):
        raise RefusedError("asks for PyTorch values without a type of numbers")
    is_plain = isinstance(key, str) and isinstance(device, str) and view is None
    if not is_plain or type(count) is not int or count < 0:
        raise RefusedError("names PyTorch values in an unknown form")
    return _Storage(np.dtype(_DTYPES[kind.name.removeprefix("torch.")]), key, count)


def _make_tensor(*args: Any) -> np.ndarray:
    """`_rebuild_tensor_v2(values, offset, shape, strides, requires_grad, hooks)`; before PyTorch
    0.4 without the last two."""
    if len(args) not in (4, 6, 7) or not isinstance(args[0], _Values):
        raise RefusedError("asks for a PyTorch tensor in an unknown form")
    flat = args[0].flat
    offset, shape, strides = args[1:4]
    if not (
        isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= 32
        and all(type(number) is int and number >= 0 for number in (offset, *shape, *strides))
    ):
        raise RefusedError("asks for a PyTorch tensor of an impossible shape")
    count = math.prod(shape)  # Python's integers: no overflow
    if count == 0:
        return np.zeros(shape, flat.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= len(flat) or count > len(flat):
        raise RefusedError(f"asks for a PyTorch tensor beyond the {len(flat):,} values it brings")
    steps = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _make_parameter(*args: Any) -> np.ndarray:
    """`_rebuild_parameter(tensor, requires_grad, hooks)`."""
    if len(args) != 3 or not isinstance(args[0], np.ndarray):
        raise RefusedError("asks for a PyTorch parameter in an unknown form")
    return args[0]


def _make_module(*args: Any) -> Inert:
    """`_reconstruct_persistent_obj(meta)`: class name and state; the source text is left behind."""
    meta = args[0] if len(args) == 1 else None
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise RefusedError("asks for a persistent PyTorch object in an unknown form")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or type(state) is not dict:
        raise RefusedError(f"asks for a persistent PyTorch object {printable(name)} without state")
    return Inert(name, state)


def _make_set(*args: Any) -> list:
    if not (len(args) == 1 and isinstance(args[0], list) and not args[0]):
        raise RefusedError("asks for a set that is not empty")
    return []
