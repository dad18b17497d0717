"""Snapshots: the networks in a file, as plain data, for users.

A snapshot is a pickle of plain data only (docs/architecture.md):
{"format": "gan-fingerprints", "version": 1, "position": {...}, "networks": {slot: {"class": name,
"kwargs": {...}, "variables": {name: float32 array}}}, "checksums": {slot: {name: SHA-256}}}, slots
"E", "G", "D", "Gs". An instance, a
generator with one fingerprint in its weights, is a snapshot with a PlainGenerator as its only
network; plain StyleGAN2 has no "E". Published snapshots of the TensorFlow 1 implementation, those
of StyleGAN2 in TensorFlow's and in PyTorch's layout, and .npz archives (`arrays_file`) are read as
well. Nothing in a file is executed. The entry of an adopted generator also holds the file that it
came in (`original_file`).
"""

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dnnlib import safe_pickle, torch_pickle
from dnnlib.atomic import open_atomic
from dnnlib.download import is_url, open_url_or_path
from dnnlib.errors import UserError
from training.models import arrays_file, checksums, legacy, original_file, torch_layout
from training.models.legacy import NetworkData
from training.models.limits import check_kwargs
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.layers import Network
from training.networks.plain_generator import PlainGenerator
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from training.networks.table import NETWORKS, AnyGenerator, Fingerprinted, TrainedGenerator, build

FORMAT = "gan-fingerprints"
VERSION = 1
# Protocol 4 stores arrays as bytes that `safe_pickle` can view in place.
_PROTOCOL = 4
_SLOTS = {
    "E": ("Decoder",),
    "G": ("Generator", "StyleGAN2Generator", "AdoptedGenerator"),
    "D": ("Discriminator", "StyleGAN2Discriminator"),
    "Gs": ("Generator", "PlainGenerator", "StyleGAN2Generator", "AdoptedGenerator"),
}
_SHARED_KWARGS = ("resolution", "num_channels", "latent_size", "fingerprint_size", "label_size")


@dataclass(frozen=True)
class Networks:
    """The networks of a snapshot; None where the file has none."""

    E: Decoder | None = None
    G: TrainedGenerator | None = None
    D: Discriminator | StyleGAN2Discriminator | None = None
    Gs: AnyGenerator | None = None
    position: dict[str, Any] = field(default_factory=dict)  # where training was; "kimg" and more
    where: str = ""  # the file as the user named it

    @property
    def generator(self) -> AnyGenerator:
        """Gs, the average, or else G; a `PlainGenerator` where the file is an instance.

        Raises:
            UserError: the file holds neither.
        """
        generator = self.G if self.Gs is None else self.Gs
        if generator is None:
            raise UserError(f"{self.where} holds no generator; name a snapshot that does")
        return generator

    @property
    def fingerprinted(self) -> Fingerprinted:
        """The generator, for those who give it fingerprints.

        Raises:
            UserError: the file holds none, an instance, or plain StyleGAN2.
        """
        generator = self.generator
        if isinstance(generator, PlainGenerator):
            raise UserError(
                f"{self.where} is an instance: its one fingerprint is part of its weights; name "
                "the snapshot that it was made from"
            )
        if isinstance(generator, StyleGAN2Generator):
            raise UserError(
                f"{self.where} is plain StyleGAN2, whose pictures carry no fingerprint; name a "
                "snapshot of a fingerprinted model"
            )
        return generator

    @property
    def decoder(self) -> Decoder:
        """E.

        Raises:
            UserError: the file holds none.
        """
        if self.E is None:
            raise UserError(f"{self.where} holds no decoder; name a snapshot that does")
        return self.E


def save_snapshot(
    path: str | os.PathLike[str],
    *,
    E: Decoder | None = None,
    G: TrainedGenerator | None = None,
    D: Discriminator | StyleGAN2Discriminator | None = None,
    Gs: AnyGenerator | None = None,
    position: dict[str, Any] | None = None,
) -> None:
    """Writes networks to `path`, completely or not at all.

    Args:
        path: file name, by custom `*.pkl`.
        E, G, D, Gs: the networks that the file shall hold.
        position: where training was; nested dict and list of text, numbers, True, False, None.

    Raises:
        UserError: no space, no permission or no such folder; the file does not change.
        ValueError: `position` holds something else.
    """
    slots: dict[str, Network | None] = {"E": E, "G": G, "D": D, "Gs": Gs}
    networks = {slot: network_data(n) for slot, n in slots.items() if n is not None}
    save_networks(path, networks, position)


