"""--ops and --precision: what they come down to, for every machine and on this one."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.execution import OPS, PLAIN, PRECISIONS, Execution, plan_execution
from dnnlib.tflib.machine import resolve_execution as resolve
from training.models.functions import fill_batch, make_function
from training.networks.configs import Images
from training.networks.layers import Network

XLA = Execution("xla", "xla", True, "fp32")
HAS_GPU = bool(tf.config.list_physical_devices("GPU"))


@pytest.fixture(autouse=True)
def _switch_of_tf32():
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.parametrize(
    ("ops", "has_gpu", "has_kernels", "expected"),
    [
        ("auto", False, False, ("xla", "xla", True)),
        ("auto", True, True, ("cuda", "compiled", False)),
        ("auto", True, False, ("xla", "reference", True)),
        ("auto", False, True, ("xla", "xla", True)),
        ("cuda", True, False, ("cuda", "compiled", False)),
        ("xla", False, False, ("xla", "xla", True)),
        ("xla", True, True, ("xla", "reference", True)),
        ("reference", False, False, ("reference", "reference", False)),
        ("reference", True, True, ("reference", "reference", False)),
        ("compiled", False, False, ("compiled", "compiled", False)),
    ],
)
def test_plan(ops, has_gpu, has_kernels, expected):
    plan = plan_execution(ops, "bf16", has_gpu=has_gpu, has_kernels=has_kernels)
    assert plan == Execution(*expected, "bf16")
    assert plan.label == f"ops {expected[0]}, precision bf16"


def test_the_default_is_what_reference_gives():
    assert plan_execution("reference", "fp32", has_gpu=False, has_kernels=False) == PLAIN


def test_cuda_needs_a_gpu():
    with pytest.raises(UserError, match=r"--ops=cuda: .*no GPU.*leave the flag out"):
        plan_execution("cuda", "fp32", has_gpu=False, has_kernels=True)


@pytest.mark.parametrize("names", [("fast", "fp32"), ("auto", "fp8")])
def test_unknown_names(names):
    with pytest.raises(ValueError, match=f"{names[0]}.*{names[1]}"):
        plan_execution(*names, has_gpu=False, has_kernels=False)


@pytest.mark.skipif(HAS_GPU, reason="of machines without a GPU")
def test_this_machine():
    assert resolve() == XLA
    assert resolve("reference") == PLAIN
    with pytest.raises(UserError, match="--ops=cuda"):
        resolve("cuda")


def test_precision_sets_the_switch_of_tf32():
    for precision in ("tf32", *PRECISIONS):
        resolve("reference", precision)
        enabled = tf.config.experimental.tensor_float_32_execution_enabled()
        assert enabled == (precision == "tf32")


def test_every_name_can_be_planned():
    for ops in OPS:
        plan = plan_execution(ops, "fp32", has_gpu=True, has_kernels=True)
        assert plan.ops == (ops if ops != "auto" else "cuda")


def test_batches_are_filled_for_xla_alone():
    values = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(fill_batch(values, 5, XLA), values[[0, 1, 2, 2, 2]])
    for minibatch, execution in ((3, XLA), (2, XLA), (None, XLA), (5, PLAIN)):
        assert fill_batch(values, minibatch, execution) is values


@pytest.mark.parametrize("execution", [PLAIN, XLA], ids=lambda execution: execution.ops)
def test_a_function_runs_as_it_is_told(execution):
    """In the network's own state, only within, and traced once for batches that were filled."""
    network = Network(Images(resolution=4), seed=0)
    traced = []

    def double(values):
        traced.append((network._factory.impl, network._factory.bf16, values.shape[0]))
        return 2 * values

    bf16 = Execution(execution.ops, execution.impl, execution.jit, "bf16")
    run = make_function(double, network, bf16, [tf.TensorSpec([None, 2], tf.float32)])
    before = network._factory.impl
    for n in (4, 3):
        values = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
        found = run(tf.constant(fill_batch(values, 4, bf16))).numpy()
        np.testing.assert_array_equal(found[:n], 2 * values)
    assert traced == [(execution.impl, True, 4 if execution.jit else None)]
    assert (network._factory.impl, network._factory.bf16) == (before, False)
    assert run._jit_compile == execution.jit
