"""What do the operations of our own gain over plain TensorFlow and over XLA?

Forward, and forward with the gradient, at the sizes of config-e at 128x128. Three implementations:
plain TensorFlow in a tf.function, the same compiled with XLA, and the compiled custom operation.
Times are medians of calls that run in turn. Within a network XLA also fuses an operation with its
neighbours, which shows in the training benchmark alone.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow

# Name -> operation, shape of the images, keywords.
CASES: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "bias, lrelu": ("fused_bias_act", [4, 128, 128, 64], {"act": "lrelu"}),
    "FIR behind an upsampling convolution": (
        "upfirdn_2d",
        [4, 129, 129, 64],
        {"padx0": 1, "padx1": 1, "pady0": 1, "pady1": 1},
    ),
    "FIR, every 2nd pixel": (
        "upfirdn_2d",
        [4, 128, 128, 64],
        {"downx": 2, "downy": 2, "padx0": 1, "padx1": 1, "pady0": 1, "pady1": 1},
    ),
    "RGB, upsampled": (
        "upfirdn_2d",
        [4, 64, 64, 3],
        {"upx": 2, "upy": 2, "padx0": 2, "padx1": 1, "pady0": 2, "pady1": 1},
    ),
}
IMPLEMENTATIONS = ("plain", "XLA", "compiled")
WARM_UP = 3


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument(
        "--rounds", type=cli.positive_int, default=25, metavar="N", help="(default: 25)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="of the images (default: float32)",
    )
    return parser


def measure(rounds: int, dtype: str) -> dict[str, Any]:
    """Times all cases.

    Returns:
        `cases`: name -> `forward` and `both` -> implementation -> median seconds; `problem`: why
        there are no compiled operations, None where there are.
    """
    quiet_tensorflow(verbose=False)
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
    import tensorflow as tf

    from dnnlib.tflib.machine import resolve_execution
    from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
    from dnnlib.tflib.ops.resample_conv import RESAMPLE_FILTER
    from dnnlib.tflib.ops.upfirdn_2d import setup_filter, upfirdn_2d

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


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    figures = report.in_process(measure, args.rounds, args.dtype)
    rows = []
    for name, times in figures["cases"].items():
        operation, shape, _ = CASES[name]
        size = "x".join(str(n) for n in shape)
        for direction, label in (("forward", "forward"), ("both", "and gradient")):
            found = times[direction]
            cells = [f"{found[key] * 1000:.2f}" if key in found else "-" for key in IMPLEMENTATIONS]
            rows.append([f"`{operation}`: {name}", size, label, *cells])
    head = ["operation", "images", "", "plain, ms", "XLA, ms", "compiled, ms"]
    text = f"{report.table(head, rows)}\n\nImages of {args.dtype}."
    if figures["problem"]:
        text += f" No compiled operations: {figures['problem']}."
    report.publish("ops", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
