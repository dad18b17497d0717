"""Payload mode: a number inside the fingerprint, for those who keep no registry.

A BCH code (Bose and Ray-Chaudhuri 1960, Hocquenghem 1959) carries version, payload and checksum.
The code word is hidden by a mask from a secret key, so that the bits look uniform to whoever has no
key. Whether an image carries a payload at all is decided by a p-value, never by the code: some word
is always the nearest one.
"""

import functools
import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.optional import require
from fingerprints.bits import decide_bits
from fingerprints.detection.evidence import chance, lost_weight, weigh
from fingerprints.detection.views import Decision

VERSION = 1
_VERSION_BITS = 4
_KEY_BYTES = 32
_MISSING = "payload mode needs galois; run: pip install -r requirements/payload.txt"


@dataclass(frozen=True)
class _Parameters:
    """Of a primitive, narrow-sense BCH code."""

    length: int  # n = 2**m - 1
    message_bits: int  # k
    num_correctable: int  # t
    crc_bits: int
    polynomial: int  # primitive, of degree m, as bits; it settles which words there are


# About a tenth of the bits may be wrong. From 255 bits on a number of 64 bits fits.
_CODES = (
    _Parameters(31, 16, 3, 8, 0b100101),
    _Parameters(63, 36, 5, 16, 0b1000011),
    _Parameters(127, 50, 13, 16, 0b10001001),
    _Parameters(255, 91, 25, 16, 0b100011101),
    _Parameters(511, 85, 63, 16, 0b1000010001),
)


@dataclass(frozen=True)
class PayloadResult:
    """What an image says in payload mode."""

    payload: int | None  # None: no code word with this version and a right checksum is near
    matches: int  # decided bits that agree with the nearest code word; 0 if there is none
    num_bits: int
    pvalue: float  # P[a foreign image fits some payload's word as well]; 1 if there is none
    num_corrected: int  # wrong bits of the code word
    view: int = 0  # number of the view in which it was found


class PayloadCode:
    """The code of one model.

    Args:
        num_bits: B, at least 31; what the code leaves over is filled from the mask.
        key: secret, 32 bytes (`keys.load_secret(path, "payload")`).
        model_hash: so that the same key gives every model a mask of its own.

    Raises:
        UserError: there are too few bits, or galois is not installed.
        ValueError: the key has another length.
    """

    def __init__(self, num_bits: int, key: bytes, model_hash: str) -> None:
        if len(key) != _KEY_BYTES:  # one length: then key and hash cannot run into each other
            raise ValueError(f"expected a key of {_KEY_BYTES} bytes, got {len(key)}")
        fitting = [code for code in _CODES if code.length <= num_bits]
        if not fitting:
            raise UserError(f"payload mode needs at least {_CODES[0].length} bits, not {num_bits}")
        chosen = fitting[-1]
        self.num_bits = num_bits
        self.num_correctable = chosen.num_correctable
        self.payload_bits = chosen.message_bits - _VERSION_BITS - chosen.crc_bits
        self._length = chosen.length
        self._message_bits = chosen.message_bits
        self._crc_bits = chosen.crc_bits
        self._code = _make_code(chosen)
        stream = hashlib.shake_256(b"fingerprint mask" + key + model_hash.encode())
        octets = np.frombuffer(stream.digest(-(-num_bits // 8)), np.uint8)
        self._mask = np.unpackbits(octets, count=num_bits)

    def encode(self, payload: int) -> np.ndarray:
        """The fingerprint that carries a number: uint8 [B].

        Raises:
            UserError: the number does not fit.
        """
        if not 0 <= payload < 2**self.payload_bits:
            raise UserError(
                f"payload {payload}: {self.num_bits} bits carry numbers from 0 to "
                f"{2**self.payload_bits - 1}"
            )
        head = VERSION << self.payload_bits | payload
        message = head << self._crc_bits | self._checksum(head)
        word = np.asarray(self._code.encode(_to_bits(message, self._message_bits)), np.uint8)
        padded = np.zeros(self.num_bits, np.uint8)
        padded[: self._length] = word
        return padded ^ self._mask

    def decode(self, logits: np.ndarray, decision: Decision = "soft") -> PayloadResult:
        """Reads the logits of an image: [K,B], a row per view, or [B] with one view.

        Decided bits of 0 and 1 will do as well, with the decision `bits`.

        The p-value weighs all bits against the word of the payload that was found, as
        `evidence` says, and corrects for the number of all possible payloads and of views. Take it
        for present where that is at most the rate that you state. Which word is nearest is decided
        by the bits alone.

        Raises:
            ValueError: the number of bits differs.
        """
        rows = np.atleast_2d(np.asarray(logits, np.float64))
        if rows.ndim != 2 or rows.shape[1] != self.num_bits:
            raise ValueError(f"expected logits [K,{self.num_bits}], got {np.shape(logits)}")
        found = PayloadResult(None, 0, self.num_bits, 1.0, 0)
        for view, row in enumerate(rows):
            decided = decide_bits(row)
            near = self._nearest(decided)
            if near is None:
                continue
            payload, num_corrected = near
            word = self.encode(payload)
            weights = weigh(row, decision)[None]
            single = float(chance(weights, lost_weight(weights, word))[0])
            pvalue = min(1.0, len(rows) * 2**self.payload_bits * single)
            if found.payload is None or pvalue < found.pvalue:
                matches = int(np.sum(decided == word))
                found = PayloadResult(payload, matches, self.num_bits, pvalue, num_corrected, view)
        return found

    def _nearest(self, bits: np.ndarray) -> tuple[int, int] | None:
        """The payload whose word is near enough, and the number of bits in which it differs."""
        received = (bits ^ self._mask)[: self._length]
        message, num_errors = self._code.decode(self._code.field(received), errors=True)
        if num_errors < 0:
            return None
        number = int("".join(map(str, np.asarray(message))), 2)
        head, checksum = number >> self._crc_bits, number & (2**self._crc_bits - 1)
        if head >> self.payload_bits != VERSION or checksum != self._checksum(head):
            return None
        return head & (2**self.payload_bits - 1), int(num_errors)

    def _checksum(self, head: int) -> int:
        return zlib.crc32(head.to_bytes(16, "big")) & (2**self._crc_bits - 1)


@functools.cache
def _make_code(chosen: _Parameters) -> Any:
    """The code; the first word that is decoded takes seconds, since galois compiles for it."""
    galois = require("galois", _MISSING)
    # What makes the code needs few operations: compiling them first would take far longer.
    field = galois.GF(
        chosen.length + 1, irreducible_poly=chosen.polynomial, compile="python-calculate"
    )
    code = galois.BCH(chosen.length, chosen.message_bits, alpha=2, c=1, extension_field=field)
    field.compile("auto")
    return code


def _to_bits(number: int, num_bits: int) -> np.ndarray:
    """The most significant bit first, uint8."""
    return np.array([number >> shift & 1 for shift in reversed(range(num_bits))], np.uint8)
