"""The packed index against brute force: what is nearest, candidates, files."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection import nearest, search
from fingerprints.detection.evidence import lost_weight, weigh
from fingerprints.detection.nearest import nearest_by_bound, nearest_by_product
from fingerprints.detection.search import PackedIndex, write_index

SIZES = [(1, 1), (5, 8), (300, 32), (20_000, 64), (1000, 100), (1000, 128), (500, 256), (500, 300)]


def make(num: int, num_bits: int, seed: int = 0) -> tuple[np.ndarray, PackedIndex]:
    """Random fingerprints [N,B] and their index; ids are not row numbers."""
    bits = np.random.default_rng(seed).integers(0, 2, (num, num_bits), dtype=np.uint8)
    return bits, PackedIndex.from_arrays(np.arange(num) * 3 + 7, pack_bits(bits), num_bits)


def logits_of_all_kinds(bits: np.ndarray, seed: int = 2) -> np.ndarray:
    """Of foreign images, images of some fingerprints, and images that say little [M,B]."""
    rng = np.random.default_rng(seed)
    num_bits = bits.shape[1]
    own = 2.0 * bits[rng.integers(0, len(bits), 4)] - 1
    return np.concatenate([
        rng.standard_normal((4, num_bits)),
        rng.standard_cauchy((3, num_bits)),
        2 * own + rng.standard_normal(own.shape),
        0.3 * own + rng.standard_normal(own.shape),
        own,
        rng.integers(-1, 2, (3, num_bits)),  # many ties
        np.where(rng.random((3, num_bits)) < 0.05, 99, 1) * rng.standard_normal((3, num_bits)),
        np.zeros((1, num_bits)),
        np.ones((1, num_bits)),
    ])  # fmt: skip


def brute_force(weights: np.ndarray, bits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    lost = np.array([lost_weight(row, bits) for row in weights])
    rows = np.argsort(lost, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(lost, rows, axis=1)


@pytest.mark.parametrize("decision", ["soft", "bits"])
@pytest.mark.parametrize(("num", "num_bits"), SIZES)
def test_search_is_exact(num, num_bits, decision, monkeypatch):
    """Both ways, whatever the sizes of blocks: the rows and the losses of a look at each one."""
    bits, index = make(num, num_bits)
    weights = weigh(logits_of_all_kinds(bits), decision)
    columns = np.ascontiguousarray(pack_bits(bits).T)
    for k in {1, 2, 5, min(num, 12), min(num, 200)}:
        expected = brute_force(weights, bits, k)
        np.testing.assert_array_equal(index.nearest(weights, k), expected)
        for block in (16_384, 400):
            monkeypatch.setattr(nearest, "_BLOCK", block)
            np.testing.assert_array_equal(nearest_by_bound(weights, columns, min(k, num)), expected)
        parts = [part.astype(np.float32) for part in np.array_split(bits, max(1, num // 300))]
        np.testing.assert_array_equal(nearest_by_product(weights, parts, k), expected)


def test_each_size_takes_its_way(monkeypatch):
    bits, index = make(1000, 64)
    weights = weigh(logits_of_all_kinds(bits))
    expected = brute_force(weights, bits, 300)
    called = []
    for name in ("nearest_by_bound", "nearest_by_product"):
        original = getattr(search, name)
        monkeypatch.setattr(search, name, lambda *a, n=name, f=original: called.append(n) or f(*a))
    for unpacked, k in ((1000 * 64, 2), (1000 * 64 - 1, 2), (1000 * 64 - 1, 300)):
        monkeypatch.setattr(search, "_UNPACKED", unpacked)
        rows, lost = index.nearest(weights, k)
        np.testing.assert_array_equal((rows, lost), [found[:, :k] for found in expected])
    assert called == ["nearest_by_product", "nearest_by_bound", "nearest_by_product"]


@pytest.mark.parametrize(("num", "num_bits"), SIZES)
def test_candidates_are_the_nearest_in_order(num, num_bits):
    bits, index = make(num, num_bits)
    for logits in logits_of_all_kinds(bits):
        found = index.search(logits, 3)
        (rows,), (lost,) = brute_force(weigh(logits)[None], bits, 3)
        assert [(c.row, c.lost) for c in found] == list(zip(rows, lost, strict=True))
        assert [c.id for c in found] == [row * 3 + 7 for row in rows]
        decided = logits > 0
        assert [c.matches for c in found] == [np.sum(bits[row] == decided) for row in rows]
        # In logits, as near as weights are.
        exact = (2.0 * bits[rows] - 1) @ logits
        near = np.abs(logits).mean() / 8 * num_bits
        assert [c.score for c in found] == pytest.approx(exact, abs=near)


def test_weights_decide_among_equally_near():
    """Two fingerprints two bits away: the one that differs where the decoder was less sure."""
    bits = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]], np.uint8)
    index = PackedIndex.from_arrays(np.array([1, 2]), pack_bits(bits), 6)
    logits = np.array([5.0, 5.0, 5.0, 5.0, 0.1, 0.1])  # decided: all ones
    assert [c.id for c in index.search(logits)] == [1, 2]
    assert [c.id for c in index.search(logits[::-1])] == [2, 1]
    # All alike: who was registered first.
    assert [c.id for c in index.search(np.ones(6))] == [1, 2]
    assert [c.id for c in index.search(logits[::-1], decision="bits")] == [1, 2]


def test_as_many_as_there_are():
    _, index = make(5, 16)
    assert len(index.search(np.ones(16), 100)) == 5
    empty = PackedIndex.from_arrays(np.zeros(0, np.int64), np.zeros([0, 1], np.uint64), 16)
    assert empty.search(np.ones(16)) == []
    rows, lost = empty.nearest(np.ones([3, 16], int), 2)
    assert rows.shape == lost.shape == (3, 0)
    assert index.nearest(np.ones([0, 16], int), 2)[0].shape == (0, 2)


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


@pytest.mark.parametrize("shape", [(15,), (1, 16)])
def test_wrong_shapes(shape):
    _, index = make(5, 16)
    with pytest.raises(ValueError, match="expected logits"):
        index.search(np.zeros(shape))


@pytest.mark.parametrize("shape", [(15,), (1, 15), (1, 1, 16)])
def test_wrong_shapes_of_weights(shape):
    with pytest.raises(ValueError, match=r"expected weights \[M,16\]"):
        make(5, 16)[1].nearest(np.zeros(shape, int), 1)


def test_recall_with_a_fifth_of_the_bits_wrong():
    """26 of 128 wrong among 50,000: always found."""
    bits, index = make(50_000, 128)
    rnd = np.random.default_rng(4)
    rows = rnd.integers(0, 50_000, 50)
    read = bits[rows]
    for row in read:
        row[rnd.choice(128, 26, replace=False)] ^= 1
    found, _ = index.nearest(weigh(read * 2.0 - 1), 1)
    assert found[:, 0].tolist() == rows.tolist()
