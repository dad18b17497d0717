"""What keyword arguments of networks in files may be, before anything is built from them."""

import math
from dataclasses import fields
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from dnnlib.tflib.ops.activations import ACTIVATIONS
from training.models.legacy import NetworkData
from training.networks.configs import (
    AdoptedGeneratorConfig,
    DecoderConfig,
    DenseMapping,
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMapping,
    PlainGeneratorConfig,
    StyleGAN2GeneratorConfig,
)
from training.networks.table import NETWORKS

_MAX_RESOLUTION = 16384  # pixels
_MAX_LAYERS = 256
_MAX_WIDTH = 1 << 20


def check_kwargs(data: NetworkData, where: str) -> None:
    """Checks class and keyword arguments before anything is built from them.

    Raises:
        UserError: unknown ones, impossible values, or too few variables for such a network.
    """
    cls = NETWORKS.get(data.class_name)
    if cls is None:
        raise UserError(
            f"{where} is a {safe_pickle.printable(data.class_name)}; known networks: "
            f"{', '.join(NETWORKS)}"
        )
    known = {field.name: field for field in fields(cls.Config)}
    for name, value in data.kwargs.items():
        if name not in known:
            raise UserError(
                f"{where} has the unknown argument {safe_pickle.printable(name)}; it may come from "
                "a newer version of this project"
            )
        if not _fits(name, value, known[name].type):
            raise UserError(
                f"{where}: {name}={safe_pickle.printable(value)} is not possible; get the file "
                "again"
            )
    if "resolution" not in data.kwargs:
        raise UserError(f"{where} does not say its resolution; get the file again")
    least = _least_values(cls.Config(**data.kwargs))
    brought = sum(v.size for v in data.variables.values() if isinstance(v, np.ndarray))
    if least > brought:
        raise UserError(
            f"{where} describes a network of at least {least:,} values and brings {brought:,}; "
            "get the file again"
        )


def _fits(name: str, value: Any, kind: Any) -> bool:
    """Whether `value` has the type of the configuration's field and a sane size."""
    if name == "mapping_act":
        return isinstance(value, str) and value in ACTIVATIONS
    if kind is int:
        least = 0 if name.startswith(("modulated_", "map_", "label_size", "readout_size")) else 1
        return type(value) is int and least <= value <= _MAX_WIDTH
    if kind is float:
        return type(value) in (int, float) and 0 <= value <= _MAX_WIDTH  # NaN is not
    return type(value) is kind


def _least_values(config: Any) -> float:
    """A lower bound on the number of values of a network, within a small factor of it.

    It keeps a small file from claiming a network that fills the memory before its shapes are seen.
    """
    nf = config.nf
    if config.resolution > _MAX_RESOLUTION:
        return math.inf
    stages = range(1, int(config.resolution).bit_length() - 1)
    least: float = sum(9 * nf(stage) ** 2 for stage in stages)
    if isinstance(config, GeneratorConfig | PlainGeneratorConfig):
        least += config.latent_size * 16 * nf(1) + config.resolution**2
        if config.label_size:
            least += config.label_fmaps * (config.label_size + 16 * nf(1))
    if isinstance(config, GeneratorConfig):
        least += _least_of_mapping(config, config.fingerprint_size)
        low, high = config.modulated_min_log2, config.modulated_max_log2
        modulated = [stage for stage in stages if low <= stage + 1 <= high]
        least += sum(config.dlatent_size * nf(stage) for stage in modulated)
        low, high = config.map_min_log2, config.map_max_log2
        sizes = [4 ** (stage + 1) for stage in stages if 0 < low <= stage + 1 <= high]
        least += sum(config.dlatent_size * config.num_maps * size for size in sizes)
    if isinstance(config, StyleGAN2GeneratorConfig):
        least += config.resolution**2 + _least_of_mapping(config, config.latent_size)
        least += sum(config.dlatent_size * nf(stage) for stage in stages)
    if isinstance(config, AdoptedGeneratorConfig):
        least += sum(config.fingerprint_size * nf(stage) for stage in stages)
    if isinstance(config, LabelMapping) and config.label_size:
        least += config.label_size * config.label_fmaps
        least += _least_of_mapping(config, config.label_fmaps)
    if isinstance(config, DiscriminatorConfig):
        least += 16 * nf(1) * nf(0) + nf(0)
    if isinstance(config, DecoderConfig):
        outputs = config.latent_size + config.label_size + config.fingerprint_size
        least += 16 * nf(1) * nf(0) + nf(0) * outputs
        least += config.readout_size**2 * config.num_channels * config.fingerprint_size
    return least


def _least_of_mapping(config: DenseMapping, width: int) -> float:
    if config.mapping_layers > _MAX_LAYERS:
        return math.inf
    wide, styles = config.mapping_fmaps, config.dlatent_size
    if config.mapping_layers == 1:
        return width * styles
    hidden = (config.mapping_layers - 2) * wide**2
    return width * wide + hidden + wide * styles
