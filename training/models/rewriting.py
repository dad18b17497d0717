"""Other values in a StyleGAN2 file of TensorFlow or PyTorch, without a byte more or less.

Such files hold every array as it is, in one piece, so that new values take the place of the old
ones. All else stays: keywords, source texts, the discriminator, the file's length.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dnnlib import safe_pickle, torch_pickle
from dnnlib.errors import UserError
from training.models import legacy, torch_layout
from training.models.legacy import NetworkData
from training.models.torch_layout import SAME, Form

Change = Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
_KINDS = ("<f4", "<f8")


class Place(NamedTuple):
    """Where an array lies."""

    position: int  # in bytes from the beginning of the file
    values: np.ndarray  # as the file has them


class ForeignFile:
    """A StyleGAN2 file whose generators' arrays can be replaced; see `read_foreign`.

    Attributes:
        networks: what the file holds, by slot: data of our networks.
    """

    def __init__(
        self,
        data: np.ndarray,
        networks: dict[str, NetworkData],
        stored: dict[str, dict[str, tuple[np.ndarray, Form]]],
        where: str,
    ) -> None:
        self.networks = networks
        self._data, self._stored, self._where = data, stored, where

    @property
    def slots(self) -> list[str]:
        """The generators of the file: of "G" and "Gs" those that it has."""
        return list(self._stored)

    def place(self, slot: str, name: str) -> Place:
        """Where the file has a variable of a generator.

        Raises:
            UserError: it has it in a form that cannot be written over.
        """
        values, _ = self._stored[slot][name]
        position = safe_pickle.position_in_file(values)
        # NumPy's view of a text that was decoded lies in no file.
        if position is None or not _is_apart(values) or values.dtype.str not in _KINDS:
            raise UserError(
                f"{self._where} holds {name} of {slot} in a form that cannot be written over (a "
                "pickle of protocol 2, or half precision); write the file anew with "
                "run_generator.py export --layout=published"
            )
        return Place(position, values)

    def rewritten(self, names: Iterable[str], change: Change) -> np.ndarray:
        """The file with other values of some variables of every generator in it.

        Args:
            names: of the variables.
            change: gives new values of them; it gets the old ones, both by name, float64, in the
                form that our networks have.

        Returns:
            uint8 [M].

        Raises:
            UserError: as `place`.
        """
        names = list(names)
        result = self._data.copy()
        for slot in self.slots:
            forms = {name: self._stored[slot][name][1] for name in names}
            places = {name: self.place(slot, name) for name in names}
            old = {n: forms[n].read(p.values.astype(np.float64)) for n, p in places.items()}
            for name, new in change(old).items():
                position, values = places[name]
                there = np.ndarray(
                    values.shape, values.dtype, result.data, position, values.strides
                )
                there[...] = forms[name].write(new)
        return result


def _is_apart(values: np.ndarray) -> bool:
    """Whether no two values share bytes, nor lie backwards."""
    end = values.itemsize
    for stride, size in sorted(zip(values.strides, values.shape, strict=True)):
        if size > 1:
            if stride < end:
                return False
            end = stride * (size - 1) + end
    return True


def read_foreign(data: np.ndarray, where: str) -> ForeignFile | None:
    """Finds the arrays in a file of TensorFlow's or PyTorch's layout; None: it is another pickle.

    Args:
        data: the file, uint8 [M].
        where: its name, for error texts.

    Raises:
        UserError: no pickle of plain data, or networks other than StyleGAN2's.
    """
    source = io.BytesIO(data.tobytes())  # a copy; the arrays are views of it
    content: Any = safe_pickle.load(source, {**legacy.ALLOW, **torch_pickle.names()}, where)
    if legacy.is_published(content):
        networks = legacy.convert(content, where)
        stored = {
            slot: {name: (value, SAME) for name, value in network.variables.items()}
            for slot, network in networks.items()
            if slot in ("G", "Gs")
        }
    elif torch_layout.is_torch(content):
        networks = torch_layout.convert(content, where)
        stored = torch_layout.generators_as_stored(content, where)
    else:
        return None
    return ForeignFile(data, networks, stored, where)
