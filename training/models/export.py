"""Instances for other programs: TensorFlow's SavedModel and ONNX.

Both take `latents` ~ N(0,1), float32 [N,Z], and give `images`, float32 [N,H,W,C] around [-1,1], and
`pixels`, uint8 of the same shape. Instances of generators with classes also take one-hot
`labels`, float32 [N,C]; there is no truncation. The noise maps `noise0`, ... float32 [N or 1,h,w,1]
may be given; the stored ones stand in for them. What is traced is plain TensorFlow: no operation of
ours, nothing that XLA has compiled, any N.
"""

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.atomic import folder_atomic, open_atomic
from dnnlib.optional import require
from dnnlib.tflib.write_errors import convert_write_errors
from training.models.functions import num_classes, to_uint8
from training.models.legacy import NetworkData
from training.models.snapshot import build_network
from training.networks.layers import VariableFactory
from training.networks.plain_generator import PlainGenerator
from training.networks.stylegan2 import StyleGAN2Generator, make_mapping
from training.networks.synthesis import Synthesis

_GRAPH_FILE = "saved_model.pb"
_Instance = PlainGenerator | StyleGAN2Generator
OPSET = 18  # of ONNX; the newest that tf2onnx is tested with


class SavedModelExporter:
    """Writes instances of one generator as SavedModels; traces once.

    Signatures: `serving_default(latents)` and `with_noise(latents, noise0, ...)`. A SavedModel is a
    graph and a checkpoint of its variables; instances differ in the latter alone, so the former is
    made once. (Making it again would be slow, and TensorFlow keeps the memory each time.)

    Args:
        first: any instance, from `training.models.baking`.
    """

    def __init__(self, first: NetworkData) -> None:
        self._network = _build(first)
        module = tf.Module()
        # The list alone, so that the files say nothing of how the layers are arranged.
        module.variables_in_order = list(self._network.named_variables().values())
        self._checkpoint = tf.train.Checkpoint(root=module)
        inputs = _inputs(self._network)
        given = _num_given(self._network)

        def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            with self._network.running_with("reference"):
                options: dict[str, Any] = {"noise": tensors[given:] or None}
                if given > 1:
                    options["labels"] = tensors[1]
                return _outputs(self._network(tensors[0], **options))

        def trace(specs: Sequence[tf.TensorSpec]) -> Any:
            return tf.function(serve, autograph=False).get_concrete_function(*specs)

        signatures = {"serving_default": trace(inputs[:given]), "with_noise": trace(inputs)}
        with tempfile.TemporaryDirectory() as folder, convert_write_errors(folder):
            tf.saved_model.save(module, folder, signatures=signatures)
            self._graph = (Path(folder) / _GRAPH_FILE).read_bytes()

    def write(
        self, data: NetworkData, path: str | os.PathLike[str], *, replace: bool = False
    ) -> None:
        """Writes one instance as a folder, complete or not at all; see `folder_atomic`.

        Raises:
            UserError: `path` exists already (unless `replace`), or cannot be written.
            ValueError: an instance of another generator.
        """
        _check_same(data, self._network)
        for name, variable in self._network.named_variables().items():
            variable.assign(data.variables[name])
        with convert_write_errors(path), folder_atomic(path, replace=replace) as folder:
            (folder / _GRAPH_FILE).write_bytes(self._graph)
            (folder / "variables").mkdir()
            self._checkpoint.write(os.fspath(folder / "variables" / "variables"))


class OnnxExporter:
    """Writes instances of one generator as ONNX files; converts once.

    The weights are initialisers named as the variables, so that another instance differs in their
    values alone. The noise maps are initialisers that are inputs as well: default values.

    Args:
        first: any instance, from `training.models.baking`.

    Raises:
        UserError: the packages that it needs are missing.
    """

    def __init__(self, first: NetworkData) -> None:
        onnx, convert = import_onnx()
        self._network = _build(first)
        inputs = _inputs(self._network)
        # The converter takes names of variables for nodes of the graph, so that inputs get others.
        stored = {name: v for name, v in first.variables.items() if not _is_noise(name)}
        aliases = {f"weight{index}": name for index, name in enumerate(stored)}
        weights = [
            tf.TensorSpec(stored[name].shape, tf.float32, name=alias)
            for alias, name in aliases.items()
        ]

        def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            given = _num_given(self._network)
            values = dict(zip(stored, tensors[len(inputs) :], strict=True))
            for index, maps in enumerate(tensors[given : len(inputs)]):
                values[f"G_synthesis/noise{index}"] = tf.transpose(maps, [0, 3, 1, 2])
            return _outputs(_images(self._network, values, *tensors[:given]))

        signature = [*inputs, *weights]
        function = tf.function(serve, autograph=False, input_signature=signature)
        self._model, _ = convert.from_function(function, input_signature=signature, opset=OPSET)
        graph = self._model.graph
        graph.doc_string = ""  # else the name of a Python function
        for node in graph.node:
            node.input[:] = [aliases.get(name, name) for name in node.input]
        kept = [entry for entry in graph.input if entry.name not in aliases]
        del graph.input[:]
        graph.input.extend(kept)
        for entry in [*graph.input, *graph.output]:
            is_noise = entry.name.startswith("noise")  # one map for all images will do
            batch = f"{entry.name}_N" if is_noise else "N"
            entry.type.tensor_type.shape.dim[0].dim_param = batch
        constants = _constants(first)
        _canonicalise(graph, {entry.name for entry in [*kept, *graph.output]} | set(constants))
        graph.initializer.extend(
            onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
        )
        onnx.checker.check_model(self._model)
        for entry in graph.initializer:
            if entry.name in constants:
                entry.ClearField("raw_data")

    def write(self, data: NetworkData, path: str | os.PathLike[str]) -> None:
        """Writes one instance, completely or not at all.

        Raises:
            UserError: it cannot be written.
            ValueError: an instance of another generator.
        """
        _check_same(data, self._network)
        constants = _constants(data)
        model = copy.deepcopy(self._model)  # a message frees no memory of values that it has had
        for entry in model.graph.initializer:
            if entry.name in constants:
                entry.raw_data = constants[entry.name].tobytes()
        with open_atomic(path) as file:
            file.write(model.SerializeToString(deterministic=True))


