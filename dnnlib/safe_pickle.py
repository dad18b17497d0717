"""Reads pickles as plain data: nothing that a file names is ever imported, called or executed.

A pickle is a program for a small stack machine. Python's own machine imports any name that the
file asks for and calls it. The one in this file knows containers, texts, numbers and NumPy arrays,
and stands in for the few names of an allow-list itself; whatever else the file asks for ends the
reading with one line that names it. It recurses nowhere over the file's nesting, allocates nothing
by a size that the file declares, and hands out a finite tree.
"""

import io
import os
import pickletools
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dnnlib.errors import UserError
from dnnlib.format import format_bytes

MAX_BYTES = 4 << 30  # the largest published networks are a tenth of this
MAX_OPERATIONS = 1_000_000  # a snapshot of four large networks takes about 40,000
MAX_DEPTH = 32  # nesting of containers; a snapshot needs 8
MAX_INTEGER_BYTES = 9  # 64 bits and a sign

_NUMPY_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_ARRAY_NAMES = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass
class Inert:
    """Stands in for an object of an allowed class: its state, and no behaviour."""

    class_name: str  # "module.name" as the file has it
    state: dict[str, Any] | None = None


# What a file's class may turn into: a plain dictionary or an `Inert`.
Allowed = Mapping[tuple[str, str], type[dict] | type[Inert]]


def load(
    source: str | os.PathLike[str] | BinaryIO, allow: Allowed | None = None, where: str = ""
) -> Any:
    """Reads a pickle of plain data.

    Args:
        source: path, or a binary file that is read to its end.
        allow: further classes that the file may use, (module, name) -> `dict` (a subclass of dict
            becomes a plain one) or `Inert` (an object becomes its state).
        where: what error texts call the file; by default its path.

    Returns:
        Nested dict, list, tuple, str, bytes, int, float, bool, None, `Inert` and read-only NumPy
        arrays of numbers or booleans. OrderedDict becomes dict, NumPy scalars Python numbers.

    Raises:
        UserError: no such file, not a pickle, truncated, or it asks for anything else; one line
            that names the file and what it wanted.
    """
    if isinstance(source, str | os.PathLike):
        where = where or os.fspath(source)
        data = _read_file(Path(source), where)
    else:
        where = where or str(getattr(source, "name", "the pickle"))
        data = source.read()
    try:
        return _Machine(data, allow or {}).run()
    except _RefusedError as refusal:
        raise UserError(
            f"{where} {refusal}, which no snapshot needs; refused, nothing was run"
        ) from None
    except _DamagedError as damage:
        raise UserError(
            f"{where} is not a complete snapshot ({damage}); get or copy the file again"
        ) from None


def _read_file(path: Path, where: str) -> bytes:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{where} is not a regular file; name a snapshot file")
            if status.st_size > MAX_BYTES:
                raise UserError(f"{where} is larger than {format_bytes(MAX_BYTES)}; no snapshot is")
            return file.read()
    except OSError as error:
        raise UserError(f"cannot read {where}: {error.strerror or error}") from error


def printable(value: object) -> str:
    """A text from an untrusted file, short and without control characters, for a message."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    text = value if isinstance(value, str) else f"a value of type {type(value).__name__}"
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _RefusedError(Exception):
    """The file asks for something that is not data; the text reads "asks for ..." or the like."""


class _DamagedError(Exception):
    """The file is truncated or no pickle."""


@dataclass
class _Global:
    """A name of the allow-list, not yet used."""

    name: str
    make: Callable[..., Any] | None = None  # for REDUCE
    new: type | None = None  # for NEWOBJ and REDUCE


@dataclass
class _Dtype:
    """A NumPy type under construction: REDUCE gives the kind and size, BUILD the byte order."""

    name: str  # for example "f4"
    built: bool = False

    def build(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 2 else None
        extras = state[2:5] if isinstance(state, tuple) else ()
        if self.built or order not in ("<", ">", "|", "=") or any(x is not None for x in extras):
            raise _RefusedError("asks for a NumPy type that is not a plain number")
        self.name = order + self.name.lstrip("<>=|")
        self.built = True

    def numpy(self) -> np.dtype:
        return np.dtype(self.name)


@dataclass
class _Array:
    """A NumPy array under construction: REDUCE makes an empty one, BUILD its contents."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if self.value is not None or not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("asks for a NumPy array in an unknown form")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype):
            raise _RefusedError("asks for a NumPy array without a type of numbers")
        self.value = _array(shape, dtype, data, "F" if fortran is True else "C")


