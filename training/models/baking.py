"""Instances: one fingerprint baked into the weights of a generator, as a file of its own.

With the fingerprint fixed, every style is a constant, so that modulation and demodulation
(StyleGAN2, arXiv 1912.04958, equations 1 to 3) are factors of the weights: what is left is a
`PlainGenerator`, without a mapping network and without an input for fingerprints. What a style adds
to a layer (`training.networks.offsets`) is constant as well: a part of its bias, or one map.
"""

import hashlib
import os
from dataclasses import dataclass, fields

import numpy as np
import tensorflow as tf

from dnnlib.atomic import open_atomic
from training.models.legacy import NetworkData
from training.models.snapshot import save_networks
from training.networks.configs import PlainGeneratorConfig
from training.networks.generator import Generator
from training.networks.layers import Dense, ModulatedConv
from training.networks.offsets import StyleBias, StyleMaps

_CLASS = "PlainGenerator"
_SLOT = "Gs"  # the slot from which pictures are made


@dataclass(frozen=True)
class _Layer:
    """A modulated layer, prepared so that a style costs little."""

    affine: np.ndarray  # float64 [D,I], scaled
    offset: np.ndarray  # float64 [I]: bias of the affine layer, and the 1 of s = affine(style) + 1
    power: np.ndarray | None  # float64 [I,O]: sum over k,k of w^2; None: not demodulated

    def factors(self, style: np.ndarray) -> np.ndarray:
        """Style [D] -> factors of the weights [k,k,I,O], float64 [I,O] or [I,1]."""
        s = style @ self.affine + self.offset
        if self.power is None:
            return s[:, None]
        # Equation 3: 1/sqrt(sum over k,k,I of (w*s)^2 + eps).
        return s[:, None] / np.sqrt(np.square(s) @ self.power + 1e-8)


class Baker:
    """Bakes fingerprints into the weights of one generator, one at a time.

    Args:
        generator: the parent; its values are taken now, later changes do not count.
    """

    def __init__(self, generator: Generator) -> None:
        known = {field.name for field in fields(PlainGeneratorConfig)}
        if not generator.config.map_min_log2:
            known -= {"map_min_log2", "map_max_log2"}  # as instances were before there were maps
        if not generator.label_size:
            known -= {"label_size", "label_fmaps"}  # nor classes
        self._kwargs = {name: v for name, v in generator.kwargs.items() if name in known}
        self._generator = generator
        variables = generator.named_variables()
        names = {id(variable): name for name, variable in variables.items()}
        self._modulated: list[tuple[str, int, _Layer]] = []  # name of the weight, slot
        self._biases: list[tuple[str, int, np.ndarray]] = []  # name of the bias, slot, [D,O]
        self._maps: list[tuple[str, int, StyleMaps]] = []  # name of the map, slot
        dropped = set()
        for slot, conv in generator.synthesis.style_layers():
            weight = names[id(conv.weight)]
            if conv.affine is not None:
                self._modulated.append((weight, slot, _prepare(conv, conv.affine)))
                dropped |= {names[id(v)] for v in (conv.affine.weight, conv.affine.bias)}
            for offset in conv.offsets:
                if isinstance(offset, StyleBias):
                    scaled = offset.weight.numpy().astype(np.float64) * offset.scale
                    self._biases.append((names[id(conv.bias)], slot, scaled))
                    dropped.add(names[id(offset.weight)])
                elif isinstance(offset, StyleMaps):
                    scope = weight.removesuffix("/weight")
                    self._maps.append((f"{scope}/map", slot, offset))
                    dropped |= {names[id(v)] for v in (offset.weight, offset.mix)}
        dropped |= {name for name in variables if name.startswith("G_mapping/")}
        self._values = {
            name: np.array(variable.numpy(), np.float32)
            for name, variable in variables.items()
            if name not in dropped
        }

    def bake(self, bits: np.ndarray) -> NetworkData:
        """The plain generator that carries one fingerprint.

        Args:
            bits: [B] of 0 and 1.

        Returns:
            A `PlainGenerator`, as `snapshot.build_network` takes it. What does not depend on the
            fingerprint shares its memory with all others; the same bits give the same values.

        Raises:
            ValueError: not one fingerprint of the generator's size.
        """
        bits = np.asarray(bits)
        if bits.shape != (self._generator.fingerprint_size,) or not np.isin(bits, (0, 1)).all():
            raise ValueError(
                f"expected {self._generator.fingerprint_size} bits of 0 and 1, got an array of "
                f"shape {bits.shape}"
            )
        # Not on a GPU, whose matrix products may be shortened to TF32.
        with tf.device("/CPU:0"), self._generator.running_with("reference"):
            mapped = self._generator.map_fingerprints(tf.constant(bits[None], tf.float32))
        styles = mapped.numpy()[0].astype(np.float64)  # [L,D]
        values = dict(self._values)
        for name, slot, layer in self._modulated:
            baked = values[name] * layer.factors(styles[slot])  # float64 [k,k,I,O]
            values[name] = baked.astype(np.float32)
        for name, slot, weight in self._biases:
            values[name] = (values[name] + styles[slot] @ weight).astype(np.float32)
        with tf.device("/CPU:0"):
            for name, slot, maps in self._maps:
                values[name] = maps(mapped[:, slot]).numpy()  # [1,H,W,O]
        return NetworkData(_CLASS, dict(self._kwargs), values)


def _prepare(conv: ModulatedConv, affine: Dense) -> _Layer:
    """Reads the values of a modulated layer."""
    power = None
    if conv.demodulate:
        # With the scale of the equalised learning rate, which is applied at run time.
        scaled = conv.weight.numpy().astype(np.float64) * conv.scale
        power = np.square(scaled).sum(axis=(0, 1))
    weight = affine.weight.numpy().astype(np.float64) * affine.scale
    offset = affine.bias.numpy().astype(np.float64) * affine.lrmul + 1
    return _Layer(weight, offset, power)


def write_instance(path: str | os.PathLike[str], data: NetworkData) -> str:
    """Writes an instance as a snapshot file with one network and nothing else, atomically.

    Args:
        path: file name, by custom `*.pkl`.
        data: from `bake` of a `Baker` or `AdoptedBaker`; the same data gives the same bytes. One
            with an `original_file` is that file.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        UserError: it cannot be written.
    """
    if data.original_file is None:
        save_networks(path, {_SLOT: data})
    else:
        with open_atomic(path) as file:
            file.write(data.original_file.data)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
