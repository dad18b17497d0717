"""Our networks -> snapshots that the published TensorFlow 1 code and NumPy 1 read.

The counterpart of `legacy`, whose tables say which build function and which keywords stand for
which class and field. The published loader runs the text `build_module_src` of every network to
get that function. We ship none of the published source: our text is one import from the module in
which the published code keeps its networks, so the file needs a checkout of that code beside it.
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from dnnlib import pickle_writer
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.pickle_values import Inert
from training.models.legacy import (
    COMPONENTS,
    FUNCTIONS,
    OPTIONAL,
    PLAIN_COMPONENTS,
    PLAIN_FUNCTIONS,
    PLAIN_TUPLE,
    RENAMED,
    TUPLE_ORDER,
    NetworkData,
)
from training.networks.layers import resolution_log2
from training.networks.table import NETWORKS

VERSION = 4  # of the published layout
CLASS = "dnnlib.tflib.network.Network"
MODULE = "training.networks_stylegan2"  # where the published code keeps its networks
# Data for the published loader; nothing of ours ever runs it.
SOURCE = "# The function is that of the published code, which has to be importable.\n"
_FUNCTIONS = {
    class_name: (function, keywords)
    for table in (PLAIN_FUNCTIONS, FUNCTIONS)
    for function, (class_name, keywords) in reversed(table.items())
}
# Of StyleGAN2: what no such file says, or says by the shapes of its variables.
_UNSAID = {"stored_noise", "dlatent_size"}
_PUBLISHED_NAME = {ours: published for published, ours in RENAMED.items()}
_PLAIN_CLASSES = {class_name for class_name, _ in PLAIN_FUNCTIONS.values()}


def save_published(
    path: str | os.PathLike[str], networks: Mapping[str, NetworkData], where: str
) -> None:
    """Writes the pickle (E, G, D, Gs) of the published layout, completely or not at all.

    Plain StyleGAN2 is (G, D, Gs), in the layout of StyleGAN2's code.

    Args:
        path: file name, by custom `*.pkl`.
        networks: all of these, checked, all keywords and float32 variables there
            (`snapshot.network_data`).
        where: the snapshot that they come from, for error texts.

    Raises:
        UserError: a network is missing, or the published code cannot build one like it; or the
            file cannot be written.
    """
    if any(data.class_name == "AdoptedGenerator" for data in networks.values()):
        raise UserError(
            f"{where} holds an adopted generator, which the published code cannot build; `issue` "
            "writes instances of it in the layout that it came in, or take --layout=npz"
        )
    is_plain = any(data.class_name in _PLAIN_CLASSES for data in networks.values())
    order = PLAIN_TUPLE if is_plain else TUPLE_ORDER
    missing = [slot for slot in order if slot not in networks]
    if missing:
        raise UserError(
            f"{where} lacks {' and '.join(missing)}: a published snapshot is "
            f"{', '.join(order[:-1])} and Gs; name a snapshot of a training, or take --layout=npz"
        )
    states = tuple(_state(slot, networks[slot], f"{where}: {slot}") for slot in order)
    with open_atomic(path) as file:
        pickle_writer.dump(states, file)


def is_folded(networks: Mapping[str, NetworkData]) -> bool:
    """Whether `save_published` moves centred bits into weights, see `_without_centring`."""
    return any(data.kwargs.get("center_bits") for data in networks.values())


def _state(slot: str, data: NetworkData, where: str) -> Inert:
    """A network as the published code pickled it."""
    if data.class_name not in _FUNCTIONS:
        raise UserError(
            f"{where} is an instance, which the published code cannot build; name the snapshot "
            "that it was made from, or take --layout=npz"
        )
    data = _without_centring(data)
    function, _ = _FUNCTIONS[data.class_name]
    keywords = _keywords(data, where)
    if data.class_name == "Generator":
        return _network(slot, function, keywords, _unused(data), _components(data, keywords))
    if data.class_name == "StyleGAN2Generator":
        own = {"lod": 0.0, "dlatent_avg": data.variables["dlatent_avg"]}
        return _network(slot, function, keywords, own, _components(data, keywords))
    return _network(slot, function, keywords, data.variables)


def _components(data: NetworkData, keywords: dict[str, Any]) -> dict[str, Inert]:
    """Mapping and synthesis, which are networks of their own, with all keywords of the generator.

    The mapping is told the number of style slots, as the published generator does.
    """
    functions = COMPONENTS
    if data.class_name in _PLAIN_CLASSES:
        functions = {key: names[0] for key, names in PLAIN_COMPONENTS.items()}
    slots = 2 * resolution_log2(data.kwargs["resolution"]) - 2
    result = {}
    for key in ("synthesis", "mapping"):
        prefix = f"G_{key}/"
        own = {
            name.removeprefix(prefix): value
            for name, value in data.variables.items()
            if name.startswith(prefix)
        }
        more = {"dlatent_broadcast": slots} if key == "mapping" else {}
        result[key] = _network(f"G_{key}", functions[key], keywords | more, own)
    return result


def _network(
    name: str,
    function: str,
    keywords: dict[str, Any],
    variables: Mapping[str, Any],
    components: dict[str, Inert] | None = None,
) -> Inert:
    return Inert(
        CLASS,
        {
            "version": VERSION,
            "name": name,
            "static_kwargs": dict(keywords),
            "components": components or {},
            "build_module_src": f"{SOURCE}from {MODULE} import {function}\n",
            "build_func_name": function,
            # Scalars were NumPy scalars.
            "variables": [(name, np.asarray(v, np.float32)[()]) for name, v in variables.items()],
        },
    )


def _keywords(data: NetworkData, where: str) -> dict[str, Any]:
    """Keywords under their published names; UserError for one that has none."""
    _, published = _FUNCTIONS[data.class_name]
    is_plain = data.class_name in _PLAIN_CLASSES
    defaults = {field.name: field.default for field in fields(NETWORKS[data.class_name].Config)}
    keywords: dict[str, Any] = {"label_size": 0}
    for name, value in data.kwargs.items():
        # What StyleGAN2's code does not know as long as it means nothing.
        unknown = name == "conv_clamp" and not value
        unknown |= name == "label_fmaps" and not data.kwargs["label_size"]
        if is_plain and (unknown or name in _UNSAID - set(published)):
            continue
        if name in published or (name in OPTIONAL and value != defaults[name]):
            keywords[_PUBLISHED_NAME.get(name, name)] = value
        elif value != defaults[name]:
            raise UserError(
                f"{where} has {name}={value}, which the published code does not know; take "
                "--layout=npz"
            )
    return keywords


def _without_centring(data: NetworkData) -> NetworkData:
    """The same function of bits as 0/1, where the network takes them as -1/+1.

    (2b - 1) w s + c l = b (2w) s + (c - sum(w) s / l) l, with the scale s and the learning rate
    multiplier l of the first layer. Doubling is exact; the bias is rounded once.
    """
    if not data.kwargs.get("center_bits"):
        return data
    ours = ("center_bits", "mapping_orthogonal")  # the latter is about training alone
    kwargs = {name: value for name, value in data.kwargs.items() if name not in ours}
    weight = data.variables["G_mapping/Dense0/weight"].astype(np.float64)  # [B,D]
    bias = data.variables["G_mapping/Dense0/bias"].astype(np.float64)  # [D]
    folded = {
        "G_mapping/Dense0/weight": (2 * weight).astype(np.float32),
        # s / l = 1 / sqrt(B): the multiplier is part of both.
        "G_mapping/Dense0/bias": (bias - weight.sum(axis=0) / np.sqrt(len(weight))).astype(
            np.float32
        ),
    }
    return NetworkData(data.class_name, kwargs, data.variables | folded, data.unused)


def _unused(data: NetworkData) -> dict[str, Any]:
    """`lod` and `dlatent_avg`, which the method does not use: those of the file, or 0."""
    lod, average = data.unused.get("lod"), data.unused.get("dlatent_avg")
    shape = (data.kwargs["dlatent_size"],)
    fits = isinstance(average, np.ndarray) and average.shape == shape and average.dtype.kind == "f"
    return {
        "lod": lod if isinstance(lod, float) else 0.0,
        "dlatent_avg": average if fits else np.zeros(shape),
    }
