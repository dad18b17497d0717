"""Pickles for NumPy 1: read by Python's unpickler and by ours, with the names of that time."""

import io
import pickle
import pickletools
from typing import Any

import numpy as np
import pytest

from dnnlib import pickle_writer, safe_pickle
from dnnlib.pickle_values import Inert

VALUES: dict[str, Any] = {
    "plain": {"a": 1, "b": [-(1 << 31), 2.5, True, None, False, "text é", b"\x00\xff"], "c": ()},
    "long": {"list": list(range(2500)), "dict": {f"k{n}": (n,) for n in range(1500)}},
}


def written(value: object) -> bytes:
    file = io.BytesIO()
    pickle_writer.dump(value, file)
    return file.getvalue()


@pytest.mark.parametrize("name", VALUES)
def test_both_readers_give_the_value_back(name: str) -> None:
    data = written(VALUES[name])
    assert pickle.loads(data) == VALUES[name]
    assert safe_pickle.load(io.BytesIO(data)) == VALUES[name]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "i8", "?"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3)])
def test_arrays_have_the_names_that_numpy_1_knows(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(100 * np.random.default_rng(0).random(shape)).astype(dtype)
    if shape == (2, 3):
        array = array.T  # not in C's order
    data = written([array])
    names = {arg for opcode, arg, _ in pickletools.genops(data) if opcode.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # of NumPy 2 on the old name
        (python,) = pickle.loads(data)
    (ours,) = safe_pickle.load(io.BytesIO(data))
    for read in (python, ours):
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array, strict=True)


def test_protocol_and_operations_are_those_of_python_3_6() -> None:
    value = {"a": [np.float32(0.1), np.zeros(3)], "b": Inert("some.module.Class", {"c": (1, 2)})}
    data = written(value)
    assert data[:2] == b"\x80\x03"
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(data)) <= 3
    read = safe_pickle.load(io.BytesIO(data), {("some.module", "Class"): Inert})
    assert read["b"] == Inert("some.module.Class", {"c": (1, 2)})
    assert read["a"][0] == np.float32(0.1).item()


@pytest.mark.parametrize("value", [1 << 31, {1}, np.zeros(2, object), np.zeros(1, "U3"), 1j])
def test_what_is_no_plain_data_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no plain data|not one of numbers"):
        written([value])
