"""Payload mode: errors corrected, uniform bits, p-values that hold, what is refused."""

import sys

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.bits import format_hex, parse_fingerprint
from fingerprints.detection import codec
from fingerprints.detection.codec import PayloadCode
from fingerprints.detection.tails import match_pvalue

KEY = bytes(range(32))
MODEL = "ab" * 32
# Number of bits, payload bits and correctable errors.
SIZES = [
    (31, 4, 3), (32, 4, 3), (64, 16, 5), (100, 16, 5), (128, 30, 13), (256, 71, 25),
    pytest.param(512, 65, 63, marks=pytest.mark.slow),
]  # fmt: skip
# What carries the number 11. Instances live for years: nothing may ever change these.
WORDS = {
    31: "3bede5ee",
    64: "305405fa23b9403d",
    128: "3054ba767548a83fd2619bc5bb3dac0a",
    256: "3054ba7487f0885da6b63947e18179e838e8dd9b57403a26da173965f55c2505",
    512: "3054ba7487f0885dfa16b1e017e37e594444099f49db56808f65d37ee5fcb3c6"
    "92f6781f8d45afffe18bda19339623e28a2398e567e8968d603e87dd8550e6a5",
}


@pytest.fixture(autouse=True, scope="module")
def small_fields_uncompiled():
    """Compiling takes seconds for each; few words are decoded here."""
    for parameters in codec._CODES[:4]:
        codec._make_code(parameters).extension_field.compile("python-calculate")
    yield
    codec._make_code.cache_clear()


def logits_of(bits: np.ndarray) -> np.ndarray:
    return bits * 6.0 - 3.0


@pytest.mark.parametrize(("num_bits", "payload_bits", "num_errors"), SIZES)
def test_every_correctable_number_of_errors(num_bits, payload_bits, num_errors):
    rnd = np.random.default_rng(num_bits)
    code = PayloadCode(num_bits, KEY, MODEL)
    assert (code.payload_bits, code.num_correctable) == (payload_bits, num_errors)
    length = {31: 31, 32: 31, 64: 63, 100: 63, 128: 127, 256: 255, 512: 511}[num_bits]
    for wrong in {0, 1, num_errors}:
        payload = int.from_bytes(rnd.bytes(16), "big") >> 128 - payload_bits
        bits = code.encode(payload)
        assert bits.shape == (num_bits,)
        bits[rnd.choice(length, wrong, replace=False)] ^= 1
        found = code.decode(logits_of(bits))
        assert (found.payload, found.num_corrected) == (payload, wrong)
        assert found.matches == num_bits - wrong
        assert found.pvalue == match_pvalue(num_bits - wrong, num_bits, 2**payload_bits)


@pytest.mark.parametrize(("num_bits", "word"), WORDS.items())
def test_words_stay_what_they_are(num_bits, word):
    assert format_hex(PayloadCode(num_bits, KEY, MODEL).encode(11)) == word


def test_decided_bits_are_read_as_well():
    found = PayloadCode(64, KEY, MODEL).decode(parse_fingerprint(WORDS[64], 64), "bits")
    assert (found.payload, found.matches) == (11, 64)
    assert found.pvalue == match_pvalue(64, 64, 2**16)


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


@pytest.mark.parametrize("position", [0, 8, 12])
def test_words_with_a_wrong_checksum_carry_nothing(position):
    """A word of the code whose checksum, payload or version has one bit changed."""
    code = PayloadCode(31, KEY, MODEL)
    message = codec.VERSION << 12 | 5 << 8 | code._checksum(codec.VERSION << 4 | 5)

    def word_of(number: int) -> np.ndarray:
        bits = np.array([int(digit) for digit in f"{number:016b}"], np.uint8)
        return np.asarray(code._code.encode(bits), np.uint8) ^ code._mask

    assert code.decode(word_of(message)).payload == 5
    found = code.decode(word_of(message ^ 1 << position))
    assert (found.payload, found.pvalue) == (None, 1.0)


