"""What this machine makes of `--num-gpus`, `--ops` and `--precision`."""

import sys

import tensorflow as tf

from dnnlib.tflib import op_library
from dnnlib.tflib.execution import Execution, plan_execution
from dnnlib.tflib.hardware import DevicePlan, plan_devices
from dnnlib.tflib.impl import resolve_impl


def resolve_num_gpus(requested: int | None) -> DevicePlan:
    """`plan_devices` for this machine; prints the warning, if any, on stderr.

    Raises:
        UserError: see `plan_devices`.
    """
    gpus = tf.config.list_physical_devices("GPU")
    plan = plan_devices(requested, len(gpus))
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus and plan.num_gpus < len(gpus):
        tf.config.set_visible_devices(gpus[: plan.num_gpus], "GPU")
    if plan.warning:
        print(f"warning: {plan.warning}", file=sys.stderr)
    return plan


def gpu_memory_gb() -> float:
    """Peak memory in GB of the GPU of this process that uses most; 0 on a CPU."""
    gpus = range(len(tf.config.list_logical_devices("GPU")))
    peaks = [tf.config.experimental.get_memory_info(f"GPU:{i}")["peak"] for i in gpus]
    return max(peaks, default=0) / 2**30


def resolve_execution(ops: str = "auto", precision: str = "fp32") -> Execution:
    """`plan_execution` for this machine. Builds our operations where they were asked for, and
    sets TensorFlow's switch for TF32, which holds for the process.

    Raises:
        UserError: see `plan_execution`; operations asked for that cannot be compiled.
    """
    has_gpu = op_library.sees_gpu()
    has_kernels = has_gpu and ops == "auto" and op_library.usable_for_auto()
    execution = plan_execution(ops, precision, has_gpu=has_gpu, has_kernels=has_kernels)
    resolve_impl(execution.impl)
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    return execution
