"""PyTorch's tensors as data: what is read, and what hostile files are refused for."""

import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from dnnlib import safe_pickle, torch_pickle
from dnnlib.errors import UserError
from dnnlib.pickle_values import Inert

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


class Named:
    """Pickles as a call of a name that need not exist."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Pickler(pickle._Pickler):
    """Writes names of modules that are not there, and persistent ids."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_named(self, obj):
        module, _, name = obj.name.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        if obj.args != (None,):
            self.save(obj.args)
            self.write(pickle.REDUCE)

    dispatch[Named] = save_named

    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Persistent) else None


class Persistent:
    def __init__(self, *id):
        self.id = id


def dumps(value, protocol=3):
    file = io.BytesIO()
    Pickler(file, protocol).dump(value)
    return file.getvalue()


def stream(
    values=b"",
    *,
    kind="torch.FloatStorage",
    count=None,
    key="7",
    keys=("7",),
    announced=None,
    magic=MAGIC,
    version=VERSION,
    system=SYSTEM,
    device="cpu",
    view=None,
    id=None,
):
    """A stream of values as torch writes it; everything can be made wrong."""
    count = len(values) // 4 if count is None else count
    name = ("storage", Named(kind, None), key, device, count, view) if id is None else id
    parts = [magic, version, system, Persistent(*name), list(keys)]
    announced = count if announced is None else announced
    return b"".join(dumps(p, 2) for p in parts) + struct.pack("<q", announced) + values


def tensor(data, offset=0, shape=(2, 3), strides=(3, 1)):
    storage = Named("torch.storage._load_from_bytes", data)
    args = (storage, offset, shape, strides, False, OrderedDict())
    return Named("torch._utils._rebuild_tensor_v2", *args)


def module(state, **changes):
    meta = {"type": "class", "version": 6, "module_src": "1/0", "class_name": "Generator"}
    meta |= {"state": state} | changes
    return Named("torch_utils.persistence._reconstruct_persistent_obj", meta)


def load(data):
    return safe_pickle.load(io.BytesIO(data), torch_pickle.names(), "x.pkl")


def refusal(data):
    with pytest.raises(UserError) as caught:
        load(data)
    message = str(caught.value)
    assert message.startswith("x.pkl ")
    assert "\n" not in message
    return message


VALUES = np.arange(6, dtype="<f4") + 0.5


@pytest.mark.parametrize("protocol", [3, 4])
def test_tensors_parameters_and_modules(protocol):
    flat = stream(VALUES.tobytes())
    content = {
        "plain": tensor(flat),
        "turned": tensor(flat, 0, (3, 2), (1, 3)),
        "part": tensor(flat, 4, (2,), (1,)),
        "scalar": tensor(flat, 5, (), ()),
        "empty": tensor(stream(), 0, (0, 4), (4, 1)),
        "parameter": Named("torch._utils._rebuild_parameter", tensor(flat), True, OrderedDict()),
        "module": module({"_buffers": {"x": tensor(flat)}, "names": set()}),
    }
    found = load(dumps(content, protocol))
    matrix = VALUES.reshape(2, 3)
    np.testing.assert_array_equal(found["plain"], matrix)
    np.testing.assert_array_equal(found["turned"], matrix.T)
    np.testing.assert_array_equal(found["part"], VALUES[4:])
    assert found["scalar"] == 5.5
    assert found["scalar"].shape == ()
    assert found["empty"].shape == (0, 4)
    np.testing.assert_array_equal(found["parameter"], matrix)
    assert isinstance(found["module"], Inert)
    assert found["module"].class_name == "Generator"
    np.testing.assert_array_equal(found["module"].state["_buffers"]["x"], matrix)
    assert found["module"].state["names"] == []
    with pytest.raises(ValueError, match="read-only"):
        found["plain"][0, 0] = 1


@pytest.mark.parametrize(
    ("kind", "dtype"), [("Half", "<f2"), ("Double", "<f8"), ("Long", "<i8"), ("Bool", "|b1")]
)
def test_types_of_numbers(kind, dtype):
    values = np.array([0, 1, 1, 0, 1, 0]).astype(dtype)
    data = stream(values.tobytes(), kind=f"torch.{kind}Storage", count=6)
    found = load(dumps(tensor(data)))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.ravel(), values)


def test_where_the_values_lie():
    data = dumps([b"in front", tensor(stream(VALUES.tobytes()))], 4)
    array = load(data)[1]
    position = safe_pickle.position_in_file(array)
    assert data[position : position + 24] == VALUES.tobytes()
    assert position == data.index(VALUES.tobytes())


