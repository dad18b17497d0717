"""The packed index against brute force: distances, candidates, files, FAISS."""

import sys

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection import search
from fingerprints.detection.search import PackedIndex, write_index

SIZES = [(1, 1), (5, 8), (300, 32), (70_000, 64), (1000, 100), (1000, 128), (500, 256), (500, 300)]


def make(num: int, num_bits: int, seed: int = 0) -> tuple[np.ndarray, PackedIndex]:
    """Random fingerprints [N,B] and their index; ids are not row numbers."""
    bits = np.random.default_rng(seed).integers(0, 2, (num, num_bits), dtype=np.uint8)
    return bits, PackedIndex.from_arrays(np.arange(num) * 3 + 7, pack_bits(bits), num_bits)


@pytest.mark.parametrize(("num", "num_bits"), SIZES)
def test_distances_and_best_matches(num, num_bits):
    bits, index = make(num, num_bits)
    queries = np.random.default_rng(1).integers(0, 2, (3, num_bits), dtype=np.uint8)
    queries[0] = bits[num // 2]
    queries[1] = 1 - bits[0]
    for query in queries:
        expected = np.sum(bits != query, axis=1)
        np.testing.assert_array_equal(index.distances(pack_bits(query[None])[0]), expected)
    best = [np.max(np.sum(bits == query, axis=1)) for query in queries]
    np.testing.assert_array_equal(index.max_matches(queries), best)


@pytest.mark.parametrize("faiss", [False, True])
@pytest.mark.parametrize(("num", "num_bits"), SIZES)
def test_search_is_the_maximum_likelihood(num, num_bits, faiss):
    """Among all fingerprints, where the logits are those of a noisy image of one of them."""
    bits, index = make(num, num_bits)
    index = index.with_faiss() if faiss else index
    rnd = np.random.default_rng(2)
    for row in rnd.integers(0, num, 5):
        logits = (bits[row] * 2.0 - 1) * 2 + rnd.standard_normal(num_bits)
        scores = (bits * 2.0 - 1) @ logits
        found = index.search(logits, 3)
        assert len(found) == min(3, num)
        best = found[0]
        assert best.score == pytest.approx(scores.max())
        assert best.score == pytest.approx(scores[best.row])
        assert best.id == best.row * 3 + 7
        assert best.matches == np.sum(bits[best.row] == (logits > 0))
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)


def test_likelihood_decides_among_equally_near(monkeypatch):
    """Two fingerprints two bits away: the one that differs where the decoder was less sure."""
    bits = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]], np.uint8)
    index = PackedIndex.from_arrays(np.array([1, 2]), pack_bits(bits), 6)
    logits = np.array([5.0, 5.0, 5.0, 5.0, 0.1, 0.1])  # decided: all ones
    assert [c.id for c in index.search(logits)] == [1, 2]
    assert [c.id for c in index.search(logits[::-1])] == [2, 1]
    # Equal scores: more matches (a logit of 0 counts as bit 0), then who was registered first.
    assert [c.id for c in index.search(np.ones(6))] == [1, 2]
    bits = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], np.uint8)
    index = PackedIndex.from_arrays(np.array([1, 2]), pack_bits(bits), 6)
    found = index.search(np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]))
    assert [(c.id, c.matches, c.score) for c in found] == [(2, 6, 4.0), (1, 4, 4.0)]


def test_as_many_as_there_are():
    _, index = make(5, 16)
    assert len(index.search(np.ones(16), 100)) == 5
    empty = PackedIndex.from_arrays(np.zeros(0, np.int64), np.zeros([0, 1], np.uint64), 16)
    assert empty.search(np.ones(16)) == []
    with pytest.raises(ValueError, match="no matches"):
        empty.max_matches(np.ones([1, 16], np.uint8))


@pytest.mark.parametrize("num_bits", [1, 10, 63, 65, 255, 256, 512])
def test_candidates_are_all_that_are_as_near_as_the_last(monkeypatch, num_bits):
    """Whatever the sizes of blocks and of pieces."""
    monkeypatch.setattr(search, "_BLOCK", 64)
    monkeypatch.setattr(search, "_PIECE", 100)
    bits, index = make(997, num_bits)
    query = np.random.default_rng(5).integers(0, 2, num_bits, dtype=np.uint8)
    distances = np.sum(bits != query, axis=1)
    for k in (1, 5, 256, 997):
        expected = np.flatnonzero(distances <= np.sort(distances)[k - 1])
        found = index.nearest(pack_bits(query[None])[0], k)
        np.testing.assert_array_equal(found, expected)
    best = [np.max(np.sum(bits == row, axis=1)) for row in (query, 1 - query)]
    np.testing.assert_array_equal(index.max_matches(np.stack([query, 1 - query])), best)


def test_file_round_trip(tmp_path):
    bits, index = make(1000, 100)
    words = pack_bits(bits)
    path = tmp_path / "a.idx"
    write_index(path, [(index.ids[:300], words[:300]), (index.ids[300:], words[300:])], 100)
    read = PackedIndex.open(path)
    assert (read.num_bits, len(read)) == (100, 1000)
    np.testing.assert_array_equal(read.ids, index.ids)
    np.testing.assert_array_equal(read.words, words)
    assert path.stat().st_mode & 0o777 == 0o600
    logits = np.random.default_rng(3).standard_normal(100)
    assert read.search(logits, 5) == index.search(logits, 5)
    write_index(path, [], 100)
    assert len(PackedIndex.open(path)) == 0


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: data[:-8], "is damaged; delete it"),
        (lambda data: data + b"\0", "is damaged; delete it"),
        (lambda data: b"", "is no index of fingerprints"),
        (lambda data: b"x" * 100, "is no index of fingerprints"),
        (lambda data: data[:8] + b"\x09" + data[9:], "is an index of another version"),
        (lambda data: data[:10] + b"\0\0" + data[12:], "is an index of another version"),
        (lambda data: data[:12] + b"\0\0\0\0" + data[16:], "is damaged; delete it"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 4]), "is damaged; delete it"),
        (lambda data: data[:24] + bytes([data[24] ^ 1]) + data[25:], "is damaged; delete it"),
    ],
)
def test_damaged_files(tmp_path, damage, complaint):
    bits, index = make(10, 64)
    path = tmp_path / "a.idx"
    write_index(path, [(index.ids, pack_bits(bits))], 64)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=complaint):
        PackedIndex.open(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot read .*none.idx: No such file"):
        PackedIndex.open(tmp_path / "none.idx")


def test_missing_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match="pip install -r requirements/faiss.txt"):
        make(5, 8)[1].with_faiss()


@pytest.mark.parametrize("shape", [(15,), (1, 16)])
def test_wrong_shapes(shape):
    _, index = make(5, 16)
    with pytest.raises(ValueError, match="expected logits"):
        index.search(np.zeros(shape))


def test_recall_with_a_fifth_of_the_bits_wrong(monkeypatch):
    """26 of 128 wrong among 50,000: always found."""
    monkeypatch.setattr(search, "_BLOCK", 1000)
    bits, index = make(50_000, 128)
    rnd = np.random.default_rng(4)
    for row in rnd.integers(0, 50_000, 50):
        read = bits[row].copy()
        read[rnd.choice(128, 26, replace=False)] ^= 1
        assert index.search(read * 2.0 - 1)[0].row == row
