"""Writes a small made-up graph in the form of the 2015-12-05 Inception file.

`python -m tests.support.made_up_inception OUT.pb`. Node names, operations, types and widths are
those of the real file (preprocessing for one JPEG image, old batch normalisation, `pool_3` with
2048 values, a classifier behind it); the weights are random, so figures mean nothing.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnnlib import pickle_writer
from dnnlib.pickle_values import Inert

EPSILON = 0.001
WIDTH = 32
NUM_FEATURES = 2048


def weights() -> dict[str, np.ndarray]:
    """The constants of the graph, always the same."""
    rnd = np.random.RandomState(1234)
    return {
        "conv/conv2d_params": 0.1 * rnd.randn(24, 24, 3, WIDTH).astype(np.float32),
        "conv/batchnorm/moving_mean": 0.1 * rnd.randn(WIDTH).astype(np.float32),
        "conv/batchnorm/moving_variance": rnd.uniform(0.5, 2, WIDTH).astype(np.float32),
        "conv/batchnorm/beta": 0.1 * rnd.randn(WIDTH).astype(np.float32),
        "conv/batchnorm/gamma": rnd.uniform(0.5, 2, WIDTH).astype(np.float32),
        "mixed_10/conv2d_params": rnd.randn(1, 1, WIDTH, NUM_FEATURES).astype(np.float32) / 6,
        "softmax/weights": rnd.randn(NUM_FEATURES, 8).astype(np.float32),
    }


def graph_bytes(**changes: Any) -> bytes:
    """The serialised GraphDef.

    Args:
        changes: what the tests of bad files alter: `num_features`, `pool_name`,
            `half_pixel_centers`, `final_op`, `scale_after_normalization`.
    """
    import tensorflow as tf
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    graph.versions.producer = 8  # the last version that had the old batch normalisation

    def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        added = graph.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            attribute = added.attr[key]
            if isinstance(value, tf.DType):
                attribute.type = value.as_datatype_enum
            elif isinstance(value, bool):
                attribute.b = value
            elif isinstance(value, int):
                attribute.i = value
            elif isinstance(value, float):
                attribute.f = value
            elif isinstance(value, str):
                attribute.s = value.encode()
            elif isinstance(value, list):
                attribute.list.i.extend(value)
            else:
                attribute.tensor.CopyFrom(value)
        return name

    def constant(name: str, value: Any, dtype: Any = tf.float32) -> str:
        return node(name, "Const", dtype=dtype, value=tf.make_tensor_proto(value, dtype))

    values = weights()
    values["mixed_10/conv2d_params"] = values["mixed_10/conv2d_params"][
        ..., : changes.get("num_features", NUM_FEATURES)
    ]
    for name, value in values.items():
        constant(name, value)

    node("DecodeJpeg/contents", "Placeholder", dtype=tf.string)
    node("DecodeJpeg", "DecodeJpeg", ["DecodeJpeg/contents"], channels=3)
    node("Cast", "Cast", ["DecodeJpeg"], SrcT=tf.uint8, DstT=tf.float32)
    constant("ExpandDims/dim", 0, tf.int32)
    node("ExpandDims", "ExpandDims", ["Cast", "ExpandDims/dim"], T=tf.float32)
    constant("ResizeBilinear/size", [299, 299], tf.int32)
    options = {"half_pixel_centers": True} if changes.get("half_pixel_centers") else {}
    node(
        "ResizeBilinear",
        "ResizeBilinear",
        ["ExpandDims", "ResizeBilinear/size"],
        T=tf.float32,
        align_corners=False,
        **options,
    )
    node("Sub", "Sub", ["ResizeBilinear", constant("Sub/y", 128.0)], T=tf.float32)
    node("Mul", "Mul", ["Sub", constant("Mul/y", 1 / 128)], T=tf.float32)
    node(
        "conv/Conv2D",
        "Conv2D",
        ["Mul", "conv/conv2d_params"],
        T=tf.float32,
        strides=[1, 24, 24, 1],
        padding="VALID",
    )
    parts = ("moving_mean", "moving_variance", "beta", "gamma")
    node(
        "conv/batchnorm",
        "BatchNormWithGlobalNormalization",
        ["conv/Conv2D", *(f"conv/batchnorm/{part}" for part in parts)],
        T=tf.float32,
        variance_epsilon=EPSILON,
        scale_after_normalization=changes.get("scale_after_normalization", False),
    )
    node("conv/CheckNumerics", "CheckNumerics", ["conv/batchnorm"], T=tf.float32, message="conv")
    node(
        "conv/control_dependency",
        "Identity",
        ["conv/batchnorm", "^conv/CheckNumerics"],
        T=tf.float32,
    )
    node("conv", "Relu", ["conv/control_dependency"], T=tf.float32)
    node(
        "mixed_10/conv",
        "Conv2D",
        ["conv", "mixed_10/conv2d_params"],
        T=tf.float32,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )
    node("mixed_10/join", changes.get("final_op", "Relu"), ["mixed_10/conv"], T=tf.float32)
    pool = node(
        changes.get("pool_name", "pool_3"),
        "AvgPool",
        ["mixed_10/join"],
        T=tf.float32,
        ksize=[1, 12, 12, 1],
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    # Behind the features the real graph is made for one image at a time.
    constant("pool_3/_reshape/shape", [1, NUM_FEATURES], tf.int32)
    node("pool_3/_reshape", "Reshape", [pool, "pool_3/_reshape/shape"], T=tf.float32)
    node("softmax/logits", "MatMul", ["pool_3/_reshape", "softmax/weights"], T=tf.float32)
    node("softmax", "Softmax", ["softmax/logits"], T=tf.float32)
    return graph.SerializeToString()


def write_pickle(
    path: str | os.PathLike[str],
    *,
    static_kwargs: dict[str, Any] | None = None,
    variables: Sequence[tuple[str, Any]] = (),
    components: dict[str, Inert] | None = None,
    **other: Any,
) -> None:
    """Writes a pickled network of the published code in the form of `inception_v3_features.pkl`.

    Its source text is dead: whoever runs it raises an error.
    """
    state = {
        "version": 3,
        "name": "inception_v3_features",
        "static_kwargs": static_kwargs or {},
        "components": components or {},
        "build_module_src": "raise AssertionError('the source text was run')\n",
        "build_func_name": "inception_v3_features",
        "variables": list(variables),
    }
    with open(path, "wb") as file:
        pickle_writer.dump(Inert("dnnlib.tflib.network.Network", state | other), file)


def write(path: str | os.PathLike[str], **changes: Any) -> None:
    """Writes the graph (see `graph_bytes`) to `path`."""
    with open(path, "wb") as file:
        file.write(graph_bytes(**changes))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.support.made_up_inception OUT.pb")
    write(sys.argv[1])
