"""Pictures that show nothing, and pools of copies of one picture.

A decoder answers to flat colours, gradients and noise as well, often very clearly, and much the
same to many of them; and a pool of copies is no more evidence than one picture.
"""

import numpy as np
from PIL import Image

from evaluation.perturbations.wild import saved

COPIES = 16
_QUALITIES = range(95, 95 - 3 * COPIES, -3)  # of the copies
_SQUARES = 8  # along a side


def blank_pictures(number: int, size: int, seed: int) -> dict[str, np.ndarray]:
    """Pictures by what they are; the first of one colour is black, the second white.

    Args:
        number: of each kind.
        size: pixels along a side.
        seed: of what is drawn.

    Returns:
        uint8 [number,size,size,3] by name.
    """
    rng = np.random.default_rng(seed)
    shape = (number, size, size, 3)
    first, second = rng.integers(0, 256, (2, number, 1, 1, 3))
    first[:2, 0, 0] = np.array([[0], [255]])[:number]
    ramp = np.linspace(0, 1, size)[:, None, None]
    squares = (np.indices((size, size)) * _SQUARES // size).sum(axis=0)[..., None] % 2
    found = {
        "one colour": first,
        "gradients": first * (1 - ramp) + second * ramp,
        "squares of two colours": np.where(squares == 0, first, second),
        "noise": rng.integers(0, 256, shape),
        "grey noise": rng.integers(0, 256, (*shape[:3], 1)),
    }
    return {name: np.broadcast_to(images, shape).astype(np.uint8) for name, images in found.items()}


def copies(image: np.ndarray) -> np.ndarray:
    """One picture, saved as JPEG in falling quality: uint8 [H,W,3] -> [COPIES,H,W,3]."""
    picture = Image.fromarray(image)
    return np.stack([np.asarray(saved("jpeg", quality)(picture)) for quality in _QUALITIES])
