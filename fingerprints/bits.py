"""Fingerprints as text and as packed words: the one way in which all write and read bits."""

import re

import numpy as np

from dnnlib.errors import UserError


def parse_fingerprint(text: str, num_bits: int) -> np.ndarray:
    """Reads a fingerprint of `num_bits` bits.

    Args:
        text: either exactly `num_bits` characters 0 or 1, the bits in order, or exactly
            ceil(num_bits / 4) hexadecimal digits, with or without `0x`: bit 0 is the most
            significant bit of the first digit, and the bits that fill up the last digit are 0.
        num_bits: number of bits B, as the network has them.

    Returns:
        uint8 [B] of 0 and 1.

    Raises:
        UserError: any other text; the line says what was expected.
    """
    if len(text) == num_bits and not text.strip("01"):
        return np.array([int(character) for character in text], dtype=np.uint8)

    num_digits = -(-num_bits // 4)
    digits = text.removeprefix("0x")
    # A pattern, because int() would also take underscores, blanks and non-Latin digits.
    is_hex = re.fullmatch("[0-9a-fA-F]+", digits) is not None
    if not is_hex or len(digits) != num_digits:
        got = f"{len(digits)} hex digits" if is_hex else f"{len(text)} characters"
        raise UserError(
            f"fingerprint {_shorten(text)!r} does not fit {num_bits} bits: expected {num_bits} "
            f"characters 0/1 or {num_digits} hex digits, got {got}"
        )
    bits = np.array([int(d, 16) >> shift & 1 for d in digits for shift in (3, 2, 1, 0)])
    if bits[num_bits:].any():
        raise UserError(
            f"fingerprint {_shorten(text)!r} has more than {num_bits} bits: the last "
            f"{len(bits) - num_bits} of its {num_digits} hex digits' bits must be 0"
        )
    return bits[:num_bits].astype(np.uint8)


def format_hex(bits: np.ndarray) -> str:
    """Writes bits [B] of 0 and 1 as ceil(B / 4) lower-case hex digits; bit 0 comes first.

    `parse_fingerprint(format_hex(bits), len(bits))` gives the bits back.

    Raises:
        ValueError: `bits` is not one row of 0 and 1.
    """
    bits = np.asarray(bits)
    if bits.ndim != 1 or not np.isin(bits, (0, 1)).all():
        raise ValueError(f"expected one row of 0 and 1, got an array of shape {bits.shape}")
    padded = np.pad(bits.astype(np.uint8), (0, -len(bits) % 4))
    return "".join(f"{digit:x}" for digit in padded.reshape(-1, 4) @ (8, 4, 2, 1))


def decide_bits(logits: np.ndarray) -> np.ndarray:
    """Logits, any shape -> uint8 bits of the same shape: 1 where the logit is above 0."""
    return (np.asarray(logits) > 0).astype(np.uint8)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Packs bits [N,B] of 0 and 1 into uint64 words [N,ceil(B/64)], which XOR and count quickly.

    Bit 0 is the most significant bit of the first byte; the bits that fill up the last word are 0.
    """
    num_words = -(-bits.shape[1] // 64)
    words = np.zeros([len(bits), num_words * 8], dtype=np.uint8)
    packed = np.packbits(bits, axis=1)
    words[:, : packed.shape[1]] = packed
    return words.view("<u8")


def unpack_bits(words: np.ndarray, num_bits: int) -> np.ndarray:
    """Words [N,ceil(B/64)] of `pack_bits` -> uint8 bits [N,B]."""
    octets = np.ascontiguousarray(words, dtype="<u8").view(np.uint8)
    return np.unpackbits(octets, axis=1, count=num_bits)


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
