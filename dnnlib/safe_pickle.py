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
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dnnlib.errors import UserError
from dnnlib.format import format_bytes
from dnnlib.pickle_values import (
    Array,
    DamagedError,
    Dtype,
    Global,
    Inert,
    PlaceHolder,
    RefusedError,
    make_array,
    make_dtype,
    make_ordered_dict,
    make_scalar,
    position_in_file,
    printable,
)

__all__ = ["Allowed", "Inert", "load", "position_in_file", "printable", "read_next"]

MAX_BYTES = 4 << 30  # the largest published networks are a tenth of this
MAX_OPERATIONS = 1_000_000  # a snapshot of four large networks takes about 40,000
MAX_DEPTH = 32  # nesting of containers; a snapshot needs 8
MAX_INTEGER_BYTES = 9  # 64 bits and a sign

_ARRAY_NAMES = ("numpy.core.multiarray", "numpy._core.multiarray")

# What a file's name may turn into: a class into a plain dictionary or an `Inert`; a function into
# one of ours that stands in for it, which gets whatever the file passes.
Allowed = Mapping[tuple[str, str], type[dict] | type[Inert] | Callable[..., Any]]


def load(
    source: str | os.PathLike[str] | BinaryIO, allow: Allowed | None = None, where: str = ""
) -> Any:
    """Reads a pickle of plain data.

    Args:
        source: path, or a binary file that is read to its end.
        allow: further names that the file may use, (module, name) -> `dict` (a subclass of dict
            becomes a plain one), `Inert` (an object becomes its state), or a function that stands
            in for the file's and raises `RefusedError`.
        where: what error texts call the file; by default its path.

    Returns:
        Nested dict, list, tuple, str, bytes, int, float, bool, None, `Inert` and read-only NumPy
        arrays of numbers or booleans, which are views of the file's bytes. OrderedDict becomes
        dict, an empty set an empty list, NumPy scalars Python numbers.

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
        machine = _Machine(data, allow or {})
        return machine.stop(machine.run(0))
    except RefusedError as refusal:
        raise UserError(
            f"{where} {refusal}, which no snapshot needs; refused, nothing was run"
        ) from None
    except DamagedError as damage:
        raise UserError(
            f"{where} is not a complete snapshot ({damage}); get or copy the file again"
        ) from None


def read_next(
    data: bytes, start: int, allow: Allowed, persistent: Callable[[Any], Any]
) -> tuple[Any, int]:
    """Reads one of several pickles that lie one behind the other within a file's bytes.

    Args:
        data: few bytes: all of them are copied.
        start: where it begins.
        allow: as in `load`.
        persistent: what a persistent id stands for.

    Returns:
        What `load` returns, and where the pickle ends.

    Raises:
        RefusedError, DamagedError: `load` makes a line of them.
    """
    machine = _Machine(data, allow, persistent)
    end = machine.run(start)
    return machine.result(), end


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


class _Machine:
    """The stack machine. Each operation that is not in `_OPERATIONS` is refused."""

    def __init__(
        self, data: bytes, allow: Allowed, persistent: Callable[[Any], Any] | None = None
    ) -> None:
        self.data = data
        self.view = memoryview(data)
        self.operations = _OPERATIONS
        if persistent is not None:
            self.persistent = persistent
            self.operations = _OPERATIONS | {"BINPERSID": _Machine.persistent_object}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below each MARK
        self.memo: dict[int, Any] = {}
        # `_codecs.encode` turns text into bytes: never more of them than the file itself holds.
        self.encode_budget = len(data)
        self.globals = {
            ("numpy", "ndarray"): Global("numpy.ndarray"),
            ("numpy", "dtype"): Global("numpy.dtype", make=make_dtype),
            ("collections", "OrderedDict"): Global("OrderedDict", make=make_ordered_dict),
            ("_codecs", "encode"): Global("_codecs.encode", make=self.encode),
        }
        for module in _ARRAY_NAMES:
            self.globals[module, "_reconstruct"] = Global("_reconstruct", make=make_array)
            self.globals[module, "scalar"] = Global("scalar", make=make_scalar)
        for (module, name), kind in allow.items():
            full = f"{module}.{name}"
            if isinstance(kind, type):
                self.globals[module, name] = Global(full, new=kind)
            else:
                self.globals[module, name] = Global(full, make=kind)

    def run(self, start: int) -> int:
        """Goes through the operations from `start`; returns where they end."""
        file = io.BytesIO(self.data)
        file.seek(start)
        try:
            for count, (opcode, arg, position) in enumerate(pickletools.genops(file)):
                if count >= MAX_OPERATIONS:
                    raise RefusedError(f"asks for more than {MAX_OPERATIONS:,} operations")
                if opcode.name == "STOP":
                    return (position or 0) + 1
                operation = self.operations.get(opcode.name)
                if operation is None:
                    raise RefusedError(self.describe(opcode.name, arg))
                operation(self, arg, position or 0)
        except (ValueError, OverflowError, MemoryError, IndexError, KeyError) as error:
            # Truncated arguments, unknown operations, an empty stack, a memo that is not there.
            raise DamagedError(_reason(self.data, error)) from None
        raise DamagedError("it has no end")

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

    def stop(self, end: int) -> Any:
        """The result of a pickle behind which nothing comes."""
        rest = len(self.data) - end
        if rest:
            raise RefusedError(f"goes on for {format_bytes(rest)} after its end")
        return self.result()

    def result(self) -> Any:
        if not self.stack:
            raise DamagedError("its operations do not fit")
        result = self.stack.pop()
        if self.stack or self.marks:
            raise DamagedError("objects are left over at its end")
        return _finish(result)

    # ---- Operations: each takes the argument of the opcode and its position in the file.

    def push(self, arg: Any, _: int) -> None:
        self.stack.append(arg)

    def bytes_at(self, arg: bytes, begin: int) -> None:
        """Bytes as a view of the file, so that one can tell where in it an array lies."""
        self.stack.append(self.view[begin : begin + len(arg)])

    def persistent_object(self, _: Any, __: int) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def integer(self, arg: int, _: int) -> None:
        if arg.bit_length() > 8 * MAX_INTEGER_BYTES:
            raise RefusedError(f"asks for an integer of {arg.bit_length()} bits")
        self.stack.append(arg)

    def ignore(self, arg: Any, _: int) -> None:
        pass

    def frame(self, arg: int, position: int) -> None:
        if arg > len(self.data) - position:
            raise DamagedError(f"{arg} bytes announced, {len(self.data) - position} there")

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
            raise RefusedError("appends to something that is not a list")
        self.stack[-1].extend(items)

    def set_item(self, _: Any, __: int) -> None:
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def set_items(self, _: Any, __: int) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise RefusedError("sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a deep tuple would recurse.
            if type(key) not in (str, int, bool):
                raise RefusedError("uses a dictionary key that is neither text nor an integer")
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
            raise RefusedError("asks for a name that is not text")
        found = self.globals.get((module, name))
        if found is None:
            raise RefusedError(f"asks for {printable(f'{module}.{name}')}")
        self.stack.append(found)

    def reduce(self, _: Any, __: int) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(args, tuple) or not isinstance(function, Global):
            raise RefusedError("calls something that is not on the list of allowed names")
        if function.make is None:
            self.stack.append(self.instance(function, args))
        else:
            self.stack.append(function.make(*args))

    def new_object(self, _: Any, __: int) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self.stack.append(self.instance(cls, args))

    def instance(self, cls: Any, args: Any) -> Any:
        if not isinstance(cls, Global) or cls.new is None or args != ():
            name = cls.name if isinstance(cls, Global) else "something that is not a class"
            raise RefusedError(f"makes an object of {name} in an unknown form")
        return {} if cls.new is dict else Inert(cls.name)

    def build(self, _: Any, __: int) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Dtype | Array):
            target.build(state)
        elif isinstance(target, Inert):
            if type(state) is not dict or target.state is not None:
                raise RefusedError(f"sets the state of {target.class_name} in an unknown form")
            target.state = state
        elif type(target) is dict and type(state) is dict and set(state) == {"_metadata"}:
            pass  # version numbers that PyTorch ties to the dictionary of a network's variables
        else:
            kind = target.name if isinstance(target, Global) else type(target).__name__
            raise RefusedError(f"sets the state of {kind}")

    def encode(self, *args: Any) -> bytes:
        """`_codecs.encode`: how protocol 2 stores bytes."""
        if len(args) != 2 or not isinstance(args[0], str) or args[1] != "latin1":
            raise RefusedError("asks for a text encoding other than latin1")
        self.encode_budget -= len(args[0])
        if self.encode_budget < 0:
            raise RefusedError("asks for more bytes than it brings")
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
    "EMPTY_SET": _Machine.empty_list,
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
    # Behind the operation and the number of bytes.
    "SHORT_BINBYTES": lambda self, arg, position: self.bytes_at(arg, position + 2),
    "BINBYTES": lambda self, arg, position: self.bytes_at(arg, position + 5),
    "BINBYTES8": lambda self, arg, position: self.bytes_at(arg, position + 9),
}
for _name in ("BINPUT", "LONG_BINPUT"):
    _OPERATIONS[_name] = _Machine.put
for _name in ("BINGET", "LONG_BINGET"):
    _OPERATIONS[_name] = _Machine.get
for _name in ("BININT", "BININT1", "BININT2", "LONG1", "LONG4"):
    _OPERATIONS[_name] = _Machine.integer
# The last is text of up to 255 bytes as Python 2 wrote it, in latin1; what it wrote as longer text
# are the bytes of arrays.
_OPERATIONS["BINSTRING"] = _OPERATIONS["BINBYTES"]
for _name in ("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING"):
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
            raise RefusedError(f"nests its contents more than {MAX_DEPTH} deep")
        if count > MAX_OPERATIONS:
            raise RefusedError(f"holds more than {MAX_OPERATIONS:,} objects")
        if isinstance(node, dict):
            return {key: copy(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [copy(value, depth + 1) for value in node]
        if isinstance(node, tuple):
            return tuple([copy(value, depth + 1) for value in node])
        if isinstance(node, Inert):
            return Inert(node.class_name, copy(node.state, depth + 1))
        if isinstance(node, Array) and node.value is not None:
            return node.value
        if isinstance(node, memoryview):
            return bytes(node)
        if isinstance(node, PlaceHolder):
            raise RefusedError(f"holds {node.name} in place of data")
        return node

    return copy(root, 0)
