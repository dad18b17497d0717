"""A store of fingerprints in memory, as somebody without the registry's database writes one."""

import hashlib
from collections.abc import Iterator

import numpy as np

from fingerprints.bits import pack_bits
from fingerprints.entries import Counts, Fingerprint, Licensee, Model

NUM_BITS = 64
MODEL = Model(1, "a" * 64, "b" * 64, NUM_BITS, "model", "2026-01-01T00:00:00Z")
FIRST_ID = 100


class MemoryStore:
    """Satisfies `fingerprints.detection.store.FingerprintStore`.

    Args:
        bits: uint8 [N,B], the fingerprints of licensee-0, licensee-1 and so on.
        calibration: what `Calibration.to_bytes` gave.
        is_encrypted: whether the fingerprints must stay in memory.
        block: how many fingerprints `packed` yields at a time.
    """

    id = "memory"

    def __init__(
        self,
        bits: np.ndarray,
        calibration: bytes | None = None,
        *,
        is_encrypted: bool = False,
        block: int = 1000,
    ) -> None:
        self.bits = bits
        self.calibration = calibration
        self.is_encrypted = is_encrypted
        self.block = block

    def state(self, model: Model) -> str:
        return hashlib.sha256(self.bits.tobytes()).hexdigest()

    def counts(self, model: Model) -> Counts:
        num = len(self.bits)
        return Counts(num, num, 0, num, 0)

    def packed(self, model: Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.bits), self.block):
            part = self.bits[start : start + self.block]
            yield np.arange(len(part)) + FIRST_ID + start, pack_bits(part)

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        row = fingerprint_id - FIRST_ID
        name = f"licensee-{row}"
        return Fingerprint(fingerprint_id, MODEL.id, MODEL.model_hash, name, 16, "", self.bits[row])

    def fingerprints(self, model: Model, licensee_id: str) -> list[Fingerprint]:
        row = int(licensee_id.removeprefix("licensee-"))
        return [self.fingerprint(FIRST_ID + row)] if row < len(self.bits) else []

    def licensee(self, licensee_id: str) -> Licensee:
        return Licensee(licensee_id, licensee_id.upper(), "")

    def load_calibration(self, model: Model) -> bytes | None:
        return self.calibration
