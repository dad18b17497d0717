"""Times the operations of our own; see `bench_ops`."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from benchmarks import report
from benchmarks.op_cases import CASES, IMPLEMENTATIONS
from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from dnnlib.tflib.ops.resample_conv import RESAMPLE_FILTER
from dnnlib.tflib.ops.upfirdn_2d import setup_filter, upfirdn_2d

WARM_UP = 3


def measure(rounds: int, dtype: str) -> dict[str, Any]:
    """Times all cases.

    Returns:
        `cases`: name -> `forward` and `both` -> implementation -> median seconds; `problem`: why
        there are no compiled operations, None where there are.
    """
    problem = None
    implementations = list(IMPLEMENTATIONS)
    cases: dict[str, Any] = {}
    for name, (operation, shape, keywords) in CASES.items():
        times: dict[str, dict[str, float]] = {}
        for direction in ("forward", "both"):
            calls = {}
            for implementation in list(implementations):
                try:
                    call = make_call(operation, shape, keywords, dtype, implementation, direction)
                    for _ in range(WARM_UP):
                        call()
                except UserError as error:
                    problem = str(error)
                    implementations.remove(implementation)
                    continue
                calls[implementation] = call
            times[direction] = report.paired_medians(calls, rounds)
        cases[name] = times
    return {"dtype": dtype, "cases": cases, "problem": problem}


def make_call(
    operation: str,
    shape: Sequence[int],
    keywords: dict[str, Any],
    dtype: str,
    implementation: str,
    direction: str,
) -> Callable[[], Any]:
    """A call of an operation on random images [N,H,W,C] that waits for its end."""
    ops = {"plain": "reference", "XLA": "xla", "compiled": "compiled"}[implementation]
    execution = resolve_execution(ops)
    x = tf.cast(tf.random.normal(shape), dtype)
    b = tf.cast(tf.random.normal(shape[-1:]), dtype)
    kernel = setup_filter(RESAMPLE_FILTER)

    def forward(x: Any, b: Any) -> Any:
        if operation == "fused_bias_act":
            return fused_bias_act(x, b, impl=execution.impl, **keywords)
        return upfirdn_2d(x, kernel, impl=execution.impl, **keywords)

    def both(x: Any, b: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, b])
            y = forward(x, b)
        # The result serves as the gradient that comes in.
        return y, tape.gradient(y, [x, b], output_gradients=y, unconnected_gradients="zero")

    function = tf.function(
        {"forward": forward, "both": both}[direction],
        jit_compile=execution.jit,
        autograph=False,
    )

    def call() -> None:
        function(x, b)
        tf.test.experimental.sync_devices()

    return call
