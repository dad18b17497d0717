"""An image as the record of a data set: as published, or compressed without loss.

A record is a tf.train.Example. `shape` (int64) has channels, height, width. Beside it stands
`data`, the uint8 values in that order, as the published code reads them, or `file`, a lossless WebP
file (colour) or a PNG file (grey). docs/datasets.md has the sizes and speeds that decided it.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnnlib.images import quietly
from training.data.example import Example


@dataclass(frozen=True)
class StoredImage:
    """What a record says it holds.

    Attributes:
        shape: channels, height, width; empty: the record is no image.
        data: the values, or a file.
        is_compressed: which of the two.
    """

    shape: tuple[int, ...]
    data: bytes
    is_compressed: bool

    @property
    def is_image(self) -> bool:
        """Whether that is an image; of a compressed one, only whether it may be."""
        if len(self.shape) != 3 or not self.data:
            return False
        return self.is_compressed or math.prod(self.shape) == len(self.data)

    def fill(self, image: np.ndarray) -> None:
        """Puts the pixels into an array, uint8 [H,W,C].

        Raises:
            ValueError: they are not there, or the array has another shape.
        """
        height, width, channels = image.shape
        if self.shape != (channels, height, width) or not self.is_image:
            raise ValueError(f"no image of shape {(channels, height, width)}")
        if self.is_compressed:
            image[:] = _decode(self.data, image.shape)
            return
        # Channel by channel is several times faster than one transposed copy.
        planes = np.frombuffer(self.data, np.uint8).reshape(self.shape)
        for channel, plane in enumerate(planes):
            image[:, :, channel] = plane


def parse(record: bytes) -> StoredImage:
    """What is in a record; its shape is empty if that is nothing known."""
    try:
        features = Example.FromString(record).features.feature
        shape = tuple(features["shape"].int64_list.value)
        if "file" in features:
            return StoredImage(shape, features["file"].bytes_list.value[0], True)
        return StoredImage(shape, features["data"].bytes_list.value[0], False)
    except Exception:  # protobuf's DecodeError, which has no name that is public and stable
        return StoredImage((), b"", False)


def published_record(image: np.ndarray) -> bytes:
    """The record of an image, uint8 [C,H,W], as the published code reads it."""
    return _record(image.shape, "data", image.tobytes())


def compressed_record(image: np.ndarray) -> bytes:
    """The record of an image, uint8 [H,W,C], that takes least bytes."""
    height, width, channels = image.shape
    file = io.BytesIO()
    if channels == 1:
        Image.fromarray(image.squeeze(2)).save(file, "PNG")
    else:
        # The quickest of the methods; others take up to 14 % less and 5 to 20 times as long.
        Image.fromarray(image).save(file, "WEBP", lossless=True, method=0, quality=0)
    return _record((channels, height, width), "file", file.getvalue())


def _record(shape: tuple[int, ...], key: str, data: bytes) -> bytes:
    example = Example()
    feature = example.features.feature
    feature["shape"].int64_list.value.extend(shape)
    feature[key].bytes_list.value.append(data)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def _decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a file that holds an image of this shape, [H,W,C]: uint8.

    Raises:
        ValueError: it is none, or of another shape.
    """
    mode = "L" if shape[2] == 1 else "RGB"
    try:
        with quietly, Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as picture:
            if (picture.height, picture.width, picture.mode) == (*shape[:2], mode):
                return np.asarray(picture).reshape(shape)
    # Decoders of damaged files raise whatever their parsing stumbles over.
    except Exception as error:
        raise ValueError("no image file") from error
    raise ValueError(f"an image of another shape, {picture.size} {picture.mode}")