def _array(shape: Any, dtype: _Dtype, data: Any, order: str) -> np.ndarray:
    """A read-only view of `data`, so that no file can make arrays larger than itself."""
    if not isinstance(data, bytes):
        raise _RefusedError("asks for a NumPy array whose contents are not bytes")
    if not (
        isinstance(shape, tuple)
        and len(shape) <= 32
        and all(type(size) is int and size >= 0 for size in shape)
    ):
        raise _RefusedError("asks for a NumPy array of an impossible shape")
    count = 1
    for size in shape:  # Python's integers: no overflow
        count *= size
    itemsize = dtype.numpy().itemsize
    if count * itemsize != len(data):
        wanted = format_bytes(count * itemsize) if count < 1 << 50 else "an absurd size"
        raise _RefusedError(
            f"asks for a NumPy array of {wanted} and brings {format_bytes(len(data))}"
        )
    flat = np.frombuffer(data, dtype.numpy()) if data else np.zeros(0, dtype.numpy())
    return flat.reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _make_dtype(*args: Any) -> _Dtype:
    name = args[0] if args else None
    if not isinstance(name, str) or not _NUMPY_DTYPE.fullmatch(name):
        raise _RefusedError(f"asks for the NumPy type {printable(name)}")
    return _Dtype(name)


def _make_array(*args: Any) -> _Array:
    # Always (ndarray, (0,), b"b") in real files: an empty array that BUILD fills.
    if len(args) != 3 or not isinstance(args[0], _Global) or args[0].name != "numpy.ndarray":
        raise _RefusedError("asks for a NumPy array of an unknown class")
    return _Array()


def _make_scalar(*args: Any) -> Any:
    if len(args) != 2 or not isinstance(args[0], _Dtype):
        raise _RefusedError("asks for a NumPy scalar that is not a number")
    return _array((), args[0], args[1], "C").item()


def _make_ordered_dict(*args: Any) -> dict:
    if args:
        raise _RefusedError("asks for collections.OrderedDict with arguments")
    return {}


