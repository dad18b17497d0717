"""What a detector needs of the place where fingerprints are kept; any such store will do."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fingerprints.entries import Counts, Fingerprint, Licensee, Model


class FingerprintStore(Protocol):
    """The part of `registry.facade.Registry` that judging images takes: reading alone."""

    @property
    def id(self) -> str:
        """Tells stores apart; part of the name of the search index in the cache folder."""

    @property
    def is_encrypted(self) -> bool:
        """Whether fingerprints must not be kept in a cache folder."""

    def state(self, model: Model) -> str:
        """A text that no other fingerprints of a model, in this store or another, ever have.

        A search index in the cache folder is used as long as it stays the same. The number of
        fingerprints is not enough: a store that went back to a backup reaches it once more.
        """

    def counts(self, model: Model) -> Counts:
        """How much is registered of a model."""

    def packed(self, model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids int64 [n], ascending, and words uint64 [n,ceil(B/64)] of all fingerprints."""

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        """The fingerprint with this id."""

    def fingerprints(self, model: Model, licensee_id: str) -> list[Fingerprint]:
        """Those of one licensee, the oldest first."""

    def licensee(self, licensee_id: str) -> Licensee:
        """The licensee with this id."""

    def load_calibration(self, model: Model) -> bytes | None:
        """What `Calibration.to_bytes` gave for the model's decoder in use, or None."""