def save_networks(
    path: str | os.PathLike[str],
    networks: Mapping[str, NetworkData],
    position: dict[str, Any] | None = None,
) -> None:
    """`save_snapshot` for networks that are data already: no variable is made.

    Args:
        path: file name, by custom `*.pkl`.
        networks: by slot; their variables are float32 arrays.
        position: as in `save_snapshot`.

    Raises:
        UserError, ValueError: as `save_snapshot`.
    """
    content = {
        "format": FORMAT,
        "checksums": {slot: checksums.of_arrays(data.variables) for slot, data in networks.items()},
        "version": VERSION,
        "position": _plain(position or {}),
        "networks": {
            slot: {
                "class": data.class_name,
                "kwargs": _plain(data.kwargs),
                "variables": data.variables,
                **original_file.entries(data),
            }
            for slot, data in networks.items()
        },
    }
    with open_atomic(path) as file:
        pickle.dump(content, file, protocol=_PROTOCOL)


def network_data(network: Network) -> NetworkData:
    """Class, keyword arguments and values of a network: what a snapshot holds of it."""
    variables = {
        name: np.asarray(variable.numpy(), np.float32)
        for name, variable in network.named_variables().items()
    }
    original = network.original_file if isinstance(network, AdoptedGenerator) else None
    return NetworkData(_class_name(network), network.kwargs, variables, original_file=original)


def load_networks(
    path_or_url: str | os.PathLike[str], only: Literal["generator", "decoder"] | None = None
) -> Networks:
    """Reads a snapshot of this project, a published one or an .npz and builds its networks.

    Args:
        path_or_url: file, or https URL (kept in the download cache).
        only: build no more than the property of this name needs; None: all that the file holds.

    Raises:
        UserError: no such file, nothing that can be read safely, a newer format, or networks whose
            arguments or variables do not fit.
    """
    networks, position = read_snapshot(path_or_url)
    return build_networks(networks, position, os.fspath(path_or_url), only)


def build_networks(
    networks: Mapping[str, NetworkData],
    position: dict[str, Any],
    where: str,
    only: Literal["generator", "decoder"] | None = None,
) -> Networks:
    """Builds the networks of a snapshot that `read_snapshot` has read.

    Args:
        networks, position: what it returned.
        where: the file, for error texts.
        only: as in `load_networks`.

    Raises:
        UserError: arguments or variables that do not fit.
    """
    if only is not None:
        wanted = "E" if only == "decoder" else "Gs" if "Gs" in networks else "G"
        networks = {slot: data for slot, data in networks.items() if slot == wanted}
    modules: dict[str, Any] = {
        slot: build_network(data, f"{where}: {slot}") for slot, data in networks.items()
    }
    _check_agreement(modules, where)
    return Networks(**modules, position=position, where=where)


def read_snapshot(
    path_or_url: str | os.PathLike[str],
) -> tuple[dict[str, NetworkData], dict[str, Any]]:
    """Reads a snapshot without building its networks.

    Returns:
        The networks by slot ("E", "G", "D", "Gs"), and the training position, {} for published
        files. Classes fit their slots; keyword arguments and variables are not checked yet.

    Raises:
        UserError: as `load_networks`.
    """
    where = os.fspath(path_or_url)
    _check_kind(where)
    path = open_url_or_path(path_or_url)
    if is_url(where):
        where = f"{where} (kept as {path})"
    if arrays_file.is_archive(path):
        content = arrays_file.load_arrays(path, where)
    else:
        content = safe_pickle.load(path, {**legacy.ALLOW, **torch_pickle.names()}, where)
    position: Any = {}
    if legacy.is_published(content):
        networks = legacy.convert(content, where)
        checksums.say_there_are_none(where)
    elif torch_layout.is_torch(content):
        networks = torch_layout.convert(content, where)
        checksums.say_there_are_none(where)
    elif isinstance(content, dict) and _is_text(content.get("format"), FORMAT):
        _check_version(content.get("version"), where)
        position = content.get("position")
        networks = _own_networks(content.get("networks"), where)
        checksums.check(content.get("checksums"), networks, where)
    else:
        raise UserError(f"{where} is no snapshot of networks; name a network-snapshot-*.pkl file")
    if not isinstance(position, dict) or not networks:
        raise UserError(f"{where} is a snapshot without networks or position; get the file again")
    _check_slots(networks, where)
    return networks, position


def _check_slots(networks: Mapping[str, NetworkData], where: str) -> None:
    """UserError where a network is of another kind than its slot."""
    for slot, data in networks.items():
        if data.class_name not in _SLOTS[slot]:
            raise UserError(
                f"{where}: {slot} is a {safe_pickle.printable(data.class_name)}, expected a "
                f"{' or a '.join(_SLOTS[slot])}"
            )


