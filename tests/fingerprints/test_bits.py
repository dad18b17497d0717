"""Fingerprint text: both spellings, the round trip, and what is refused."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.bits import format_hex, parse_fingerprint


@pytest.mark.parametrize(
    ("text", "num_bits", "bits"),
    [
        ("10110", 5, [1, 0, 1, 1, 0]),
        ("b0", 5, [1, 0, 1, 1, 0]),
        ("0xB0", 5, [1, 0, 1, 1, 0]),
        ("8", 1, [1]),
        ("1", 1, [1]),  # exactly B characters 0/1 are bits, although 1 is a hex digit as well
        ("1010", 4, [1, 0, 1, 0]),
        ("a", 4, [1, 0, 1, 0]),
        ("10", 8, [0, 0, 0, 1, 0, 0, 0, 0]),  # too short for bits: two hex digits
        ("0x01", 8, [0, 0, 0, 0, 0, 0, 0, 1]),
    ],
)
def test_text_gives_bits_in_order(text, num_bits, bits):
    parsed = parse_fingerprint(text, num_bits)
    assert parsed.dtype == np.uint8
    assert parsed.tolist() == bits


@pytest.mark.parametrize("num_bits", [1, 2, 3, 4, 5, 8, 20, 31, 32, 128, 1001])
def test_round_trips(num_bits):
    bits = np.random.RandomState(num_bits).randint(0, 2, num_bits)
    text = format_hex(bits)
    assert len(text) == -(-num_bits // 4)
    assert parse_fingerprint(text, num_bits).tolist() == bits.tolist()
    assert parse_fingerprint("0x" + text.upper(), num_bits).tolist() == bits.tolist()
    assert parse_fingerprint("".join(map(str, bits)), num_bits).tolist() == bits.tolist()


def test_hex_equals_python_integer():
    """Independent of the digit loop: bit 0 is the most significant bit of the whole number."""
    text = "0x0123456789abcdef"
    assert parse_fingerprint(text, 64).tolist() == [int(b) for b in f"{int(text, 16):064b}"]


@pytest.mark.parametrize(
    ("text", "num_bits", "complaint"),
    [
        ("0101", 32, "expected 32 characters 0/1 or 8 hex digits, got 4 hex digits"),
        ("0" * 33, 32, "got 33 hex digits"),
        ("0" * 31 + "2", 32, "got 32 hex digits"),
        ("xyz12345", 32, "got 8 characters"),
        ("", 4, "got 0 characters"),
        ("0x", 4, "got 2 characters"),
        ("-b", 8, "got 2 characters"),
        (" b0", 8, "got 3 characters"),
        ("b0\n", 8, "got 3 characters"),
        ("1_0", 9, "got 3 characters"),
        ("0x0xb", 12, "got 5 characters"),
        ("\u0661\u0662", 8, "got 2 characters"),  # Arabic digits, which int() accepts
        ("b8", 4, "got 2 hex digits"),
        ("b1", 5, "the last 3 of its 2 hex digits' bits must be 0"),
        ("f", 3, "must be 0"),
    ],
)
def test_anything_else_is_refused(text, num_bits, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        parse_fingerprint(text, num_bits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bits", [[0, 2], [[0, 1]], [0.5, 1]])
def test_format_hex_takes_one_row_of_bits(bits):
    with pytest.raises(ValueError, match="one row of 0 and 1"):
        format_hex(np.array(bits))
