"""Uploaded bytes as the pixels that the decoder reads; bombs are refused, not decoded."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from dnnlib.images import UnreadableImageError, read_picture
from fingerprints.image_files import to_pixels


@dataclass(frozen=True)
class Picture:
    """One that could be read."""

    sha256: str  # of the file
    size: tuple[int, int]  # width and height that it came with
    pixels: np.ndarray = field(repr=False, compare=False)  # uint8 [R,R,C]

    @property
    def is_resized(self) -> bool:
        """Whether it came in another size than the network's."""
        return self.size != (self.pixels.shape[1], self.pixels.shape[0])


def digest(content: bytes) -> str:
    """By which answers, logs and reports name a picture: SHA-256 of its file, in hex."""
    return hashlib.sha256(content).hexdigest()


def read_upload(content: bytes, resolution: int, num_channels: int, max_pixels: int) -> Picture:
    """Reads a file that was sent.

    Args:
        content: of the file, as long as the caller's limit allows.
        resolution: R of the network, to which pictures of another size are brought.
        num_channels: C of the network.
        max_pixels: more are refused before they are decoded.

    Raises:
        UnreadableImageError: it is none, is damaged, or too large.
    """
    picture = read_picture(content, max_pixels=max_pixels)
    # A strip of 1 x 40 million pixels passes the limit of pixels, and is no picture.
    if max(picture.size) > 100 * min(picture.size):
        raise UnreadableImageError(f"{picture.width}x{picture.height} pixels are a strip")
    pixels = to_pixels(picture, resolution, num_channels)
    return Picture(digest(content), picture.size, pixels)