def _check_kind(where: str) -> None:
    """Names other forms of a network, which cannot be read back.

    Raises:
        UserError: it is one of those that we write.
    """
    kind = None
    if where.lower().endswith(".onnx"):
        kind = "an ONNX model"
    elif os.path.isfile(os.path.join(where, "saved_model.pb")):
        kind = "a TensorFlow SavedModel"
    if kind is not None:
        raise UserError(
            f"{where} is {kind}, which other programs run and none turns back into a snapshot; "
            "name the .pkl of the same instance, or the snapshot that it was made from"
        )


def build_network(data: NetworkData, where: str) -> Network:
    """Builds one network and gives it the values of the file.

    Args:
        data: class, keyword arguments and variables, from a file that may be hostile.
        where: file and slot, for error texts.

    Raises:
        UserError: unknown class or keyword, impossible values, or variables that do not fit.
    """
    try:
        check_kwargs(data, where)
        network = build(data.class_name, data.kwargs)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{where} cannot be built: {error}") from error
    variables = network.named_variables()
    missing = [name for name in variables if name not in data.variables]
    extra = [name for name in data.variables if name not in variables]
    if missing:
        raise UserError(f"{where} lacks the variable {missing[0]}; get the file again")
    if extra:
        raise UserError(
            f"{where} has the variable {safe_pickle.printable(extra[0])}, which the network that "
            "it describes has not"
        )
    for name, variable in variables.items():
        value = data.variables[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise UserError(f"{where}: the variable {name} is not an array of floats")
        if value.shape != tuple(variable.shape):
            raise UserError(
                f"{where}: the variable {name} has shape {value.shape}, expected "
                f"{tuple(variable.shape)}"
            )
        variable.assign(value.astype(np.float32))
    if isinstance(network, AdoptedGenerator):
        network.original_file = data.original_file
    return network


def network_configs(path_or_url: str | os.PathLike[str], slots: Iterable[str]) -> dict[str, Any]:
    """What the networks of a snapshot were made from, without building them.

    Returns:
        By slot a configuration of `training.networks.configs`, of those that the file has.

    Raises:
        UserError: as `load_networks`.
    """
    networks, _ = read_snapshot(path_or_url)
    found = {slot: networks[slot] for slot in slots if slot in networks}
    for slot, data in found.items():
        check_kwargs(data, f"{os.fspath(path_or_url)}: {slot}")
    return {slot: NETWORKS[data.class_name].Config(**data.kwargs) for slot, data in found.items()}


def _class_name(network: Network) -> str:
    return next(name for name, cls in NETWORKS.items() if type(network) is cls)


def _plain(value: Any) -> Any:
    """`value` if it is plain data; ValueError otherwise, at the place where it is written."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("keys in a snapshot must be text")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a snapshot holds plain data only, not {type(value).__name__}")


def _check_version(version: Any, where: str) -> None:
    if not isinstance(version, int) or version < 1:
        raise UserError(f"{where} is a snapshot without a version; get the file again")
    if version > VERSION:
        raise UserError(
            f"{where} was written by a newer version of this project (format {version}, this one "
            f"reads up to {VERSION}); update the project"
        )


def _is_text(value: Any, text: str) -> bool:
    return isinstance(value, str) and value == text  # an array would compare by elements


def _own_networks(networks: Any, where: str) -> dict[str, NetworkData]:
    """The `networks` part of our own format."""
    if not isinstance(networks, dict):
        raise UserError(f"{where} is a snapshot without networks; get the file again")
    result = {}
    for slot, entry in networks.items():
        if slot not in _SLOTS:
            raise UserError(
                f"{where} holds an unknown network {safe_pickle.printable(slot)}; known: "
                f"{', '.join(_SLOTS)}"
            )
        parts = entry if isinstance(entry, dict) else {}
        name, kwargs = parts.get("class"), parts.get("kwargs")
        variables = parts.get("variables")
        if not (isinstance(name, str) and isinstance(kwargs, dict) and isinstance(variables, dict)):
            raise UserError(f"{where}: {slot} lacks class, kwargs or variables; get the file again")
        original = original_file.check(parts, f"{where}: {slot}")
        result[slot] = NetworkData(name, kwargs, variables, original_file=original)
    return result


def _check_agreement(networks: dict[str, Network], where: str) -> None:
    """Networks of one file must fit together: same images, latents and fingerprints."""
    for name in _SHARED_KWARGS:
        values = {slot: n.kwargs[name] for slot, n in networks.items() if name in n.kwargs}
        if name == "label_size" and not values.get("E"):
            values.pop("E", None)  # decoders need not recover classes
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{slot} {value}" for slot, value in values.items())
            raise UserError(f"{where}: its networks differ in {name} ({shown})")
