"""The fingerprints of all registered that lose least weight against the logits of an image.

A packed index is a file that is mapped into memory: a header, the fingerprints' ids, and their bits
as one column of 64-bit words after the other. The header says of which state of which store the
file is (`FingerprintStore.state`) and has the SHA-256 of all the rest. A search goes through all of
it and is exact: `nearest` says how.
"""

import functools
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from fingerprints.bits import decide_bits, unpack_bits
from fingerprints.detection.evidence import unit, weigh
from fingerprints.detection.nearest import nearest_by_bound, nearest_by_product
from fingerprints.detection.views import Decision

MAX_BITS = 4096
# Magic, version, number of bits, number of fingerprints, SHA-256 of the state that the file is of.
_HEAD = struct.Struct("<8sHHQ32s")
_DIGEST_BYTES = 32  # behind it: SHA-256 of the head and of all that follows
_START = _HEAD.size + _DIGEST_BYTES + 4  # 4 zeros: the words begin at a multiple of 8
_MAGIC = b"GANFPIDX"
_VERSION = 3
_PIECE = 2**20  # bytes read at a time
_UNPACKED = 2**22  # fingerprints times bits up to which they are kept as numbers: 16 MiB
_MAX_BOUNDED = 256  # neighbours that are asked for, up to which the bound is of use


@dataclass(frozen=True)
class Candidate:
    """A registered fingerprint and how well it explains an image."""

    row: int  # in the index
    id: int  # in the registry
    matches: int  # bits that agree with the decided bits
    lost: int  # weight of the bits that do not agree, see `evidence`
    score: float  # sum over bits of the weight where the bits agree, minus the others, in logits


class PackedIndex:
    """Every fingerprint ever registered of a model; made by `open` or `from_arrays`.

    Attributes:
        num_bits: B.
        ids: int64 [N] of the registry, ascending.
    """

    def __init__(self, ids: np.ndarray, columns: np.ndarray, num_bits: int) -> None:
        """See `open` and `from_arrays`; columns are uint64 [W,N]."""
        self.ids = ids
        self.num_bits = num_bits
        self._columns = columns

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

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def words(self) -> np.ndarray:
        """uint64 [N,W], a view."""
        return self._columns.T

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        """The bits as float32 0 and 1 [N,B], of an index that is small."""
        return unpack_bits(self.words, self.num_bits).astype(np.float32)

    def search(
        self, logits: np.ndarray, k: int = 2, decision: Decision = "soft"
    ) -> list[Candidate]:
        """The k fingerprints that lose least weight, the best first; see `nearest`.

        Args:
            logits: of the decoder, [B].
            k: how many, at most N.
            decision: what logits weigh, see `evidence.weigh`.

        Raises:
            ValueError: the number of bits differs.
        """
        logits = np.asarray(logits, np.float64)
        if logits.shape != (self.num_bits,):
            raise ValueError(f"expected logits [{self.num_bits}], got {logits.shape}")
        weights = weigh(logits, decision)
        rows, lost = (found[0] for found in self.nearest(weights[None], k))
        matches = np.sum(
            unpack_bits(self.words[rows], self.num_bits) == decide_bits(logits), axis=1
        )
        scores = (np.abs(weights).sum() - 2 * lost) * unit(logits, decision)
        return [
            Candidate(int(row), int(self.ids[row]), int(matches[i]), int(lost[i]), float(scores[i]))
            for i, row in enumerate(rows)
        ]

    def nearest(self, weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k fingerprints that lose least weight against each of M images.

        None is passed over, whatever the logits: with few fingerprints all are multiplied with
        the weights (`nearest_by_product`); with many, those are looked at which a bound on their
        Hamming distances does not exclude (`nearest_by_bound`).

        Args:
            weights: of `evidence.weigh`, int [M,B].
            k: how many; all there are if they are fewer.

        Returns:
            Rows of the index and what they lose, int64 [M,min(k,N)], least first; of those that
            lose the same the one that was registered first comes first.

        Raises:
            ValueError: the number of bits differs.
        """
        if weights.ndim != 2 or weights.shape[1] != self.num_bits:
            raise ValueError(f"expected weights [M,{self.num_bits}], got {weights.shape}")
        k = min(k, len(self))
        if k == 0 or len(weights) == 0:
            nothing = np.zeros([len(weights), k], np.int64)
            return nothing, nothing
        if len(self) * self.num_bits <= _UNPACKED:
            return nearest_by_product(weights, [self._numbers], k)
        if k <= _MAX_BOUNDED:
            return nearest_by_bound(weights, self._columns, k)
        step = max(1, _UNPACKED // self.num_bits)
        parts = (self.words[start : start + step] for start in range(0, len(self), step))
        numbers = (unpack_bits(part, self.num_bits).astype(np.float32) for part in parts)
        return nearest_by_product(weights, numbers, k)


def _digest(head: bytes, pieces: Iterable[bytes]) -> bytes:
    """What stands between the head and the pieces that follow it."""
    value = hashlib.sha256(head)
    for piece in pieces:
        value.update(piece)
    return value.digest() + bytes(_START - _HEAD.size - _DIGEST_BYTES)


def _state_digest(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()


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
