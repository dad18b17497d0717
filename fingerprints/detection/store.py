"""What a detector needs of the place where fingerprints are kept; any such store will do."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fingerprints.entries import Fingerprint, Licensee, Model


class FingerprintStore(Protocol):
    """The part of `registry.facade.Registry` that judging images takes: reading alone."""

    @property
    def id(self) -> str:
        """Tells stores apart; part of the name of the search index in the cache folder."""

    @property
    def is_encrypted(self) -> bool:
        """Whether fingerprints must not be kept in a cache folder."""

    def state(self) -> str:
        """A text that is another one whenever the store holds anything else than before.

        Also after it was restored from a backup and went on otherwise: the search index in the
        cache folder is trusted only as long as this is the same.
        """

    def packed(self, model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids int64 [n], ascending, and words uint64 [n,ceil(B/64)] of all fingerprints."""

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        """The fingerprint with this id."""

    def fingerprints(self, model: Model, licensee_id: str) -> list[Fingerprint]:
        """Those of one licensee, the oldest first."""

    def licensee(self, licensee_id: str) -> Licensee:
        """The licensee with this id."""

    def load_calibration(self, model: Model) -> bytes | None:
        """What `Calibration.to_bytes` gave, or None."""