class _Machine:
    """The stack machine. Each operation that is not in `_OPERATIONS` is refused."""

    def __init__(self, data: bytes, allow: Allowed) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below each MARK
        self.memo: dict[int, Any] = {}
        # `_codecs.encode` turns text into bytes: never more of them than the file itself holds.
        self.encode_budget = len(data)
        self.globals = {
            ("numpy", "ndarray"): _Global("numpy.ndarray"),
            ("numpy", "dtype"): _Global("numpy.dtype", make=_make_dtype),
            ("collections", "OrderedDict"): _Global("OrderedDict", make=_make_ordered_dict),
            ("_codecs", "encode"): _Global("_codecs.encode", make=self.encode),
        }
        for module in _ARRAY_NAMES:
            self.globals[module, "_reconstruct"] = _Global("_reconstruct", make=_make_array)
            self.globals[module, "scalar"] = _Global("scalar", make=_make_scalar)
        for (module, name), kind in allow.items():
            self.globals[module, name] = _Global(f"{module}.{name}", new=kind)

    def run(self) -> Any:
        try:
            for count, (opcode, arg, position) in enumerate(
                pickletools.genops(io.BytesIO(self.data))
            ):
                if count >= MAX_OPERATIONS:
                    raise _RefusedError(f"asks for more than {MAX_OPERATIONS:,} operations")
                if opcode.name == "STOP":
                    return self.stop(position)
                operation = _OPERATIONS.get(opcode.name)
                if operation is None:
                    raise _RefusedError(self.describe(opcode.name, arg))
                operation(self, arg, position or 0)
        except (ValueError, OverflowError, MemoryError, IndexError, KeyError) as error:
            # Truncated arguments, unknown operations, an empty stack, a memo that is not there.
            raise _DamagedError(_reason(self.data, error)) from None
        raise _DamagedError("it has no end")

    def describe(self, opcode: str, arg: Any) -> str:
        """Names what a refused operation wanted."""
        if opcode == "INST":
            return f"asks for {printable(str(arg).replace(' ', '.'))}"
        if opcode in ("PERSID", "BINPERSID"):
            target = arg if opcode == "PERSID" else self.stack[-1]
            return f"asks for the persistent object {printable(target)}"
        if opcode in ("EXT1", "EXT2", "EXT4"):
            return f"asks for the class registered under extension code {arg}"
        return f"uses the pickle operation {opcode}"

    def stop(self, position: int | None) -> Any:
        rest = len(self.data) - (position or 0) - 1
        if rest:
            raise _RefusedError(f"goes on for {format_bytes(rest)} after its end")
        result = self.stack.pop()
        if self.stack or self.marks:
            raise _DamagedError("objects are left over at its end")
        return _finish(result)

    # ---- Operations: each takes the argument of the opcode and its position in the file.

    def push(self, arg: Any, _: int) -> None:
        self.stack.append(arg)

    def integer(self, arg: int, _: int) -> None:
        if arg.bit_length() > 8 * MAX_INTEGER_BYTES:
            raise _RefusedError(f"asks for an integer of {arg.bit_length()} bits")
        self.stack.append(arg)

    def ignore(self, arg: Any, _: int) -> None:
        pass

    def frame(self, arg: int, position: int) -> None:
        if arg > len(self.data) - position:
            raise _DamagedError(f"{arg} bytes announced, {len(self.data) - position} there")

    def mark(self, _: Any, __: int) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def pop(self, _: Any, __: int) -> None:
        self.stack.pop()

    def duplicate(self, _: Any, __: int) -> None:
        self.stack.append(self.stack[-1])

    def empty_list(self, _: Any, __: int) -> None:
        self.stack.append([])

    def empty_dict(self, _: Any, __: int) -> None:
        self.stack.append({})

    def empty_tuple(self, _: Any, __: int) -> None:
        self.stack.append(())

    def short_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise IndexError
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def marked_tuple(self, _: Any, __: int) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def append(self, _: Any, __: int) -> None:
        self.extend([self.stack.pop()])

    def appends(self, _: Any, __: int) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _RefusedError("appends to something that is not a list")
        self.stack[-1].extend(items)

    def set_item(self, _: Any, __: int) -> None:
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def set_items(self, _: Any, __: int) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise _RefusedError("sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deep tuple would recurse.
            if type(key) not in (str, int, bool):
                raise _RefusedError("uses a dictionary key that is neither text nor an integer")
            self.stack[-1][key] = value

    def put(self, arg: int, _: int) -> None:
        self.memo[arg] = self.stack[-1]

    def memoize(self, _: Any, __: int) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, arg: int, _: int) -> None:
        self.stack.append(self.memo[arg])

    def global_text(self, arg: str, _: int) -> None:
        module, _space, name = arg.partition(" ")
        self.find(module, name)

    def global_stack(self, _: Any, __: int) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.find(module, name)

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _RefusedError("asks for a name that is not text")
        found = self.globals.get((module, name))
        if found is None:
            raise _RefusedError(f"asks for {printable(f'{module}.{name}')}")
        self.stack.append(found)

    def reduce(self, _: Any, __: int) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(args, tuple) or not isinstance(function, _Global):
            raise _RefusedError("calls something that is not on the list of allowed names")
        if function.make is None:
            self.stack.append(self.instance(function, args))
        else:
            self.stack.append(function.make(*args))

    def new_object(self, _: Any, __: int) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self.stack.append(self.instance(cls, args))

    def instance(self, cls: Any, args: Any) -> Any:
        if not isinstance(cls, _Global) or cls.new is None or args != ():
            name = cls.name if isinstance(cls, _Global) else "something that is not a class"
            raise _RefusedError(f"makes an object of {name} in an unknown form")
        return {} if cls.new is dict else Inert(cls.name)

    def build(self, _: Any, __: int) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype | _Array):
            target.build(state)
        elif isinstance(target, Inert):
            if type(state) is not dict or target.state is not None:
                raise _RefusedError(f"sets the state of {target.class_name} in an unknown form")
            target.state = state
        else:
            kind = target.name if isinstance(target, _Global) else type(target).__name__
            raise _RefusedError(f"sets the state of {kind}")

    def encode(self, *args: Any) -> bytes:
        """`_codecs.encode`: how protocol 2 stores bytes."""
        if len(args) != 2 or not isinstance(args[0], str) or args[1] != "latin1":
            raise _RefusedError("asks for a text encoding other than latin1")
        self.encode_budget -= len(args[0])
        if self.encode_budget < 0:
            raise _RefusedError("asks for more bytes than it brings")
        return args[0].encode("latin1")