def import_onnx() -> tuple[ModuleType, ModuleType]:
    """The modules onnx and tf2onnx.convert, which only exports to ONNX need.

    Raises:
        UserError: they are not installed.
    """
    problem = (
        "ONNX files need the package {name}, which is not installed: "
        "pip install -r requirements/onnx.txt"
    )
    names = ("onnx", "onnx.checker", "onnx.numpy_helper", "tf2onnx", "tf2onnx.convert")
    onnx, *_, convert = (require(name, problem) for name in names)
    return onnx, convert


def _canonicalise(graph: Any, fixed: set[str]) -> None:
    """Orders and names an ONNX graph's nodes and values by its structure alone.

    The converter's order and names differ from run to run, and the same instance shall always have
    the same bytes.

    Args:
        graph: a GraphProto; each node behind those that it reads when done.
        fixed: names of values that stay.
    """
    producers = {name: node for node in graph.node for name in node.output}
    nodes: list[Any] = []
    seen: set[str] = set()
    pending = [(entry.name, False) for entry in reversed(graph.output)]
    while pending:  # depth first; no recursion, which Python would end early
        name, are_inputs_done = pending.pop()
        node = producers.get(name)
        if are_inputs_done:
            nodes.append(node)
        elif node is not None and node.output[0] not in seen:
            seen.add(node.output[0])
            pending.append((name, True))
            pending.extend((value, False) for value in reversed(node.input))
    names: dict[str, str] = {name: name for name in (*fixed, "")}  # "": an input left out
    for index, node in enumerate(nodes):
        node.name = f"node{index}"
        for values in (node.input, node.output):
            values[:] = [names.setdefault(name, f"value{len(names)}") for name in values]
    for constant in graph.initializer:
        constant.name = names[constant.name]
    constants = sorted(graph.initializer, key=lambda constant: constant.name)
    for field, entries in ((graph.node, nodes), (graph.initializer, constants)):
        del field[:]
        field.extend(entries)


class _Given(VariableFactory):
    """Hands out tensors in place of new variables."""

    def __init__(self, values: Mapping[str, tf.Tensor]) -> None:
        super().__init__(seed=None)
        self.impl = "reference"
        self._values = values

    def constant(self, name: str, values: np.ndarray, trainable: bool = True) -> tf.Tensor:
        """The tensor of this name; the initial values do not count."""
        return self._values[name]


def _images(
    network: _Instance,
    values: Mapping[str, tf.Tensor],
    latents: tf.Tensor,
    labels: tf.Tensor | None = None,
) -> tf.Tensor:
    """What the network makes, with tensors in place of its variables."""
    given = _Given(values)
    synthesis = Synthesis(given, network.config)
    if isinstance(network, PlainGenerator):
        return synthesis(latents, None, labels=labels)
    styles = make_mapping(given, network.config)(latents, labels)[:, None, :]  # [N,1,D]
    return synthesis(None, tf.tile(styles, [1, synthesis.num_slots, 1]))


def _build(data: NetworkData) -> _Instance:
    network = build_network(data, "the instance")
    if not isinstance(network, _Instance):
        raise ValueError(f"a {data.class_name} is no instance")
    return network


def _num_given(network: _Instance) -> int:
    """Number of the inputs before the noise maps."""
    return 2 if num_classes(network) else 1


def _inputs(network: _Instance) -> list[tf.TensorSpec]:
    """Latents, labels where there are classes, then the noise maps."""
    given = {"latents": network.latent_size, "labels": num_classes(network)}
    return [
        *(
            tf.TensorSpec([None, width], tf.float32, name=name)
            for name, width in given.items()
            if width
        ),
        *(
            tf.TensorSpec([None, h, w, 1], tf.float32, name=f"noise{index}")
            for index, (h, w) in enumerate(network.noise_shapes)
        ),
    ]


def _outputs(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"images": images, "pixels": to_uint8(images)}


def _is_noise(name: str) -> bool:
    return name.startswith("G_synthesis/noise")


def _constants(data: NetworkData) -> dict[str, np.ndarray]:
    """The initialisers of the ONNX graph: variables under their names, noise maps [1,h,w,1]."""
    return {
        name.removeprefix("G_synthesis/") if _is_noise(name) else name: (
            value.transpose(0, 2, 3, 1) if _is_noise(name) else value
        )
        for name, value in data.variables.items()
    }


def _check_same(data: NetworkData, network: _Instance) -> None:
    """ValueError unless `data` is an instance of the same generator."""
    shapes = {name: tuple(v.shape) for name, v in network.named_variables().items()}
    theirs = {name: v.shape for name, v in data.variables.items()}
    if network.Config(**data.kwargs) != network.config or theirs != shapes:
        raise ValueError("an instance of another generator than the first one")
