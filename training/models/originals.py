"""Instances of adopted generators: the file that came in, with some of its bytes overwritten.

What a fingerprint adds to the styles of a StyleGAN2 generator, and to the biases of its layers, is
the same as other values of `mod_bias` and `bias`. So an instance is the file that the generator
came in, of the same length, in which those values are others and every other byte is what it was:
the tools that read the one read the other. A snapshot of this project is written anew instead,
since it holds checksums of its arrays.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import safe_pickle, torch_pickle
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from training.models import legacy, torch_layout
from training.models.legacy import NetworkData
from training.models.snapshot import own_networks, save_networks
from training.networks.adopted import AdoptedGenerator

# Both generators of a file get the fingerprint: the average, and the one behind it.
_SLOTS = ("Gs", "G")
_TOLERANCE = 1e-5  # of float32 values of which 1 was taken off and added again


@dataclass(frozen=True)
class _Place:
    """An array of the file whose values follow from a fingerprint."""

    name: str  # of our variable
    start: int  # byte at which it begins
    values: np.ndarray  # [I] or [O], as they are in the file


class OriginalBaker:
    """Puts fingerprints into the file that an adopted generator came in, and writes that.

    Attributes:
        ending: of an instance's name.

    Args:
        generator: the adopted one; its values are taken now.
        original: the file, uint8 [N], from `snapshot.read_original`.
        where: names it in error texts.

    Raises:
        UserError: the file is not the one that the generator came in, or keeps its values in a form
            that cannot be overwritten.
    """

    ending = ".pkl"

    def __init__(self, generator: AdoptedGenerator, original: np.ndarray, where: str) -> None:
        self._generator = generator
        self._original = original
        content = safe_pickle.load(
            io.BytesIO(original.data), {**legacy.ALLOW, **torch_pickle.names()}, where
        )
        self._own: dict[str, NetworkData] | None = None
        self._position: Any = {}
        self._places: list[_Place] = []
        ours = {name: v.numpy() for name, v in generator.named_originals().items()}
        names = [name for name, _ in _added(generator, np.zeros(generator.fingerprint_size))]
        if isinstance(content, dict) and "networks" in content:
            self._own = own_networks(content["networks"], where)
            self._position = content.get("position")
            found = self._own["Gs" if "Gs" in self._own else "G"].variables
            is_same = all(np.array_equal(found[name], ours[name]) for name in names)
        else:
            is_torch = torch_layout.is_torch(content)
            self._places = list(_places(content, set(names), where))
            one = np.float32(1 if is_torch else 0)
            firsts = {place.name: place.values for place in reversed(self._places)}
            is_same = set(firsts) == set(names) and all(
                np.allclose(
                    firsts[name] - (one if name.endswith("/mod_bias") else 0),
                    ours[name],
                    atol=_TOLERANCE,
                )
                for name in names
            )
        if not is_same:
            raise UserError(
                f"{where}: the file in it is not the one that its generator came in; adopt it again"
            )

    def bake(self, bits: np.ndarray) -> dict[str, np.ndarray]:
        """What a fingerprint adds: our variable's name -> float32 values.

        Args:
            bits: [B] of 0 and 1.

        Raises:
            ValueError: not one fingerprint of the generator's size.
        """
        bits = np.asarray(bits)
        if bits.shape != (self._generator.fingerprint_size,) or not np.isin(bits, (0, 1)).all():
            raise ValueError(
                f"expected {self._generator.fingerprint_size} bits of 0 and 1, got an array of "
                f"shape {bits.shape}"
            )
        return dict(_added(self._generator, bits))

    def write(self, added: Mapping[str, np.ndarray], path: Path) -> None:
        """Writes an instance, completely or not at all; the same bits give the same bytes.

        Args:
            added: of `bake`.
            path: file name; what is there is replaced.

        Raises:
            UserError: it cannot be written.
        """
        if self._own is not None:
            networks = {
                slot: _plus(data, added) if slot in _SLOTS else data
                for slot, data in self._own.items()
            }
            save_networks(path, networks, self._position)
            return
        content = self._original.copy()
        for place in self._places:
            sums = place.values.astype(np.float64) + added[place.name]
            new = np.frombuffer(sums.astype(place.values.dtype).tobytes(), np.uint8)
            content[place.start : place.start + len(new)] = new
        with open_atomic(path) as file:
            file.write(content.data)


def _added(generator: AdoptedGenerator, bits: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Our variable's name, and what a fingerprint [B] adds to it."""
    with tf.device("/CPU:0"):  # not on a GPU, whose matrix products may be shortened to TF32
        shifts = generator.shifts(tf.constant(bits[None], tf.float32))
    for scope, shift in shifts.items():
        assert shift.style is not None
        yield f"{scope}/mod_bias", shift.style.numpy()[0]
        if shift.bias is not None:
            yield f"{scope}/bias", shift.bias.numpy()[0]


def _plus(data: NetworkData, added: Mapping[str, np.ndarray]) -> NetworkData:
    """A network with other biases."""
    new = {
        name: (data.variables[name].astype(np.float64) + values).astype(np.float32)
        for name, values in added.items()
    }
    return replace(data, variables={**data.variables, **new})


def _places(content: Any, names: set[str], where: str) -> Iterator[_Place]:
    """Where the arrays of these names lie in a file of TensorFlow's or PyTorch's layout."""
    if torch_layout.is_torch(content):
        generators = torch_layout.raw_generators(content, where)
    else:
        networks = legacy.convert(content, where)
        generators = {slot: data.variables for slot, data in networks.items()}
    for slot in _SLOTS:
        for name, values in generators.get(slot, {}).items():
            if name not in names:
                continue
            start = safe_pickle.position_in_file(values)
            if start is None or values.ndim != 1 or not values.flags.c_contiguous:
                raise UserError(
                    f"{where}: the file that it came in does not hold {name} as it is in memory, "
                    "so that nothing can be overwritten; save it anew with pickle protocol 4"
                )
            yield _Place(name, start, values)
