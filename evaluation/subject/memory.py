"""Fingerprints in memory, for studies of verdicts that need no registry."""

from collections.abc import Iterator

import numpy as np

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.entries import Counts, Fingerprint, Licensee, Model

_TIME = "2000-01-01T00:00:00Z"


class MemoryStore:
    """One model and its fingerprints; a `FingerprintStore`.

    Args:
        bits: fingerprints, [N,B] of 0 and 1; the i-th is that of licensee `str(i)`.
        decoder_hash: of the decoder whose answers are judged.
        calibration: of that decoder.
    """

    def __init__(
        self, bits: np.ndarray, decoder_hash: str, calibration: Calibration | None = None
    ) -> None:
        self._bits = np.asarray(bits, np.uint8)
        self._calibration = calibration
        self.model = Model(1, "0" * 64, decoder_hash, bits.shape[1], "studied", _TIME)
        self.id = "memory"
        self.is_encrypted = True  # no index in the cache folder

    def state(self, model: Model) -> str:
        """Always the same."""
        return self.id

    def counts(self, model: Model) -> Counts:
        """As many of everything as there are fingerprints."""
        number = len(self._bits)
        return Counts(number, number, 0, number, 0)

    def packed(self, model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All fingerprints at once."""
        yield np.arange(len(self._bits), dtype=np.int64), pack_bits(self._bits)

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        """The one with this number."""
        model, bits = self.model, self._bits[fingerprint_id]
        name = str(fingerprint_id)
        return Fingerprint(fingerprint_id, model.id, model.model_hash, name, 0, _TIME, bits)

    def fingerprints(self, model: Model, licensee_id: str) -> list[Fingerprint]:
        """The one of a licensee."""
        return [self.fingerprint(int(licensee_id))]

    def licensee(self, licensee_id: str) -> Licensee:
        """The licensee with this number."""
        if not 0 <= int(licensee_id) < len(self._bits):
            raise UserError(f"there is no licensee {licensee_id}")
        return Licensee(licensee_id, licensee_id, _TIME)

    def load_calibration(self, model: Model) -> bytes | None:
        """What the study calibrated with."""
        return None if self._calibration is None else self._calibration.to_bytes()
