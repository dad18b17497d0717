"""Instances of an adopted generator: the file that it came in, with other biases.

With the fingerprint fixed, F(c) is a constant that adds to the biases of a layer's style, and if so
configured to those of the layer. All else in the file stays, byte by byte. A generator that came
in a layout of this project gives a snapshot with nothing but the generator. Instances that are
spread (`training.models.spread`) have other weights as well, which compute the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from training.models.baking import Baker
from training.models.legacy import NetworkData
from training.models.rewriting import ForeignFile, read_foreign
from training.models.snapshot import build_network, network_data
from training.models.spread import names_of, spread, units_of
from training.networks.adopted import AdoptedGenerator
from training.networks.stylegan2 import StyleGAN2Generator
from training.networks.table import Fingerprinted

_CLASS = "StyleGAN2Generator"
_ADDED = "G_fingerprint/"


class AdoptedBaker:
    """Bakes fingerprints into one adopted generator, one at a time.

    Args:
        generator: the parent; its values are taken now, later changes do not count.
        where: its file, for error texts.
        spread_seed: None: nothing but biases changes. Else every instance's weights are spread,
            each in its own way, which follows from this seed and the instance's bits.

    Raises:
        UserError: the file that it came in is not that of this generator.
    """

    def __init__(
        self, generator: AdoptedGenerator, where: str, *, spread_seed: bytes | None = None
    ) -> None:
        self._size = generator.fingerprint_size
        self._kwargs = original_kwargs(generator)
        variables = network_data(generator).variables
        self._values = {k: v for k, v in variables.items() if not k.startswith(_ADDED)}
        # By the name of the bias, float64 [B,I] or [B,O].
        self._weights: dict[str, np.ndarray] = {}
        for kind, shifts in (
            ("mod_bias", generator.style_shifts),
            ("bias", generator.bias_shifts),
        ):
            for scope, shift in shifts.items():
                weight = shift.weight.numpy().astype(np.float64) * shift.scale
                self._weights[f"{scope}/{kind}"] = weight
        self._spread_seed = spread_seed
        self._units = [] if spread_seed is None else units_of(self._kwargs)
        self._names = list(dict.fromkeys([*self._weights, *names_of(self._units)]))
        self._file: ForeignFile | None = None
        if generator.original_file is not None:
            self._file = self._checked(generator.original_file, where)

    def _checked(self, original: np.ndarray, where: str) -> ForeignFile:
        """The file that the generator came in, if it is."""
        file = read_foreign(original, f"{where}: original_file")
        networks = {} if file is None else file.networks
        slot = "Gs" if "Gs" in networks else "G"
        if file is None or slot not in networks:
            raise UserError(f"{where}: its original_file holds no generator; get the file again")
        original_network = build_network(networks[slot], f"{where}: original_file: {slot}")
        found = network_data(original_network).variables
        same = found.keys() == self._values.keys() and all(
            np.array_equal(found[name], value) for name, value in self._values.items()
        )
        if not same or original_network.kwargs != self._kwargs:
            raise UserError(
                f"{where}: its original_file is not the file of its generator; get the file again"
            )
        for each in file.slots:
            for name, weight in self._weights.items():
                if file.place(each, name).values.shape != weight.shape[1:]:
                    raise UserError(f"{where}: its original_file has another {name} in {each}")
            for name in self._names:
                file.place(each, name)  # which raises
        return file

    def bake(self, bits: np.ndarray) -> NetworkData:
        """The plain StyleGAN2 that carries one fingerprint.

        Args:
            bits: [B] of 0 and 1.

        Returns:
            A `StyleGAN2Generator`, as `snapshot.build_network` takes it. Its `original_file`, if
            there is one, is the instance's file. The same bits give the same values and bytes.

        Raises:
            ValueError: not one fingerprint of the generator's size.
        """
        bits = np.asarray(bits)
        if bits.shape != (self._size,) or not np.isin(bits, (0, 1)).all():
            raise ValueError(
                f"expected {self._size} bits of 0 and 1, got an array of shape {bits.shape}"
            )
        signs = 2 * bits.astype(np.float64) - 1
        added = {name: signs @ weight for name, weight in self._weights.items()}

        def change(old: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            new = dict(old) | {name: old[name] + addition for name, addition in added.items()}
            if self._spread_seed is not None:
                new |= spread(new, self._units, self._spread_seed + bits.astype(np.uint8).tobytes())
            return new

        old = {name: self._values[name].astype(np.float64) for name in self._names}
        new = {name: value.astype(np.float32) for name, value in change(old).items()}
        file = None if self._file is None else self._file.rewritten(self._names, change)
        return NetworkData(_CLASS, dict(self._kwargs), self._values | new, original_file=file)


def original_kwargs(generator: AdoptedGenerator) -> dict[str, Any]:
    """Arguments of the `StyleGAN2Generator` that was adopted."""
    known = StyleGAN2Generator.Config.__dataclass_fields__
    return {name: value for name, value in generator.kwargs.items() if name in known}


def make_baker(
    generator: Fingerprinted, where: str, *, spread_seed: bytes | None = None
) -> Baker | AdoptedBaker:
    """What bakes fingerprints into a generator.

    Args:
        generator: the parent.
        where: its file, for error texts.
        spread_seed: as in `AdoptedBaker`.

    Raises:
        UserError: as `AdoptedBaker`, or a seed where the generator was not adopted.
    """
    if isinstance(generator, AdoptedGenerator):
        return AdoptedBaker(generator, where, spread_seed=spread_seed)
    if spread_seed is not None:
        raise UserError(f"{where}: --spread is for adopted generators; leave it out")
    return Baker(generator)
