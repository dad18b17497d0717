"""An image as the records of a data set: at its own resolution, or at every lower one as well."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.data.stored_image import compressed_record, published_record

MIN_RESOLUTION = 4  # pixels, the lowest level of the published layout


def is_valid_resolution(resolution: int) -> bool:
    """Whether data sets of this resolution exist: a power of two, at least 4 pixels."""
    return resolution >= MIN_RESOLUTION and resolution & (resolution - 1) == 0


def image_levels(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yields an image at its own resolution and at every lower one down to 4x4.

    Each level is the 2x2 mean of the *unrounded* level above; values are rounded (half to even)
    only for the result.

    Args:
        image: uint8 [C,H,W], H = W a power of two.

    Yields:
        uint8 [C,H,W], [C,H/2,W/2], ..., [C,4,4].
    """
    values = image.astype(np.float32)  # exact: 8 bits + 2 per level, 24 are there
    while True:
        yield np.rint(values).clip(0, 255).astype(np.uint8)
        if values.shape[1] <= MIN_RESOLUTION:
            return
        values = (
            values[:, 0::2, 0::2]
            + values[:, 0::2, 1::2]
            + values[:, 1::2, 0::2]
            + values[:, 1::2, 1::2]
        ) * np.float32(0.25)


@dataclass(frozen=True)
class Encoding:
    """Which records are made.

    Attributes:
        lods: every resolution down to 4x4, not only that of the images.
        compress: the project's own layout, without loss; otherwise as published.
    """

    lods: bool = False
    compress: bool = False

    def __post_init__(self) -> None:
        if self.lods and self.compress:
            raise ValueError("the layout with all resolutions is not compressed")

    def records(self, picture: Image.Image) -> list[bytes]:
        """The records of a picture, one per file.

        Args:
            picture: of mode "L" or "RGB", square, a power of two of at least 4 in size.

        Raises:
            ValueError: no size of a data set.
        """
        if picture.width != picture.height or not is_valid_resolution(picture.height):
            raise ValueError(f"images of {picture.width}x{picture.height} cannot be stored")
        if self.compress:
            return [compressed_record(picture)]
        values = np.asarray(picture).reshape(picture.height, picture.width, -1)
        levels = image_levels(values.transpose(2, 0, 1))
        return [published_record(level) for level in (levels if self.lods else [next(levels)])]
