"""Reading pickles as data: what is read, and what is refused before it can do anything."""

import collections
import contextlib
import copyreg
import io
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dnnlib import safe_pickle
from dnnlib.errors import UserError

ALLOW = {("tests.fake", "Network"): safe_pickle.Inert, ("tests.fake", "EasyDict"): dict}


def text(value: str) -> bytes:
    """The operation that pushes a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def load_bytes(data: bytes, allow=ALLOW):
    return safe_pickle.load(io.BytesIO(data), allow, "model.pkl")


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        load_bytes(data)
    message = str(caught.value)
    assert message.startswith("model.pkl ")
    assert "\n" not in message
    assert message.isprintable()
    return message


# ---- What is read.


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_data_comes_back_equal(protocol):
    shared = [1, 2]
    content = {
        "text": "naïve ☃" * 100,
        "numbers": [0, 1, 255, 256, 65536, -1, -(2**40), 2**63, 1.5, float("inf")],
        "others": (None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}),
        "bytes": bytes(range(256)) * 3,
        "ordered": collections.OrderedDict([("b", 1), ("a", [2])]),
        "shared": [shared, shared],
        3: "integer key",
    }
    result = load_bytes(pickle.dumps(content, protocol))
    assert result == content
    assert type(result["ordered"]) is dict
    assert list(result["ordered"]) == ["b", "a"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_of_both_numpy_generations(protocol, module):
    arrays = {
        f"{dtype} {order}": np.asarray(np.arange(24).reshape(2, 3, 4) - 3, dtype, order)
        for dtype in ("<f4", ">f4", "<f8", "<f2", "|b1", "|u1", "<i8", ">u2")
        for order in ("C", "F")
    }
    arrays["scalar array"] = np.array(2.5, np.float32)
    scalars = {"f4": np.float32(0.1), "i8": np.int64(-5), "b": np.bool_(True)}
    data = pickle.dumps((arrays, scalars), protocol)
    # Protocol 2 and 3 name the module in a line of text, 4 in a text with its length before it.
    for name in ("numpy._core.multiarray", "numpy.core.multiarray"):
        old, new = (b"\x8c" + bytes([len(n)]) + n.encode() for n in (name, module))
        data = data.replace(old, new).replace(f"c{name}\n".encode(), f"c{module}\n".encode())
    if protocol == 4:  # the length of the frame has changed
        data = data.replace(data[2:11], b"", 1)
    assert module.encode() in data
    got_arrays, got_scalars = load_bytes(data)
    assert list(got_arrays) == list(arrays)
    for name, array in arrays.items():
        assert got_arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(got_arrays[name], array)
        assert not got_arrays[name].flags.writeable
    assert got_scalars == {name: scalar.item() for name, scalar in scalars.items()}
    assert all(not isinstance(scalar, np.generic) for scalar in got_scalars.values())


def test_allowed_classes_become_state_and_plain_dictionaries(tmp_path):
    network = b"ctests.fake\nNetwork\n)\x81}" + text("k") + b"K\x07sb"
    easy = b"ctests.fake\nEasyDict\n)\x81" + text("x") + b"K\x01s"
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x03" + network + easy + b"\x86.")
    found, mapping = safe_pickle.load(path, ALLOW)
    assert found == safe_pickle.Inert("tests.fake.Network", {"k": 7})
    assert type(mapping) is dict
    assert mapping == {"x": 1}
    with pytest.raises(UserError, match=r"x\.pkl asks for tests\.fake\.Network"):
        safe_pickle.load(path)


# ---- Hostile files that would run something: each really does, under plain pickle.


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class CallAtBuild:
    """Pickles as an allowed class whose state holds a call."""

    def __init__(self, payload):
        self.payload = payload

    def __reduce__(self):
        return collections.OrderedDict, (), None, None, iter([("kwargs", [self.payload])])


def running_samples(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that create `marker`, and what the refusal must name."""
    command = f"touch {marker}"
    os_system = f"{os.system.__module__}.system"  # posix.system
    array = np.zeros(3, np.float32).__reduce__()
    state = b"(" + text(command) + b"tR"
    return {
        "reduce": (pickle.dumps(Call(os.system, command)), os_system),
        "protocol 0": (pickle.dumps(Call(os.system, command), 0), os_system),
        "eval": (pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')")), "builtins.eval"),
        "nested": (pickle.dumps({"a": [(1, CallAtBuild(Call(os.system, command)))]}), os_system),
        "in a list behind an array": (
            pickle.dumps([np.zeros(3), Call(os.system, command)]),
            os_system,
        ),
        "global": (b"\x80\x02cos\nsystem\n" + state + b".", "os.system"),
        "stack global": (
            b"\x80\x04" + text("os") + text("system") + b"\x93" + state + b".",
            "os.system",
        ),
        "inst": (b"\x80\x02(" + text(command) + b"ios\nsystem\n.", "os.system"),
        "obj": (b"\x80\x02(cos\nsystem\n" + text(command) + b"o.", "os.system"),
        "in network state": (
            b"\x80\x03}" + text("state") + b"cos\nsystem\n" + state + b"s.",
            "os.system",
        ),
        "in array state": (
            pickle.dumps(Call(array[0], *array[1][:2], Call(os.system, command))),
            os_system,
        ),
    }


SAMPLE_NAMES = list(running_samples(Path("/nowhere")))


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_nothing_is_run(name, tmp_path):
    marker = tmp_path / "marker"
    data, wanted = running_samples(marker)[name]
    message = refusal(data)
    assert f"asks for {wanted}" in message
    assert "refused, nothing was run" in message
    assert not marker.exists()
    # The sample is a real one: Python's own reader runs it.
    with contextlib.suppress(Exception):  # what follows the call may fail
        pickle.loads(data)
    assert marker.exists()


# ---- Hostile files that ask for other things.

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY_ARRAY = RECONSTRUCT + b"(cnumpy\nndarray\nK\x00\x85C\x01btR"
F4 = b"cnumpy\ndtype\n(" + text("f4") + b"\x89\x88tR"


def array_state(shape: bytes, dtype: bytes = F4, data: bytes = b"C\x04abcd") -> bytes:
    return EMPTY_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


OTHERS = {
    "unknown class": (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "torch._utils._rebuild_tensor_v2"),
    "module function": (b"cnumpy\nload\n)R", "asks for numpy.load"),
    "dotted attribute": (text("numpy") + text("ndarray.tofile") + b"\x93", "numpy.ndarray.tofile"),
    "global that is not text": (b"K\x01K\x02\x93", "a name that is not text"),
    "persistent id": (text("evil://x") + b"Q", "persistent object evil://x"),
    "persistent id in text": (b"Pevil\n", "persistent object evil"),
    "extension code": (b"\x82\x05", "extension code 5"),
    "long extension code": (b"\x84\x05\x00\x00\x00", "extension code 5"),
    "terminal escapes": (b"\x8c\x02os\x8c\x06a\x1b[2J\n\x93", r"os.a\x1b[2J\n"),
    "build on dict": (b"}}b", "sets the state of dict"),
    "build on a name": (b"ccollections\nOrderedDict\n}b", "sets the state of OrderedDict"),
    "build on a class": (b"ctests.fake\nNetwork\n}b", "sets the state of tests.fake.Network"),
    "build with slots": (b"ctests.fake\nNetwork\n)\x81}}\x86b", "in an unknown form"),
    "build twice": (b"ctests.fake\nNetwork\n)\x81}b}b", "in an unknown form"),
    "new with arguments": (b"ctests.fake\nNetwork\nK\x01\x85\x81", "tests.fake.Network"),
    "new with keywords": (b"ctests.fake\nNetwork\n)}\x92", "operation NEWOBJ_EX"),
    "new of a function": (b"ccollections\nOrderedDict\n)\x81", "an object of OrderedDict"),
    "call of data": (text("os.system") + b")R", "calls something"),
    "call of a type": (b"cnumpy\nndarray\n(Jzzzz\x85tR", "an object of numpy.ndarray"),
    "a bare name": (b"ccollections\nOrderedDict\n", "holds OrderedDict in place of data"),
    "a bare type": (F4, "holds f4 in place of data"),
    "an unfinished array": (EMPTY_ARRAY, "an unfinished array"),
    "set": (b"\x8f(K\x01\x90", "operation ADDITEMS"),
    "array of objects": (
        array_state(b"K\x01\x85", b"cnumpy\ndtype\n(" + text("O8") + b"\x89\x88tR", b"]N\x61"),
        "NumPy type O8",
    ),
    "array of records": (
        b"cnumpy\ndtype\n(" + text("V8") + b"\x89\x88tR",
        "NumPy type V8",
    ),
    "objects by the state of the type": (
        F4 + b"(K\x03" + text("|") + text("O") + b"NNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb",
        "not a plain number",
    ),
    "list as contents": (array_state(b"K\x01\x85", data=b"]"), "contents are not bytes"),
    "shape too large": (array_state(b"J\xff\xff\xff\x7f\x85"), "of 8.0 GiB and brings 4 B"),
    "shape overflowing": (
        array_state(b"(" + b"J\x00\x00\x00\x7f" * 8 + b"t"),
        "an absurd size and brings 4 B",
    ),
    "negative shape": (array_state(b"J\xff\xff\xff\xff\x85"), "impossible shape"),
    "array of a subclass": (
        RECONSTRUCT + b"(ccollections\nOrderedDict\nK\x00\x85C\x01btR",
        "NumPy array of an unknown class",
    ),
    "array without a type": (array_state(b"K\x01\x85", dtype=text("f4")), "without a type"),
    "text encoding": (b"c_codecs\nencode\n" + text("x") + text("idna") + b"\x86R", "latin1"),
    "multiplied bytes": (
        b"c_codecs\nencode\nq\x00"
        + (text("x" * 999) + b"q\x01" + text("latin1") + b"\x86q\x02R")
        + b"h\x00h\x02R" * 99
        + b"t",
        "more bytes than it brings",
    ),
    "large integer": (b"\x8b" + struct.pack("<i", 1 << 10) + b"\x7f" * (1 << 10), "integer of"),
    "odd dictionary key": (b"}))s", "neither text nor an integer"),
    "append to a tuple": (b"))a", "not a list"),
    "contents after the end": (b"N.more", "goes on for"),
    "circle": (b"]q\x00h\x00a", "deep"),
    "deep lists": (b"]" * 200 + b"a" * 199, "deep"),
    "deep tuples": (b")" + b"\x85" * 100_000, "deep"),
    "doubling": (b")" + b"2\x86" * 30, "1,000,000 objects"),
    "memo without end": (b"N" + b"\x94" * 1_000_001, "1,000,000 operations"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_refused_by_name(name):
    body, wanted = OTHERS[name]
    message = refusal(b"\x80\x04" + body + b".")
    assert wanted in message
    assert message.endswith("nothing was run")


def test_extension_codes_are_not_looked_up():
    copyreg.add_extension("os", "system", 77)
    try:
        assert "extension code 77" in refusal(b"\x80\x02\x82\x4d" + text("true") + b"\x85R.")
    finally:
        copyreg.remove_extension("os", "system", 77)


# ---- Files that are damaged or no pickles.

DAMAGED = {
    "empty": (b"", "it is empty"),
    "web page": (b"<!DOCTYPE html><html></html>", "it is not a pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "it is not a pickle"),
    "no end": (b"\x80\x04N", "pickle exhausted before seeing STOP"),
    "huge bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc", "but only 3 remain"),
    "impossible bytes": (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc", "> sys.maxsize"),
    "huge text": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc", "but only 3 remain"),
    "huge frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.", "bytes announced"),
    "huge integer": (b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"1", "not enough data"),
    "memo missing": (b"\x80\x04h\x07.", "do not fit"),
    "stack empty": (b"\x80\x040.", "do not fit"),
    "mark missing": (b"\x80\x04t.", "do not fit"),
    "tuple of too few": (b"\x80\x04N\x87.", "do not fit"),
    "left over": (b"\x80\x04NN.", "left over"),
    "unknown operation": (b"\x80\x04\xff.", "unknown"),
    "bad text": (b"\x80\x04X\x01\x00\x00\x00\xff.", "codec can't decode"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name):
    data, reason = DAMAGED[name]
    message = refusal(data)
    assert reason in message
    assert "get or copy the file again" in message


def test_every_truncation_is_noticed():
    content = {"a": [np.arange(6.0), np.float32(1)], "b": ("text", 1 << 40, -1.5)}
    for protocol in (2, 4):
        data = pickle.dumps(content, protocol)
        load_bytes(data)
        for size in range(len(data)):
            assert "not a complete snapshot" in refusal(data[:size]), size


def test_random_changes_never_raise_anything_else():
    """One byte or two changed anywhere: the file is read or refused, nothing else happens."""
    rnd = np.random.RandomState(0)
    data = pickle.dumps({"a": [np.arange(6.0), np.float32(1)], "b": ("text", 1 << 40, None)}, 4)
    refused = 0
    for _ in range(3000):
        changed = bytearray(data)
        for position in rnd.randint(0, len(data), rnd.randint(1, 3)):
            changed[position] = rnd.randint(256)
        try:
            load_bytes(bytes(changed))
        except UserError:
            refused += 1
    assert refused > 1000


def test_operations_without_an_entry_are_refused():
    """Guards against an operation that a later Python adds, and lists what is accepted."""
    known = {opcode.name for opcode in pickletools.opcodes}
    accepted = set(safe_pickle._OPERATIONS)
    assert accepted < known
    dangerous = {"INST", "OBJ", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"}
    assert not accepted & dangerous


# ---- Cost.


def test_large_files_are_read_fast_and_without_copies():
    size = 64 << 20
    array = np.zeros(size // 4, np.float32)
    stream = io.BytesIO(pickle.dumps({"x": array, "y": [array[: 1 << 18]] * 4}, 4))
    del array
    tracemalloc.start()
    begin = time.perf_counter()
    result = safe_pickle.load(stream)
    seconds = time.perf_counter() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result["x"].nbytes == size
    assert seconds < 3  # measured: 0.05 s
    # The file itself and one copy of its contents.
    assert peak < 2.2 * len(stream.getvalue())


def test_a_declared_size_allocates_nothing():
    tracemalloc.start()
    for name in ("huge bytes", "huge text", "huge frame", "huge integer"):
        refusal(DAMAGED[name][0])
    for name in ("shape too large", "shape overflowing", "large integer"):
        refusal(b"\x80\x04" + OTHERS[name][0] + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_memo_index_allocates_nothing(tmp_path):
    path = tmp_path / "memo.pkl"
    path.write_bytes(b"\x80\x02Nr\xff\xff\xff\xff.")
    tracemalloc.start()
    assert safe_pickle.load(path) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


# ---- Names of files.


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*missing\.pkl: No such file"):
        safe_pickle.load(tmp_path / "missing.pkl")
    with pytest.raises(UserError, match="Is a directory"):
        safe_pickle.load(tmp_path)
    with pytest.raises(UserError, match="/dev/zero is not a regular file"):
        safe_pickle.load("/dev/zero")


def test_files_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 100)
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps("x" * 200))
    with pytest.raises(UserError, match=r"large\.pkl is larger than 100 B"):
        safe_pickle.load(path)
