"""The self-test of the compiled operations: what it finds, what follows, what is remembered.

A wrong kernel is the right one with one answer changed. A GPU is made up where one is needed: its
kernels are then those of the CPU.
"""

import math
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import op_library
from dnnlib.tflib.custom_ops import selftest
from dnnlib.tflib.custom_ops.selftest import Row
from dnnlib.tflib.impl import resolve_impl
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.ops import checks, compiled
from dnnlib.tflib.ops.checks import ActCase, FirCase
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
    ),
]


class Wrong:
    """The library with one operation's answers changed; the others are its own."""

    def __init__(self, module, name, change):
        self._module, self._name, self._change = module, name, change

    def __getattr__(self, name):
        function = getattr(self._module, name)
        if name != self._name:
            return function
        return lambda **arguments: self._change(function, arguments)


def scaled(function, arguments):
    return function(**arguments) * tf.cast(1.1, arguments["x"].dtype)


def another_order(function, arguments):
    return function(**arguments | {"order": 1})


def another_pad(function, arguments):
    return function(**arguments | {"padx0": arguments["padx0"] + 1})


def not_a_number(function, arguments):
    y = function(**arguments)
    return tf.concat([y[:-1], y[-1:] * tf.cast(float("nan"), y.dtype)], 0)


def failing(function, arguments):
    raise tf.errors.InternalError(None, None, "CUDA: no kernel image\nis available")


