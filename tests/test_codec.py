"""Payload mode: errors corrected, uniform bits, p-values that hold, what is refused."""

import sys

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.codec import PayloadCode
from fingerprints.detection import match_pvalue

KEY = bytes(range(32))
MODEL = "ab" * 32
# Number of bits, payload bits and correctable errors.
SIZES = [(31, 4, 3), (32, 4, 3), (64, 16, 5), (100, 16, 5), (128, 30, 13), (256, 71, 25)]


def logits_of(bits: np.ndarray) -> np.ndarray:
    return bits * 6.0 - 3.0


@pytest.mark.parametrize(("num_bits", "payload_bits", "num_errors"), SIZES)
def test_every_correctable_number_of_errors(num_bits, payload_bits, num_errors):
    rnd = np.random.default_rng(num_bits)
    code = PayloadCode(num_bits, KEY, MODEL)
    assert (code.payload_bits, code.num_correctable) == (payload_bits, num_errors)
    length = {31: 31, 32: 31, 64: 63, 100: 63, 128: 127, 256: 255}[num_bits]
    for wrong in {0, 1, num_errors}:
        payload = int(rnd.integers(2 ** min(payload_bits, 62)))
        bits = code.encode(payload)
        assert bits.shape == (num_bits,)
        bits[rnd.choice(length, wrong, replace=False)] ^= 1
        found = code.decode(logits_of(bits))
        assert (found.payload, found.num_corrected) == (payload, wrong)
        assert found.matches == num_bits - wrong
        assert found.pvalue == match_pvalue(num_bits - wrong, num_bits, 2**payload_bits)


def test_bits_beyond_the_code_count_as_evidence():
    code = PayloadCode(100, KEY, MODEL)
    bits = code.encode(5)
    bits[63:] ^= 1  # all that the code leaves over
    found = code.decode(logits_of(bits))
    assert (found.payload, found.matches, found.num_corrected) == (5, 63, 0)
    assert found.pvalue > 0.5


def test_too_many_errors_give_no_payload_that_counts():
    rnd = np.random.default_rng(0)
    code = PayloadCode(128, KEY, MODEL)
    for _ in range(10):
        bits = code.encode(77)
        bits[rnd.choice(127, 40, replace=False)] ^= 1
        found = code.decode(logits_of(bits))
        assert found.payload is None
        assert found.pvalue == 1.0


def test_masked_bits_are_uniform_over_keys():
    """Each bit of one payload's fingerprint, over random keys; 5 standard deviations."""
    num_keys = 60
    total = np.zeros(64)
    for number in range(num_keys):
        total += PayloadCode(64, number.to_bytes(32, "big"), MODEL).encode(3)
    assert np.abs(total / num_keys - 0.5).max() < 5 * 0.5 / num_keys**0.5


@pytest.mark.parametrize(("key", "model"), [(bytes(32), MODEL), (KEY, "cd" * 32)])
def test_another_key_or_model_reads_nothing(key, model):
    words = [PayloadCode(128, KEY, MODEL).encode(payload) for payload in range(5)]
    other = PayloadCode(128, key, model)
    assert [other.decode(logits_of(bits)).payload for bits in words] == [None] * 5


def test_words_of_payloads_are_far_apart():
    """So foreign bits are near one of them at most, and the number of payloads times the tail is
    not only a bound for the p-value but its value."""
    code = PayloadCode(31, KEY, MODEL)
    words = np.stack([code.encode(payload) for payload in range(2**code.payload_bits)])
    distances = np.sum(words[:, None] != words, axis=2)
    assert distances[~np.eye(len(words), dtype=bool)].min() >= 2 * code.num_correctable + 1


@pytest.mark.parametrize("payload", [-1, 2**16])
def test_payloads_that_do_not_fit(payload):
    with pytest.raises(
        UserError, match=f"payload {payload}: 64 bits carry numbers from 0 to 65535"
    ):
        PayloadCode(64, KEY, MODEL).encode(payload)


def test_too_few_bits():
    with pytest.raises(UserError, match="payload mode needs at least 31 bits, not 16"):
        PayloadCode(16, KEY, MODEL)


def test_wrong_number_of_logits():
    with pytest.raises(ValueError, match=r"expected logits \[64\]"):
        PayloadCode(64, KEY, MODEL).decode(np.zeros(63))


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "galois", None)
    with pytest.raises(UserError, match="pip install -r requirements/payload.txt"):
        PayloadCode(64, KEY, MODEL)
