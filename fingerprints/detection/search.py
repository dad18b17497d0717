"""The best of all registered fingerprints for the logits of an image.

A packed index is a file that is mapped into memory: a header, the fingerprints' ids, and their bits
as one column of 64-bit words after the other. The header says of which state of which store the
file is (`FingerprintStore.state`) and has the SHA-256 of all the rest. A search goes through all of
it: the Hamming distance of the decided bits chooses candidates, the likelihood of the logits
decides among them.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.optional import require
from fingerprints.bits import decide_bits, pack_bits, unpack_bits

MAX_BITS = 4096
_MISSING = "FAISS is not installed; run: pip install -r requirements/faiss.txt"
# Magic, version, number of bits, number of fingerprints, SHA-256 of the state that the file is of.
_HEAD = struct.Struct("<8sHHQ32s")
_DIGEST_BYTES = 32  # behind it: SHA-256 of the head and of all that follows
_START = _HEAD.size + _DIGEST_BYTES + 4  # 4 zeros: the words begin at a multiple of 8
_MAGIC = b"GANFPIDX"
_VERSION = 3
_BLOCK = 32_768  # fingerprints at a time, so that buffers stay in the processor's cache
_PIECE = 2**20  # bytes read or compared at a time: enough to be fast, little beside the index
_NUM_CANDIDATES = 256  # that the likelihood decides among


@dataclass(frozen=True)
class Candidate:
    """A registered fingerprint and how well it explains an image."""

    row: int  # in the index
    id: int  # in the registry
    matches: int  # bits that agree with the decided bits
    score: float  # sum over bits of the logit where the bit is 1, of its negative where it is 0


class Prefilter(Protocol):
    """Finds fingerprints near to some bits."""

    def nearest(self, word: np.ndarray, k: int) -> np.ndarray:
        """Rows of the k fingerprints nearest to packed bits uint64 [W], or some more."""


class PackedIndex:
    """Every fingerprint ever registered of a model; made by `open` or `from_arrays`.

    Attributes:
        num_bits: B.
        ids: int64 [N] of the registry, ascending.
    """

    def __init__(
        self,
        ids: np.ndarray,
        columns: np.ndarray,
        num_bits: int,
        prefilter: Prefilter | None = None,
    ) -> None:
        """See `open` and `from_arrays`; columns are uint64 [W,N]."""
        self.ids = ids
        self.num_bits = num_bits
        self._columns = columns
        self._prefilter: Prefilter = self if prefilter is None else prefilter

    @classmethod
    def from_arrays(cls, ids: np.ndarray, words: np.ndarray, num_bits: int) -> "PackedIndex":
        """An index in memory, of ids [N] and words uint64 [N,W] of `bits.pack_bits`."""
        num_words = -(-num_bits // 64)
        if words.shape != (len(ids), num_words):
            raise ValueError(f"expected words [{len(ids)},{num_words}], got {words.shape}")
        columns = np.ascontiguousarray(words.T, dtype="<u8")
        return cls(np.asarray(ids, np.int64), columns, num_bits)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, of: str | None = None) -> "PackedIndex":
        """Maps a file of `write_index`; all of it is read once, for its checksum.

        Args:
            path: the file.
            of: the state that it has to be of; None: any.

        Raises:
            UserError: it cannot be read, is not such a file, has changed since it was written, or
                is of another state.
        """
        where = os.fspath(path)
        try:
            with open(path, "rb") as file:
                header = file.read(_START)
                size = os.fstat(file.fileno()).st_size
                if len(header) < _START or not header.startswith(_MAGIC):
                    raise UserError(f"{where} is no index of fingerprints; delete it")
                head, digest = header[: _HEAD.size], header[_HEAD.size :]
                _, version, num_bits, count, state = _HEAD.unpack(head)
                num_words = -(-num_bits // 64)
                if version != _VERSION or not 1 <= num_bits <= MAX_BITS:
                    raise UserError(f"{where} is an index of another version; delete it")
                is_whole = size == _START + 8 * count * (1 + num_words)
                if not is_whole or digest != _digest(head, iter(lambda: file.read(_PIECE), b"")):
                    raise UserError(f"{where} is damaged; delete it")
                if of is not None and state != _state_digest(of):
                    raise UserError(f"{where} is the index of other fingerprints; delete it")
                if count == 0:
                    return cls.from_arrays(
                        np.zeros(0, np.int64), np.zeros([0, num_words], "<u8"), num_bits
                    )
                # As a plain array: slices of np.memmap cost more, and the file stays mapped.
                values = np.asarray(np.memmap(file, "<u8", "r", offset=_START))
        except OSError as error:
            raise UserError(f"cannot read {where}: {error.strerror}; delete it") from error
        ids, columns = values[:count].view("<i8"), values[count:].reshape(num_words, count)
        return cls(ids, columns, num_bits)

    def with_faiss(self) -> "PackedIndex":
        """The same index with FAISS as the prefilter; it holds a copy of the bits in memory.

        Of fingerprints as near as the last candidate FAISS takes any, not all.

        Raises:
            UserError: FAISS is not installed.
        """
        return PackedIndex(self.ids, self._columns, self.num_bits, _Faiss(self))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def words(self) -> np.ndarray:
        """uint64 [N,W], a view."""
        return self._columns.T

    def search(self, logits: np.ndarray, k: int = 2) -> list[Candidate]:
        """The k fingerprints with the highest likelihood, the best first.

        The likelihood is that of independent bits with the decoder's probabilities; among equal
        scores the one that was registered first comes first. Only the `_NUM_CANDIDATES` nearest
        fingerprints, and those as near as the last of them, are looked at.

        Args:
            logits: of the decoder, [B].
            k: how many, at most N.

        Raises:
            ValueError: the number of bits differs.
        """
        logits = np.asarray(logits, np.float64)
        if logits.shape != (self.num_bits,):
            raise ValueError(f"expected logits [{self.num_bits}], got {logits.shape}")
        if len(self) == 0:
            return []
        decided = decide_bits(logits)
        num_candidates = min(max(_NUM_CANDIDATES, k), len(self))
        rows = self._prefilter.nearest(pack_bits(decided[None])[0], num_candidates)
        bits = unpack_bits(self.words[rows], self.num_bits)  # [K,B]
        scores = (2.0 * bits - 1.0) @ logits
        matches = np.sum(bits == decided, axis=1)
        order = np.lexsort((rows, -matches, -scores))[:k]
        return [
            Candidate(int(rows[i]), int(self.ids[rows[i]]), int(matches[i]), float(scores[i]))
            for i in order
        ]

    def distances(self, word: np.ndarray) -> np.ndarray:
        """Hamming distances to packed bits uint64 [W], in bits: uint8 or uint16 [N]."""
        found = np.empty(len(self), self._count_type)
        scratch = _Scratch.make()
        for block in _blocks(len(self), _BLOCK):
            scratch.count(self._columns[:, block], word, out=found[block])
        return found

    def nearest(self, word: np.ndarray, k: int) -> np.ndarray:
        """Rows of all fingerprints that are not farther than the k-th nearest, ascending."""
        found = self.distances(word)
        blocks = list(_blocks(len(self), _PIECE))  # so that nothing of length N is made but `found`
        low, high = int(found.min()), self.num_bits
        while low < high:  # the smallest radius with k of them
            radius = (low + high) // 2
            if sum(np.count_nonzero(found[block] <= radius) for block in blocks) >= k:
                high = radius
            else:
                low = radius + 1
        return np.concatenate(
            [block.start + np.flatnonzero(found[block] <= low) for block in blocks]
        )

    def max_matches(self, bits: np.ndarray) -> np.ndarray:
        """Most matching bits with any fingerprint: bits [M,B] of 0 and 1 -> int64 [M].

        Raises:
            ValueError: the index is empty or the number of bits differs.
        """
        if len(self) == 0 or bits.ndim != 2 or bits.shape[1] != self.num_bits:
            raise ValueError(f"no matches of {bits.shape} with {len(self)} of {self.num_bits} bits")
        words = pack_bits(np.asarray(bits, np.uint8))
        least = np.full(len(bits), self.num_bits, np.int64)
        scratch = _Scratch.make()
        found = np.empty(min(_BLOCK, len(self)), self._count_type)
        for block in _blocks(len(self), _BLOCK):
            columns = self._columns[:, block]
            out = found[: columns.shape[1]]
            for image, word in enumerate(words):  # all images while the block is in the cache
                scratch.count(columns, word, out)
                least[image] = min(least[image], out.min())
        return self.num_bits - least

    @property
    def _count_type(self) -> type[np.unsignedinteger]:
        return np.uint8 if self.num_bits < 256 else np.uint16


@dataclass(frozen=True)
class _Scratch:
    """Buffers for the distances of a block."""

    different: np.ndarray  # uint64 [_BLOCK]
    counted: np.ndarray  # uint8 [_BLOCK]

    @classmethod
    def make(cls) -> "_Scratch":
        return cls(np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint8))

    def count(self, columns: np.ndarray, word: np.ndarray, out: np.ndarray) -> None:
        """Hamming distances of columns [W,n] to a word [W], into out [n]."""
        different, counted = self.different[: len(out)], self.counted[: len(out)]
        out.fill(0)
        for column, part in zip(columns, word, strict=True):
            np.bitwise_xor(column, part, out=different)
            np.bitwise_count(different, out=counted)
            np.add(out, counted, out=out)


def _blocks(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _digest(head: bytes, pieces: Iterable[bytes]) -> bytes:
    """What stands between the head and the pieces that follow it."""
    value = hashlib.sha256(head)
    for piece in pieces:
        value.update(piece)
    return value.digest() + bytes(_START - _HEAD.size - _DIGEST_BYTES)


def _state_digest(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()


class _Faiss:
    """FAISS's exact binary index; it uses all cores."""

    def __init__(self, index: PackedIndex) -> None:
        faiss = require("faiss", _MISSING)
        num_words = -(-index.num_bits // 64)
        self._faiss = faiss.IndexBinaryFlat(64 * num_words)
        for start in range(0, len(index), 2**20):
            block = np.ascontiguousarray(index.words[start : start + 2**20])
            self._faiss.add(block.view(np.uint8))

    def nearest(self, word: np.ndarray, k: int) -> np.ndarray:
        """Rows of the k nearest, ascending."""
        _, rows = self._faiss.search(word[None].view(np.uint8), k)
        return np.sort(rows[0])


def write_index(
    path: str | os.PathLike[str],
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    num_bits: int,
    *,
    of: str = "",
) -> None:
    """Writes a packed index, completely or not at all, readable by its owner only.

    Args:
        path: the file.
        blocks: ids int64 [n] and words uint64 [n,W], as `Registry.packed` gives them.
        num_bits: B.
        of: state of the store that the fingerprints are all of.

    Raises:
        UserError: it cannot be written.
    """
    kept = [(np.asarray(ids, "<i8"), np.asarray(words, "<u8")) for ids, words in blocks]
    count = sum(len(ids) for ids, _ in kept)

    def pieces() -> Iterator[bytes]:
        for ids, _ in kept:
            yield ids.tobytes()
        for column in range(-(-num_bits // 64)):
            for _, words in kept:
                yield words[:, column].tobytes()

    head = _HEAD.pack(_MAGIC, _VERSION, num_bits, count, _state_digest(of))
    with open_atomic(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(head + _digest(head, pieces()))
        file.writelines(pieces())
