"""Uploaded bytes as the pixels that the decoder reads; bombs are refused, not decoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dnnlib.images import UnreadableImageError, read_picture
from dnnlib.plain_png import GREY, RGB, is_plain_png
from dnnlib.tflib.png import make_png_decoder
from fingerprints.image_files import to_pixels

_SMALL = 2**20  # bytes of a file that is read together with others, at most


@dataclass(frozen=True)
class Picture:
    """One that was sent."""

    sha256: str  # of the file
    size: tuple[int, int]  # width and height that it came with
    pixels: np.ndarray | None = field(repr=False, compare=False)  # uint8 [R,R,C]
    content: bytes = field(repr=False, compare=False, default=b"")  # where pixels are not read yet
    is_resized: bool = False  # whether it came in another size than the network's


class Pictures:
    """Reads pictures for one network.

    A small PNG file in the network's size, which is what generators write, is read when its batch
    is, in one call for all of them and without Python between them; everything else by itself.
    """

    def __init__(self, resolution: int, num_channels: int, max_pixels: int) -> None:
        """
        Args:
            resolution: R of the network, to which pictures of another size are brought.
            num_channels: C of the network.
            max_pixels: more are refused before they are decoded.
        """
        self._size = (resolution, resolution)
        self._num_channels = num_channels
        self._max_pixels = max_pixels
        self._types = frozenset((GREY,) if num_channels == 1 else (GREY, RGB))
        self._decode_many = make_png_decoder(resolution, num_channels)

    def later(self, content: bytes) -> Picture | None:
        """A picture that is read with its batch; None: it takes `read`, which may be long."""
        if len(content) > _SMALL or not is_plain_png(content, self._size, self._types):
            return None
        return Picture(digest(content), self._size, None, content)

    def read(self, content: bytes) -> Picture:
        """Reads a file that was sent.

        Args:
            content: of the file, as long as the caller's limit allows.

        Raises:
            UnreadableImageError: it is none, is damaged, or too large.
        """
        picture = read_picture(content, max_pixels=self._max_pixels)
        # A strip of 1 x 40 million pixels passes the limit of pixels, and is no picture.
        if max(picture.size) > 100 * min(picture.size):
            raise UnreadableImageError(f"{picture.width}x{picture.height} pixels are a strip")
        pixels = to_pixels(picture, self._size[0], self._num_channels)
        size = picture.size
        return Picture(digest(content), size, pixels, is_resized=size != self._size)

    def pixels(self, pictures: Sequence[Picture]) -> list[np.ndarray | str]:
        """The pixels of a batch, uint8 [R,R,C] each; or why there are none."""
        waiting = [one.content for one in pictures if one.pixels is None]
        together = self._decode_many(waiting) if waiting else None
        found = iter(map(self._pixels_of, waiting) if together is None else together)
        return [next(found) if one.pixels is None else one.pixels for one in pictures]

    def _pixels_of(self, content: bytes) -> np.ndarray | str:
        try:
            pixels = self.read(content).pixels
        except UnreadableImageError as error:
            return str(error)
        assert pixels is not None
        return pixels


def digest(content: bytes) -> str:
    """By which answers, logs and reports name a picture: SHA-256 of its file, in hex."""
    return hashlib.sha256(content).hexdigest()