WRONG = {
    "value": ("gan_bias_act", scaled),
    "gradient": ("gan_bias_act_grad", scaled),
    "second order": ("gan_bias_act_grad", another_order),
    "pads": ("gan_upfirdn", another_pad),
    "no number": ("gan_upfirdn", not_a_number),
    "error": ("gan_upfirdn", failing),
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The CPU's library, loaded as from a cache folder of its own where nothing has passed yet."""
    module = op_library.get_library(cuda=False)
    path = tmp_path / "ops.so"
    shutil.copy(op_library.library_path(), path)
    monkeypatch.setattr(op_library, "_loaded", (True, module, path))
    monkeypatch.setattr(op_library, "_checked", {})
    monkeypatch.setattr(op_library, "_warned", False)
    return path


@pytest.fixture
def made_up_gpu(library, monkeypatch):
    monkeypatch.setattr(op_library, "sees_gpu", lambda: True)
    return library


def plant(monkeypatch, fault):
    module = op_library.get_library(cuda=False)
    wrong = Wrong(module, *WRONG[fault])
    monkeypatch.setattr(compiled, "_library", lambda: wrong)


def count_comparisons(monkeypatch):
    calls = []
    compare = checks.compare

    def counted(case, dtype, device):
        calls.append((case.operation, dtype, device))
        return compare(case, dtype, device)

    monkeypatch.setattr(checks, "compare", counted)
    return calls


@pytest.mark.parametrize("dtype", checks.ALLOWED)
def test_right_kernels_pass(library, dtype):
    for case in checks.long_cases():
        result = checks.compare(case, dtype, "CPU:0")
        assert not result.is_wrong, result


@pytest.mark.parametrize("fault", WRONG)
def test_auto_goes_on_with_plain_tensorflow_and_says_why_once(
    made_up_gpu, monkeypatch, capfd, fault
):
    plant(monkeypatch, fault)
    assert [resolve_impl("auto") for _ in range(3)] == ["reference"] * 3
    execution = resolve_execution("auto")
    assert (execution.ops, execution.impl) == ("xla", "reference")
    (line,) = capfd.readouterr().err.splitlines()
    operation = {"gan_upfirdn": "upfirdn_2d"}.get(WRONG[fault][0], "fused_bias_act")
    assert line.startswith(f"warning: custom operations: {operation} in float32 on CPU:0 ")
    why = "fails: CUDA: no kernel image is available" if fault == "error" else "differs from plain"
    assert why in line
    assert line.endswith("; going on with plain TensorFlow operations")
    assert list(made_up_gpu.parent.iterdir()) == [made_up_gpu]  # no pass is remembered


@pytest.mark.parametrize("ops", ["compiled", "cuda"])
def test_operations_asked_for_by_name_are_refused(made_up_gpu, monkeypatch, ops):
    plant(monkeypatch, "gradient")
    for _ in range(2):
        with pytest.raises(UserError, match=r"differs from plain TensorFlow by .*; see `python -m"):
            resolve_execution(ops)
    with pytest.raises(UserError, match="differs from plain"):
        fused_bias_act(tf.zeros([2, 3]), impl="compiled")


def test_a_pass_is_remembered_for_this_library_and_device(made_up_gpu, monkeypatch):
    calls = count_comparisons(monkeypatch)
    assert resolve_impl("auto") == "compiled"
    assert len(calls) == len(list(checks.short_cases())) * 3
    assert {device for _, _, device in calls} == {"CPU:0"}
    (marker,) = made_up_gpu.parent.glob("*.passed")
    assert marker.read_text() == "as plain TensorFlow on CPU:0\n"
    resolve_impl("compiled")  # of the same process
    op_library._checked.clear()  # another process
    assert resolve_impl("auto") == "compiled"
    assert len(calls) == len(list(checks.short_cases())) * 3
    op_library._checked.clear()
    monkeypatch.setattr(checks, "device_name", lambda device: "another")
    resolve_impl("auto")
    assert len(calls) == len(list(checks.short_cases())) * 6
    op_library._checked.clear()
    with open(made_up_gpu, "ab") as file:  # another library of the same name
        file.write(b"\0")
    resolve_impl("auto")
    assert len(calls) == len(list(checks.short_cases())) * 9


def test_every_gpu_is_tested(made_up_gpu, monkeypatch):
    calls = count_comparisons(monkeypatch)
    monkeypatch.setattr(checks, "devices", lambda: ["CPU:0", "GPU:0", "GPU:1"])
    monkeypatch.setattr(checks, "device_name", lambda device: f"{device} (made up)")
    monkeypatch.setattr(checks.tf, "device", lambda name: tf.name_scope("on"))
    resolve_impl("compiled")
    assert {device for _, _, device in calls} == {"CPU:0", "GPU:0", "GPU:1"}
    assert len(list(made_up_gpu.parent.glob("*.passed"))) == 3


def test_a_folder_that_cannot_be_written(made_up_gpu, monkeypatch):
    monkeypatch.setattr(checks, "marker", lambda *_: made_up_gpu / "below" / "a file")
    assert resolve_impl("auto") == "compiled"


def test_the_check_may_come_while_a_function_is_traced(made_up_gpu, monkeypatch):
    calls = count_comparisons(monkeypatch)
    x = tf.constant([[-1.0, 2.0]])

    @tf.function
    def graph(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = fused_bias_act(x, act="lrelu", gain=1.0)
        return y, tape.gradient(y, x)

    y, dx = graph(x)
    assert len(calls) == len(list(checks.short_cases())) * 3
    assert "GanBiasAct" in {op.type for op in graph.get_concrete_function(x).graph.get_operations()}
    assert y.numpy().tolist() == [[pytest.approx(-0.2), 2.0]]
    assert dx.numpy().tolist() == [[pytest.approx(0.2), 1.0]]


# In a process of its own: the seed belongs to all of TensorFlow, whose kernels it throws away.
SEEDED = """
import tensorflow as tf
from dnnlib.tflib import op_library
from dnnlib.tflib.impl import resolve_impl
from dnnlib.tflib.ops import checks
compare, calls = checks.compare, []
checks.compare = lambda *arguments: calls.append(1) or compare(*arguments)
checks.marker = lambda *arguments: checks.Path("/nowhere/at/all")
tf.random.set_seed(5)
expected = tf.random.normal([3]).numpy().tolist()
tf.random.set_seed(5)
resolve_impl("compiled")
assert calls
assert tf.random.normal([3]).numpy().tolist() == expected
"""


def test_the_check_changes_no_random_numbers():
    found = subprocess.run(
        [sys.executable, "-c", SEEDED], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr


@pytest.fixture
def few_cases(monkeypatch):
    some = [ActCase((3, 5)), FirCase((2, 5, 7, 3))]
    monkeypatch.setattr(checks, "long_cases", lambda: iter(some))
    monkeypatch.setattr(selftest, "_SPEED_SHAPE", (1, 16, 16, 8))
    return some


def test_the_table(library, few_cases, capsys):
    selftest.run(large=False)
    out, err = capsys.readouterr()
    head, rule, copy, *rows = out.splitlines()
    assert "| value | gradient | second | allowed | GB/s | of copy |" in head
    assert copy.startswith("| CPU:0 | copy | float32 | - | - | - | ")
    assert copy.endswith(" | 100% |")
    names = [row.split(" | ")[1:3] for row in rows]
    assert names[:6] == [
        [operation, dtype] for operation in ("fused_bias_act", "upfirdn_2d")
        for dtype in ("float32", "float16", "bfloat16")
    ]  # fmt: skip
    for row in rows[:6]:
        errors = [float(cell) for cell in row.split(" | ")[3:7]]
        assert max(errors[:3]) <= errors[3]
        assert row.endswith("% |")
    assert [row.split(" | ")[-1] for row in rows[6:]] == ["left out: --no-large |"] * 2
    assert "no GPU here" in err
    assert len(list(library.parent.glob("*.passed"))) == 1


def test_a_difference_is_status_1_and_forgets_that_it_passed(
    library, few_cases, monkeypatch, capsys
):
    checks.remember(library, "CPU:0")
    plant(monkeypatch, "gradient")
    with pytest.raises(SystemExit) as caught:
        selftest.run(large=False)
    assert caught.value.code == 1
    _, *lines = capsys.readouterr().err.splitlines()
    assert [line.split(": differs in 1 of 1 cases, first ActCase(")[0] for line in lines] == [
        f"error: CPU:0: fused_bias_act in {dtype}" for dtype in checks.ALLOWED
    ]
    assert not list(library.parent.glob("*.passed"))


def test_large_tensors_are_compared_piece_by_piece(library, monkeypatch):
    for case in (ActCase((2, 4, 4, 8), bias=False), FirCase((2, 4, 4, 8))):
        assert max(selftest.large_errors(case, "CPU:0", 3)) < checks.ALLOWED["bfloat16"]

    def late(function, arguments):  # wrong behind the first piece alone
        y = function(**arguments)
        return tf.concat([y[:2], y[2:] * tf.cast(1.5, y.dtype)], 0)

    module = op_library.get_library(cuda=False)
    for name, case in (
        ("gan_bias_act", ActCase((2, 4, 4, 8), bias=False)),
        ("gan_upfirdn", FirCase((2, 4, 4, 8))),
    ):
        wrong = Wrong(module, name, late)
        monkeypatch.setattr(compiled, "_library", lambda wrong=wrong: wrong)
        assert selftest.large_errors(case, "CPU:0", 3)[0] > 0.3


def test_where_memory_is_short_large_tensors_are_left_out_with_the_reason(library, monkeypatch):
    row = selftest._test_large(FirCase(selftest._PIECE), "CPU:0", 3 * 2.0**30)
    assert row.left_out == "needs 14 GiB of memory, 3 GiB are free"
    assert row.cells("CPU:0")[-1] == "left out: needs 14 GiB of memory, 3 GiB are free"

    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(selftest, "large_errors", exhausted)
    row = selftest._test_large(FirCase(selftest._PIECE), "GPU:0", math.inf)
    assert "which the GPU has not free" in row.left_out
    assert not row.problem
    assert selftest._PIECES * 2**24 > 2**31


def test_a_row_of_a_failure():
    row = Row("upfirdn_2d", "float16", problem="fails: no kernel image")
    assert row.cells("GPU:0 (X)") == [
        "GPU:0 (X)",
        "upfirdn_2d",
        "float16",
        "fails: no kernel image",
    ]


def test_the_command():
    code = """
import runpy, sys
import dnnlib.tflib.custom_ops.selftest as selftest
selftest.run = lambda large: print("large", large)
sys.argv[1:] = ["selftest", "--no-large"]
runpy.run_module("dnnlib.tflib.custom_ops", run_name="__main__", alter_sys=True)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "large False\n"), run.stderr
