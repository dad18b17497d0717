"""A picture of what a fingerprint changes: pictures of two licensees, and where they differ."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dnnlib.image_grid import make_grid

ENLARGED = 4  # every pixel, in both directions
GAIN = 10  # of the differences, which would be black without
_STRIP = 16  # pixels, height of a row's caption
_MARGIN = 4  # pixels, left of the caption


def pair_picture(first: np.ndarray, second: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Pairs side by side: first above, second below it, and at the bottom |first - second| x 10.

    Args:
        first: uint8 [N,H,W,C], C = 1 or 3.
        second: the same, of the same latents with another fingerprint.
        names: of the two, for the captions of the rows.

    Returns:
        uint8 [3 * (16 + 4 * H), 4 * N * W, 3]; pixels enlarged as squares, a white strip with
        black text above each row.

    Raises:
        ValueError: other types, or shapes that differ.
    """
    if first.dtype != np.uint8 or second.dtype != np.uint8 or first.shape != second.shape:
        raise ValueError(
            f"expected two arrays of uint8 images, got {first.dtype} {first.shape} and "
            f"{second.dtype} {second.shape}"
        )
    difference = np.abs(first.astype(np.int32) - second)
    shown = np.minimum(GAIN * difference, 255).astype(np.uint8)
    captions = (*names, f"absolute difference x {GAIN}")
    rows = [_row(*row) for row in zip(captions, (first, second, shown), strict=True)]
    return np.concatenate(rows)


def _row(caption: str, images: np.ndarray) -> np.ndarray:
    """Images beside each other under their caption: uint8 [16 + 4 * H, 4 * N * W, 3]."""
    row = make_grid(images, (len(images), 1))
    row = row.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    if row.shape[2] == 1:
        row = row.repeat(3, axis=2)
    strip = Image.new("RGB", (row.shape[1], _STRIP), "white")
    middle = (_MARGIN, _STRIP // 2)
    ImageDraw.Draw(strip).text(middle, caption, fill="black", anchor="lm")
    return np.concatenate([np.asarray(strip), row])
