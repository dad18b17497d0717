"""Other values in a StyleGAN2 file of TensorFlow or PyTorch, without a byte more or less.

Such files hold every array as it is, in one piece, so that new values take the place of the old
ones. All else stays: keywords, source texts, the discriminator, the file's length.
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dnnlib import safe_pickle, torch_pickle
from dnnlib.errors import UserError
from training.models import legacy, torch_layout
from training.models.legacy import NetworkData

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
        stored: dict[str, dict[str, np.ndarray]],
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
        values = self._stored[slot][name]
        position = safe_pickle.position_in_file(values)
        # NumPy's view of a text that was decoded lies in no file.
        if position is None or not values.flags.c_contiguous or values.dtype.str not in _KINDS:
            raise UserError(
                f"{self._where} holds {name} of {slot} in a form that cannot be written over (a "
                "pickle of protocol 2, or half precision); write the file anew with "
                "run_generator.py export --layout=published"
            )
        return Place(position, values)

    def rewritten(self, additions: Mapping[str, np.ndarray]) -> np.ndarray:
        """The file with numbers added to variables of every generator in it.

        Args:
            additions: by variable, in its shape in the file.

        Returns:
            uint8 [M].

        Raises:
            UserError: as `place`.
        """
        result = self._data.copy()
        for slot in self.slots:
            for name, addition in additions.items():
                position, values = self.place(slot, name)
                assert addition.shape == values.shape, name
                changed = np.asarray(values.astype(np.float64) + addition, values.dtype)
                flat = np.frombuffer(changed.tobytes(), np.uint8)
                result[position : position + len(flat)] = flat
        return result


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
        stored = {s: network.variables for s, network in networks.items() if s in ("G", "Gs")}
    elif torch_layout.is_torch(content):
        networks = torch_layout.convert(content, where)
        stored = torch_layout.generators_as_stored(content, where)
    else:
        return None
    return ForeignFile(data, networks, stored, where)