FLAT = stream(VALUES.tobytes())
REFUSED = {
    "another magic number": (tensor(stream(magic=MAGIC + 1)), "in an unknown form"),
    "another version": (tensor(stream(version=1002)), "in an unknown form"),
    "big-endian": (tensor(stream(system={"little_endian": False})), "not little-endian"),
    "no system": (tensor(stream(system=3)), "not little-endian"),
    "another key": (tensor(stream(keys=("8",))), "in an unknown form"),
    "two keys": (tensor(stream(keys=("7", "7"))), "in an unknown form"),
    "no keys": (tensor(stream(keys=())), "in an unknown form"),
    "another type": (tensor(stream(kind="torch.QInt8Storage")), "asks for torch.QInt8Storage"),
    "a function as type": (tensor(stream(kind="os.system")), "asks for os.system"),
    "an allowed name as type": (
        tensor(stream(kind="collections.OrderedDict")),
        "without a type of numbers",
    ),
    "a view": (tensor(stream(view=("x", 0, 1))), "names PyTorch values in an unknown form"),
    "a key that is no text": (tensor(stream(key=7)), "names PyTorch values in an unknown form"),
    "a negative count": (tensor(stream(count=-1)), "names PyTorch values in an unknown form"),
    "another persistent id": (tensor(stream(id=("module", "x"))), "in an unknown form"),
    "more values announced": (tensor(stream(count=1 << 40, announced=1 << 40)), "and brings 0 B"),
    "an absurd count": (tensor(stream(count=1 << 62)), "an absurd size"),
    "two counts": (tensor(stream(VALUES.tobytes(), announced=5)), "brings 24 B"),
    "more values than counted": (tensor(FLAT + b"more"), "brings 28 B"),
    "no bytes": (Named("torch.storage._load_from_bytes", "text"), "that are not bytes"),
    "no arguments": (Named("torch.storage._load_from_bytes"), "that are not bytes"),
    "values alone": (
        Named("torch.storage._load_from_bytes", FLAT),
        "holds PyTorch values in place of data",
    ),
    "tensor of bytes": (
        Named("torch._utils._rebuild_tensor_v2", FLAT, 0, (2,), (1,), False, OrderedDict()),
        "a PyTorch tensor in an unknown form",
    ),
    "tensor of nothing": (Named("torch._utils._rebuild_tensor_v2"), "tensor in an unknown form"),
    "beyond the end": (tensor(FLAT, 1), "beyond the 6 values"),
    "strides beyond the end": (tensor(FLAT, 0, (2, 3), (4, 1)), "beyond the 6 values"),
    "many from one": (tensor(FLAT, 0, (1 << 20, 6), (0, 1)), "beyond the 6 values"),
    "overflow": (tensor(FLAT, 0, (1 << 40, 1 << 40), (0, 0)), "beyond the 6 values"),
    "negative stride": (tensor(FLAT, 5, (6,), (-1,)), "impossible shape"),
    "negative offset": (tensor(FLAT, -1, (2,), (1,)), "impossible shape"),
    "shape of text": (tensor(FLAT, 0, ("2",), (1,)), "impossible shape"),
    "strides of another length": (tensor(FLAT, 0, (2, 3), (1,)), "impossible shape"),
    "truth as size": (tensor(FLAT, 0, (True,), (1,)), "impossible shape"),
    "parameter of text": (
        Named("torch._utils._rebuild_parameter", "x", True, OrderedDict()),
        "parameter in an unknown form",
    ),
    "object that is a function": (module({}, type="func"), "persistent PyTorch object"),
    "object without state": (module(None), "Generator without state"),
    "object without name": (module({}, class_name=None), "None without state"),
    "object of nothing": (
        Named("torch_utils.persistence._reconstruct_persistent_obj"),
        "persistent PyTorch object",
    ),
    "set with contents": (Named("builtins.set", [1]), "a set that is not empty"),
    "another function of torch": (Named("torch.load", b""), "asks for torch.load"),
    "newer tensors": (Named("torch._utils._rebuild_tensor_v3"), "torch._utils._rebuild_tensor_v3"),
    "persistent id in the file": (Persistent("storage"), "asks for the persistent object"),
    "a type in the file": (Named("torch.FloatStorage", None), "asks for torch.FloatStorage"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    value, wanted = REFUSED[name]
    assert wanted in refusal(dumps({"G": [value]}))


def test_a_truncated_stream():
    for size in range(0, len(FLAT), 7):
        message = refusal(dumps(tensor(FLAT[:size])))
        assert "is not a complete snapshot" in message or "refused, nothing was run" in message


def test_a_stream_that_is_read_again_and_again(monkeypatch):
    monkeypatch.setattr(torch_pickle, "_MAX_STREAMS", 3)
    assert len(load(dumps([tensor(FLAT) for _ in range(3)]))) == 3
    assert "more than 3 tensors" in refusal(dumps([tensor(FLAT) for _ in range(4)]))


def test_a_stream_whose_pickles_are_long():
    long = stream(VALUES.tobytes(), system=SYSTEM | {"x": "y" * 5000})
    assert "is not a complete snapshot" in refusal(dumps(tensor(long)))


def test_source_text_stays_text(tmp_path):
    marker = tmp_path / "marker"
    source = f"open({str(marker)!r}, 'w')"
    found = load(dumps(module({"a": 1}, module_src=source)))
    assert found == Inert("Generator", {"a": 1})
    assert not marker.exists()


def variables_file(
    *, system=SYSTEM, keys=("8", "7"), count=6, announced=6, value=None, rest=b"", protocol=2
):
    """A file of two variables as `torch.save` wrote it before PyTorch 1.6."""

    def named(key, kind="torch.FloatStorage"):
        storage = Persistent("storage", Named(kind, None), key, "cpu", count, None)
        return Named(
            "torch._utils._rebuild_tensor_v2", storage, 0, (2, 3), (3, 1), False, OrderedDict()
        )

    names = {"a": named("7"), "b": named("8") if value is None else value}
    parts = [MAGIC, VERSION, system, names, list(keys)]
    stored = {"7": VALUES, "8": -VALUES}
    streams = [struct.pack("<q", announced) + stored[key].tobytes() for key in keys]
    return b"".join(dumps(part, protocol) for part in parts) + b"".join(streams) + rest


def test_a_file_of_variables(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(variables_file())
    found = torch_pickle.load_variables(path)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], -VALUES.reshape(2, 3))
    with pytest.raises(UserError, match="cannot read .*y.pth: No such file"):
        torch_pickle.load_variables(tmp_path / "y.pth")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"system": {"little_endian": False}}, "not little-endian"),
        ({"keys": ("7",)}, "brings other PyTorch values than it names"),
        ({"announced": 5}, "brings other PyTorch values than it names"),
        ({"count": 1 << 60, "announced": 1 << 60}, "ends too early"),
        ({"count": 3, "announced": 3}, "brings other PyTorch values than it names"),
        ({"rest": b"more"}, "goes on after its end"),
        ({"value": Named("os.system", "true")}, "asks for os.system"),
        ({"value": "text", "keys": ("7",)}, "holds something else than named tensors"),
    ],
)
def test_a_file_of_variables_is_refused(tmp_path, changes, wanted):
    path = tmp_path / "x.pth"
    path.write_bytes(variables_file(**changes))
    with pytest.raises(UserError, match="x.pth is not a PyTorch file of tensors alone") as error:
        torch_pickle.load_variables(path)
    assert wanted in str(error.value)