def test_another_version_with_a_right_checksum_carries_nothing(monkeypatch):
    code = PayloadCode(64, KEY, MODEL)
    monkeypatch.setattr(codec, "VERSION", 2)
    bits = code.encode(9)
    assert code.decode(logits_of(bits)).payload == 9
    monkeypatch.undo()
    assert code.decode(logits_of(bits)).payload is None


def test_bits_are_uniform_over_keys():
    """Each bit, each pair of neighbours and the sum of one payload's word; 5 deviations."""
    num_keys = 2000
    words = np.stack([
        PayloadCode(64, number.to_bytes(32, "big"), MODEL).encode(3) for number in range(num_keys)
    ]).astype(float)  # fmt: skip
    signs = 2 * words - 1
    limit = 5 / num_keys**0.5
    assert np.abs(signs.mean(axis=0)).max() < limit
    assert np.abs((signs[:, 1:] * signs[:, :-1]).mean(axis=0)).max() < limit
    assert np.var(words.sum(axis=1)) == pytest.approx(16, rel=5 * (2 / num_keys) ** 0.5)


def test_pvalues_hold_for_foreign_bits():
    """How often random bits are as near to some payload's word, against the p-value.

    Up to 3 errors the balls around the words do not overlap: there it is exact.
    """
    code = PayloadCode(31, KEY, MODEL)
    words = [int("".join(map(str, code.encode(payload))), 2) for payload in range(16)]
    foreign = np.random.default_rng(0).integers(0, 2**31, 4_000_000, dtype=np.uint32)
    most = np.zeros(len(foreign), np.uint8)
    for word in words:
        np.maximum(most, 31 - np.bitwise_count(foreign ^ np.uint32(word)), out=most)
    for matches in range(20, 32):
        expected = match_pvalue(matches, 31, 16) * len(foreign)
        found = np.count_nonzero(most >= matches)
        assert found < expected + 5 * expected**0.5 + 3
        if matches == 28:
            assert found == pytest.approx(expected, abs=5 * expected**0.5)
    # What the code makes of the nearest of them is that word, and the p-value that of its matches.
    for number in foreign[most >= 28][:20]:
        found_word = code.decode(np.array([int(digit) for digit in f"{number:031b}"]), "bits")
        assert found_word.payload is not None
        assert found_word.matches == most[foreign == number].max()
        assert found_word.pvalue == match_pvalue(found_word.matches, 31, 16)


def test_wrong_bits_that_are_unclear_count_little():
    code = PayloadCode(128, KEY, MODEL)
    bits = code.encode(77)
    logits = logits_of(bits)
    logits[:13] *= -0.01
    soft, hard = code.decode(logits), code.decode(logits, "bits")
    assert (soft.payload, soft.matches, hard.payload, hard.matches) == (77, 115, 77, 115)
    assert hard.pvalue == match_pvalue(115, 128, 2**30)
    assert 2.0**30 * 2**-128 < soft.pvalue < hard.pvalue / 1e9


def test_the_view_in_which_a_payload_is_found_is_named():
    code = PayloadCode(64, KEY, MODEL)
    other = np.random.default_rng(0).standard_normal(64)
    one, clear = logits_of(code.encode(5)), logits_of(code.encode(5))
    one[:3] *= -1
    found = code.decode(np.stack([other, one, clear]))
    assert (found.payload, found.view, found.matches) == (5, 2, 64)
    assert found.pvalue == 3 * match_pvalue(64, 64, 2**16)
    assert code.decode(other).payload is None
    assert code.decode(np.stack([clear, one])).view == 0


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
    with pytest.raises(ValueError, match=r"expected logits \[K,64\]"):
        PayloadCode(64, KEY, MODEL).decode(np.zeros(63))


def test_key_of_another_length():
    with pytest.raises(ValueError, match="expected a key of 32 bytes, got 31"):
        PayloadCode(64, KEY[1:], MODEL)


def test_missing_package(monkeypatch):
    codec._make_code.cache_clear()
    monkeypatch.setitem(sys.modules, "galois", None)
    with pytest.raises(UserError, match="pip install -r requirements/payload.txt"):
        PayloadCode(64, KEY, MODEL)
