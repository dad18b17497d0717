"""The way back: networks as the published TensorFlow 1 code pickles them, and as plain NumPy.

The published layout is that of `legacy`: a tuple (E, G, D, Gs) of states of its class `Network`,
which need not be here, written so that NumPy 1 and Python 3.4 read it. Its loader runs the text in
`build_module_src` to find the function that builds a network; ours imports it from the published
code, which must be installed where the file is used.
"""

import json
import os
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from training.models import legacy
from training.models.legacy import NetworkData
from training.networks.configs import GeneratorConfig

_PROTOCOL = 3  # without the frames of protocol 4, as published files are
_VERSION = 4
_SOURCE = "from training.networks_stylegan2 import *  # of the published code\n"
_SETTINGS = "networks.json"  # the entry of an .npz file that holds classes and keywords
# Keywords of generators that the published code has no word for, and what it always does.
_UNKNOWN_THERE = {"mapping_act": "lrelu", "center_bits": False}


class _State:
    """Stands for the published class `Network` while a file is written; it only has a state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def __getstate__(self) -> dict[str, Any]:
        return self._state


class _Pickler(pickle._Pickler):
    """Writes names as they are called where the file is read, not as they are called here."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, name = obj.__module__, name or obj.__qualname__
        if obj is _State:
            module, name = "dnnlib.tflib.network", "Network"
        module = module.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii"))  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,
        type: save_global,
        type(np.array): save_global,
        type(np.ndarray.dot): save_global,
    }


def save_published(
    path: str | os.PathLike[str], networks: Mapping[str, NetworkData], where: str
) -> None:
    """Writes a snapshot that the published code reads.

    Args:
        path: the file to write, completely or not at all.
        networks: all four, as `read_snapshot` gives them.
        where: the file that they come from, for error texts.

    Raises:
        UserError: a network is missing, is an instance, or does what the published code cannot; the
            file cannot be written.
    """
    missing = [slot for slot in legacy.TUPLE_ORDER if slot not in networks]
    if missing:
        raise UserError(
            f"{where} lacks {', '.join(missing)}: the published layout holds all of "
            f"{', '.join(legacy.TUPLE_ORDER)}; name a snapshot of the training"
        )
    states = tuple(_state(slot, networks[slot], where) for slot in legacy.TUPLE_ORDER)
    with open_atomic(path) as file:
        _Pickler(file, protocol=_PROTOCOL).dump(states)


def _state(slot: str, data: NetworkData, where: str) -> _State:
    functions = {name: function for function, (name, _) in legacy._FUNCTIONS.items()}
    kwargs = dict(data.kwargs)
    for keyword, value in _UNKNOWN_THERE.items():
        if kwargs.pop(keyword, value) != value:
            raise UserError(
                f"{where}: {slot} has {keyword}={data.kwargs[keyword]}, as --mapping=linear makes "
                "it, and the published code knows no such mapping; use --layout=npz"
            )
    back = {ours: published for published, ours in legacy._RENAMED.items()}
    static = {back.get(name, name): value for name, value in kwargs.items()} | {"label_size": 0}
    function = functions[data.class_name]
    if data.class_name != "Generator":
        return _network(slot, static, function, data.variables)
    config = GeneratorConfig(**data.kwargs)
    slots = 2 * (config.resolution.bit_length() - 1) - 2
    parts = {
        key: {
            name.removeprefix(f"G_{key}/"): value
            for name, value in data.variables.items()
            if name.startswith(f"G_{key}/")
        }
        for key in legacy._COMPONENTS
    }
    of_mapping = static | {"dlatent_broadcast": slots}
    components = {
        key: _network(
            f"G_{key}", of_mapping if key == "mapping" else static, function_of_part, parts[key]
        )
        for key, function_of_part in legacy._COMPONENTS.items()
    }
    unused = {
        "lod": np.float32(0),
        "dlatent_avg": np.zeros(config.dlatent_size, np.float32),
    }
    return _network(slot, static, function, unused, components)


def _network(
    name: str,
    static: dict[str, Any],
    function: str,
    variables: Mapping[str, Any],
    components: dict[str, _State] | None = None,
) -> _State:
    return _State({
        "version": _VERSION,
        "name": name,
        "static_kwargs": static,
        "components": components or {},
        "build_module_src": _SOURCE,
        "build_func_name": function,
        "variables": [(key, np.array(value, np.float32)) for key, value in variables.items()],
    })  # fmt: skip


def save_npz(path: str | os.PathLike[str], networks: Mapping[str, NetworkData]) -> None:
    """Writes networks as a plain .npz file: `<slot>/<variable>`, and their settings as JSON.

    Raises:
        UserError: it cannot be written.
    """
    settings = {
        slot: {"class": data.class_name, "kwargs": data.kwargs} for slot, data in networks.items()
    }
    arrays = {
        f"{slot}/{name}": np.asarray(value, np.float32)
        for slot, data in networks.items()
        for name, value in data.variables.items()
    }
    text = np.frombuffer(json.dumps(settings, sort_keys=True).encode(), np.uint8)
    with open_atomic(path) as file:
        np.savez(file, **{_SETTINGS: text, **arrays})  # type: ignore[arg-type]


def read_npz(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    """Reads what `save_npz` wrote, in the form that a snapshot has under `networks`.

    Nothing in the file is executed, and nothing is checked yet.

    Raises:
        UserError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            settings = parse_json(bytes(file[_SETTINGS].astype(np.uint8)))
            arrays = {name: file[name] for name in file.files if name != _SETTINGS}
        return {
            slot: {
                **entry,
                "variables": {
                    name.removeprefix(f"{slot}/"): value
                    for name, value in arrays.items()
                    if name.startswith(f"{slot}/")
                },
            }
            for slot, entry in settings.items()
        }
    # zipfile, zlib and NumPy raise many kinds for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{where} is no .npz file of networks ({reason}); make it with run_generator.py export"
        ) from error