def test_a_truncated_file_of_variables(tmp_path):
    path, whole = tmp_path / "x.pth", variables_file()
    for size in range(0, len(whole), 11):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="x.pth is not a PyTorch file"):
            torch_pickle.load_variables(path)


def test_a_file_of_python_2(tmp_path):
    """Names as a list of pairs, and tensors without hooks."""
    path = tmp_path / "x.pth"
    storage = Persistent("storage", Named("torch.FloatStorage", None), "7", "cuda:0", 6, None)
    value = Named("torch._utils._rebuild_tensor", storage, 0, (2, 3), (3, 1))
    names = Named("collections.OrderedDict", [["a", value]])
    parts = [MAGIC, VERSION, SYSTEM, names, ["7"]]
    written = b"".join(dumps(part, 2) for part in parts) + struct.pack("<q", 6) + VALUES.tobytes()
    path.write_bytes(written)
    found = torch_pickle.load_variables(path)
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], VALUES.reshape(2, 3))


@pytest.mark.parametrize("pairs", [3, [3], [["a"]], [[3, "a"]], [("a", 1)]], ids=str)
def test_an_ordered_dict_of_something_else(pairs):
    message = refusal(dumps(Named("collections.OrderedDict", pairs), 2))
    assert "OrderedDict with unknown arguments" in message
