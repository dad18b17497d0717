"""New fingerprints: random bits from a secure source that keep their distance from all others."""

import secrets
from collections.abc import Callable

import numpy as np

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits

MAX_CANDIDATES = 10_000  # for one fingerprint, before there is taken to be no room
_ROWS = 4096  # registered fingerprints compared at a time; what fits into a processor's cache

Favour = Callable[[np.ndarray], np.ndarray]  # candidates uint8 [C,B] -> bool [C]


def draw_fingerprints(
    registered: np.ndarray,
    num_bits: int,
    count: int,
    *,
    min_distance: int,
    is_favoured: Favour | None = None,
) -> np.ndarray:
    """Draws fingerprints that differ from all registered ones, and from each other.

    Args:
        registered: words uint64 [N,ceil(B/64)] of `pack_bits`.
        num_bits: number of bits B.
        count: how many to draw.
        min_distance: bits, at least 1, in which any two of them differ at least.
        is_favoured: candidates [C,B] for which it says True are not taken: foreign images lean
            to them (`Calibration.favoured`).

    Returns:
        uint8 [count,B] of 0 and 1.

    Raises:
        UserError: `MAX_CANDIDATES` in a row were not good enough.
    """
    if not 1 <= min_distance <= num_bits:
        raise ValueError(f"min_distance must be in 1..{num_bits}, got {min_distance}")
    words = np.concatenate([registered, np.zeros([count, registered.shape[1]], registered.dtype)])
    result = np.zeros([count, num_bits], dtype=np.uint8)
    num_drawn = num_rejected = 0
    while num_drawn < count:
        candidates = _random_bits(min(256, count - num_drawn + 4), num_bits)
        num_all = len(candidates)
        if is_favoured is not None:
            candidates = candidates[~np.asarray(is_favoured(candidates), dtype=bool)]
        num_rejected += num_all - len(candidates)
        packed = pack_bits(candidates)
        num_known = len(registered) + num_drawn
        is_far = least_distances(packed, words[:num_known]) >= min_distance
        for bits, row, far in zip(candidates, packed, is_far, strict=True):
            # From the ones that were taken from the same batch before it.
            new = words[num_known : len(registered) + num_drawn]
            if not far or least_distances(row[None], new)[0] < min_distance:
                num_rejected += 1
                continue
            words[len(registered) + num_drawn] = row
            result[num_drawn] = bits
            num_drawn += 1
            num_rejected = 0
            if num_drawn == count:
                break
        if num_rejected >= MAX_CANDIDATES:
            favoured = "" if is_favoured is None else " or favoured by foreign images"
            raise UserError(
                f"no room for another fingerprint: {num_rejected} random ones were all within "
                f"{min_distance} of {num_bits} bits of the {len(registered) + num_drawn} others"
                f"{favoured}; register fewer licensees, use a model with more bits, or a smaller "
                "--min-distance"
            )
    return result


def least_distances(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Hamming distance of each row to the nearest of others, in bits.

    Args:
        words: uint64 [C,W] of `pack_bits`.
        others: uint64 [N,W]; with N = 0 every distance is larger than any possible one.

    Returns:
        int64 [C].
    """
    least = np.full(len(words), words.shape[1] * 64 + 1, dtype=np.int64)
    for start in range(0, len(others), _ROWS):
        block = others[start : start + _ROWS]
        distances = np.zeros([len(words), len(block)], dtype=np.uint32)
        for column in range(words.shape[1]):
            distances += np.bitwise_count(words[:, column, None] ^ block[None, :, column])
        np.minimum(least, distances.min(axis=1), out=least)
    return least


def _random_bits(count: int, num_bits: int) -> np.ndarray:
    """uint8 [count,B] of 0 and 1 from the operating system's secure source."""
    num_bytes = -(-num_bits // 8)
    data = np.frombuffer(secrets.token_bytes(count * num_bytes), dtype=np.uint8)
    return np.unpackbits(data.reshape(count, num_bytes), axis=1, count=num_bits)
