"""Pictures that are alike: a perceptual hash, and pools in which near-duplicates count once.

Twenty copies of a picture, or twenty frames of a scene at rest, say no more about their source than
one does. The hash is a difference hash (Krawetz, "Kind of Like That", 2013) in both directions of a
9x9 thumbnail; it has two bits per difference, so that what is flat stays flat under noise, and
constants are alike whatever their colour.
"""

import numpy as np
from PIL import Image

HASH_BYTES = 32
_SIDE = 9  # of the thumbnail
_STEP = 8  # of 255: a smaller difference of neighbours is none
# What may differ between two that are alike: a share of the differences that either has, and some
# bits more. On emoji of 32x32 pixels that holds for 98 % of pictures and their copies in JPEG at
# quality 75, under noise, shifted by a pixel, brightened, or cut by 1/32, and for one in two
# thousand pairs of different pictures of a generator.
_SHARE = 0.35
_SLACK = 6


def picture_hashes(images: np.ndarray) -> np.ndarray:
    """Perceptual hashes.

    Args:
        images: uint8 [N,H,W,C], C = 1 or 3.

    Returns:
        uint8 [N,HASH_BYTES] for `groups_of_alike`.
    """
    found = np.zeros([len(images), HASH_BYTES], np.uint8)
    for row, image in zip(found, images, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("L")
        small = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)
        values = np.asarray(small, np.int16)
        across = np.diff(values, axis=1)[:-1].ravel()
        down = np.diff(values, axis=0)[:, :-1].ravel()
        steps = np.concatenate([across, down])
        row[:] = np.packbits(np.concatenate([steps > _STEP, steps < -_STEP]))
    return found


def groups_of_alike(hashes: np.ndarray) -> np.ndarray:
    """Which pictures are alike.

    Each belongs to the first one before it that it is alike to and that has a group of its own; so
    no chain of small steps brings two together that are not alike.

    Args:
        hashes: uint8 [M,HASH_BYTES] of `picture_hashes`.

    Returns:
        int64 [M]: 0, 1, ... in the order in which groups begin.
    """
    first: list[int] = []  # of each group
    groups = np.zeros(len(hashes), np.int64)
    for number, one in enumerate(hashes):
        others = hashes[first]
        differing = np.bitwise_count(others ^ one).sum(axis=1, dtype=np.int64)
        either = np.bitwise_count(others | one).sum(axis=1, dtype=np.int64)
        found = np.flatnonzero(differing <= _SLACK + _SHARE * either)
        groups[number] = found[0] if len(found) else len(first)
        if not len(found):
            first.append(number)
    return groups


def count_once(logits: np.ndarray, hashes: np.ndarray | None) -> np.ndarray:
    """Brings the images of one source down to those that are not alike.

    Args:
        logits: of the decoder, [M,B] or, in K views, [M,K,B]; M >= 1.
        hashes: uint8 [M,HASH_BYTES] of the images; None: unknown, and only those are taken for
            alike that have the same logits.

    Returns:
        float64 [D,B] or [D,K,B]: the mean logits of each group of images that are alike.

    Raises:
        ValueError: not at least one row of logits, or not a hash for each.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim not in (2, 3) or len(logits) == 0:
        raise ValueError(f"expected logits [M,B] or [M,K,B], got {logits.shape}")
    if hashes is None:
        _, groups = np.unique(logits, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
    elif hashes.shape == (len(logits), HASH_BYTES):
        groups = groups_of_alike(hashes)
    else:
        raise ValueError(f"expected hashes [{len(logits)},{HASH_BYTES}], got {hashes.shape}")
    sums = np.zeros([groups.max() + 1, *logits.shape[1:]])
    np.add.at(sums, groups, logits)
    return sums / np.bincount(groups).reshape(-1, *[1] * (logits.ndim - 1))