_OPERATIONS: dict[str, Callable[[_Machine, Any, int], None]] = {
    "PROTO": _Machine.ignore,
    "FRAME": _Machine.frame,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "DUP": _Machine.duplicate,
    "NONE": _Machine.push,
    "NEWTRUE": lambda self, _, position: self.push(True, position),
    "NEWFALSE": lambda self, _, position: self.push(False, position),
    "EMPTY_LIST": _Machine.empty_list,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": _Machine.empty_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "EMPTY_TUPLE": _Machine.empty_tuple,
    "TUPLE": _Machine.marked_tuple,
    "TUPLE1": lambda self, _, __: self.short_tuple(1),
    "TUPLE2": lambda self, _, __: self.short_tuple(2),
    "TUPLE3": lambda self, _, __: self.short_tuple(3),
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.global_text,
    "STACK_GLOBAL": _Machine.global_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
}
for _name in ("BINPUT", "LONG_BINPUT"):
    _OPERATIONS[_name] = _Machine.put
for _name in ("BINGET", "LONG_BINGET"):
    _OPERATIONS[_name] = _Machine.get
for _name in ("BININT", "BININT1", "BININT2", "LONG1", "LONG4"):
    _OPERATIONS[_name] = _Machine.integer
for _name in (
    *("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
):
    _OPERATIONS[_name] = _Machine.push


def _reason(data: bytes, error: Exception) -> str:
    if not data:
        return "it is empty"
    if data[:1] != b"\x80":  # every pickle of protocol 2 and later starts so
        return "it is not a pickle"
    return printable(str(error)) if isinstance(error, ValueError) else "its operations do not fit"


def _finish(root: Any) -> Any:
    """Copies the machine's result without its place-holders; the copy is a tree, of finite depth.

    What the file shares or ties into circles would otherwise surprise whoever walks over it.
    """
    count = 0

    def copy(node: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if depth > MAX_DEPTH:
            raise _RefusedError(f"nests its contents more than {MAX_DEPTH} deep")
        if count > MAX_OPERATIONS:
            raise _RefusedError(f"holds more than {MAX_OPERATIONS:,} objects")
        if isinstance(node, dict):
            return {key: copy(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [copy(value, depth + 1) for value in node]
        if isinstance(node, tuple):
            return tuple([copy(value, depth + 1) for value in node])
        if isinstance(node, Inert):
            return Inert(node.class_name, copy(node.state, depth + 1))
        if isinstance(node, _Array) and node.value is not None:
            return node.value
        if isinstance(node, _Global | _Dtype | _Array):
            kind = node.name if isinstance(node, _Global | _Dtype) else "an unfinished array"
            raise _RefusedError(f"holds {kind} in place of data")
        return node

    return copy(root, 0)
