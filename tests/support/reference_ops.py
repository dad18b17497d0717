"""Compares the operations with arrays that the published implementation made.

Layout of a file: `<op>/<case>/<array>`, for `fused_bias_act/<activation>/<case>/<array>`. Arrays:
inputs x, k (filter), w (weights), b (bias) and numbers by their argument's name (nan: not given);
results y; gradients dx, db, dw of sum(y * dy); second order d2x, d2b, d2w of sum(dx * ddy).
Images are [N,C,H,W], those of upfirdn_2d [N,H,W,C].
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib.ops import resample_conv, upfirdn_2d
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
from tests.support.deviation import Deviation, compare_gradients, compare_values
from tests.support.filtering import filter_2d

OPS: dict[str, Callable[..., tf.Tensor]] = {
    "upfirdn_2d": upfirdn_2d.upfirdn_2d,
    "filter_2d": filter_2d,
    "upsample_2d": upfirdn_2d.upsample_2d,
    "downsample_2d": upfirdn_2d.downsample_2d,
    "upsample_conv_2d": resample_conv.upsample_conv_2d,
    "conv_downsample_2d": resample_conv.conv_downsample_2d,
    "fused_bias_act": fused_bias_act,
}
INTEGERS = ("upx", "upy", "downx", "downy", "padx0", "padx1", "pady0", "pady1", "factor")
NUMBERS = ("gain", "alpha", "clamp")
RESULTS = ("y", "dx", "db", "dw", "d2x", "d2b", "d2w")
ZERO_GRADIENT = 1e-3  # entries below this count as this: a zero gradient must be so within 1e-6


def check_ops(
    arrays: Mapping[str, np.ndarray], where: str, impl: str, xla: bool
) -> list[Deviation]:
    """Deviation of every result in a reference file; UserError for arrays of another layout."""
    cases: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, array in arrays.items():
        case, _, name = key.rpartition("/")
        cases[case][name] = array
    return [
        deviation
        for case, members in cases.items()
        for deviation in _check_case(case, members, where, impl, xla)
    ]


def _check_case(
    case: str, arrays: dict[str, np.ndarray], where: str, impl: str, xla: bool
) -> list[Deviation]:
    op = case.split("/")[0]
    known = {"x", "k", "w", "b", "dy", "ddy", *INTEGERS, *NUMBERS, *RESULTS}
    if unknown := sorted(set(arrays) - known):
        raise UserError(f"{where}: {case}/{unknown[0]} is no array of the operations' layout")
    needed = {"x", "y"} | ({"dy"} if {"dx", "db", "dw", "ddy"} & set(arrays) else set())
    needed |= {"ddy"} if any(name.startswith("d2") for name in arrays) else set()
    if missing := sorted(needed - set(arrays)):
        raise UserError(f"{where}: {case}/{missing[0]} is missing")

    def channels_last(array: np.ndarray) -> np.ndarray:
        return array if op == "upfirdn_2d" or array.ndim < 3 else np.moveaxis(array, 1, -1)

    images = {"x", "y", "dy", "ddy", "dx", "d2x"}
    data = {name: channels_last(a) if name in images else a for name, a in arrays.items()}
    inputs: dict[str, tf.Tensor] = {
        n: tf.constant(data[n]) for n in ("x", "w", "b", "dy", "ddy") if n in data
    }
    run = tf.function(_evaluate, jit_compile=True) if xla else _evaluate
    try:
        results = run(_bind(case, op, data, impl), inputs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {case}: {error}") from error
    deviations = []
    for name in RESULTS:
        if name not in data:
            continue
        if name not in results:
            raise UserError(f"{where}: {case}/{name} belongs to no input of the operation")
        actual, expected = results[name].numpy(), data[name]
        if name == "y":
            deviations.append(compare_values(f"{case}/{name}", actual, expected))
        else:
            deviations.append(
                compare_gradients(f"{case}/{name}", actual, expected, floor=ZERO_GRADIENT)
            )
    return deviations


def _bind(
    case: str, op: str, data: dict[str, np.ndarray], impl: str
) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    """The operation with all arguments but the differentiable ones."""
    kwargs: dict[str, object] = {"impl": impl}
    kwargs |= {name: int(data[name]) for name in INTEGERS if name in data}
    kwargs |= {n: float(data[n]) for n in NUMBERS if n in data and not math.isnan(data[n])}
    if op == "filter_2d":
        kwargs.pop("factor", None)  # recorded as 1
    if op == "fused_bias_act":
        kwargs["act"] = case.split("/")[1]
    elif "k" in data:
        kwargs["k"] = data["k"]
    return lambda inputs: OPS[op](**inputs, **kwargs)


def _evaluate(
    op: Callable[[dict[str, tf.Tensor]], tf.Tensor], inputs: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Result, gradients and second-order gradients, as far as there are `dy` and `ddy`."""
    sources: dict[str, tf.Tensor] = {
        name: inputs[name] for name in ("x", "w", "b") if name in inputs
    }
    results = {}
    with tf.GradientTape() as second:
        second.watch(sources)
        with tf.GradientTape() as first:
            first.watch(sources)
            results["y"] = op(sources)
            loss = tf.reduce_sum(results["y"] * inputs["dy"]) if "dy" in inputs else None
        if loss is None:
            return results
        gradients = first.gradient(loss, sources)
        results |= {f"d{name}": gradient for name, gradient in gradients.items()}
        if "ddy" not in inputs:
            return results
        loss = tf.reduce_sum(gradients["x"] * inputs["ddy"])
    gradients = second.gradient(loss, sources, unconnected_gradients="zero")
    return results | {f"d2{name}": gradient for name, gradient in gradients.items()}
