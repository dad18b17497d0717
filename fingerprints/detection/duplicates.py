"""Pictures that are nearly the same, which a pool counts once."""

import numpy as np
from PIL import Image

MAX_DISTANCE = 3  # of 64 bits; JPEG and scaling change fewer, other pictures about half of them


def perceptual_hash(image: np.ndarray) -> int:
    """The difference hash of a picture: whether each of 8x8 cells is brighter than its neighbour.

    Args:
        image: uint8 [H,W,C], C 1 or 3.

    Returns:
        64 bits. Of a picture without any detail all of them are 0.
    """
    grey = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX)).astype(int)
    # A step of one level is noise: pictures that are flat but for that are alike.
    brighter = cells[:, 1:] - cells[:, :-1] > 1
    return int.from_bytes(np.packbits(brighter).tobytes(), "big")


def merge_duplicates(logits: np.ndarray, images: list[int]) -> np.ndarray:
    """Puts the mean in the place of what pictures that are nearly the same say.

    Args:
        logits: of the decoder, [M,B].
        images: `perceptual_hash` of each picture.

    Returns:
        [D,B], D <= M, one row for each distinct picture, in the order in which they come first.
    """
    groups: list[list[int]] = []
    for number, value in enumerate(images):
        for group in groups:
            if (value ^ images[group[0]]).bit_count() <= MAX_DISTANCE:
                group.append(number)
                break
        else:
            groups.append([number])
    return np.stack([logits[group].mean(axis=0) for group in groups])
