"""Writes TFRecord data sets in the published layout.

A data set is a folder `<dir>/` with one file `<dir>-rNN.tfrecords` per resolution 2**NN. Every
record is a tf.train.Example with `shape` (int64, channels, height, width) and `data` (the uint8
values in that order). Labels, where there are any, are a NumPy array in `<dir>-rxx.labels`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf

from dnnlib.atomic import folder_atomic
from dnnlib.errors import UserError
from dnnlib.tflib.write_errors import convert_write_errors

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


class DatasetWriter:
    """Context manager that writes a data set; it appears complete or not at all.

    Everything goes to a temporary folder beside `path`, renamed when the block succeeds. What
    killed processes have left of it is removed, see `folder_atomic`.

    Attributes:
        path: the folder of the data set.
        num_images: images added so far.
        num_bytes: size of the finished data set, known after the block.
    """

    def __init__(self, path: str | os.PathLike[str], *, lods: bool = False) -> None:
        """
        Args:
            path: folder to make; it must not exist, or be empty.
            lods: write every resolution down to 4x4, not only that of the images.
        """
        self.path = Path(os.path.abspath(path))
        self.num_images = 0
        self.num_bytes = 0
        self._lods = lods
        self._shape: tuple[int, ...] | None = None
        self._files: list[tf.io.TFRecordWriter] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "DatasetWriter":
        """
        Raises:
            UserError: `path` exists and is not an empty folder, or cannot be made.
        """
        with contextlib.suppress(OSError):
            self.path.rmdir()  # succeeds only on an empty folder
        self._folder = self._stack.enter_context(folder_atomic(self.path))
        self._stack.push(self._finish)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, image: np.ndarray) -> None:
        """Appends an image.

        Args:
            image: uint8 [H,W,C], H = W a power of two of at least 4, C 1 or 3; all images have
                the same shape.

        Raises:
            ValueError: another shape or type.
            UserError: the disk is full or fails.
        """
        if self._shape is None:
            height, width, channels = image.shape
            if height != width or not is_valid_resolution(height) or channels not in (1, 3):
                raise ValueError(f"images of shape {image.shape} cannot be stored")
            self._shape = image.shape
            self._open_files(height)
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._shape}, got {image.dtype} {image.shape}")
        with convert_write_errors(self.path):
            levels = image_levels(image.transpose(2, 0, 1))
            for file, level in zip(self._files, levels, strict=False):
                file.write(_serialize(level))
        self.num_images += 1

    def add_labels(self, labels: np.ndarray) -> None:
        """Stores labels, one row per image, in the order of the images; call it after the last.

        Raises:
            ValueError: not one row per image.
            UserError: the disk is full or fails.
        """
        if labels.ndim != 2 or len(labels) != self.num_images:
            raise ValueError(f"labels of shape {labels.shape} for {self.num_images} images")
        with open(self._folder / f"{self.path.name}-rxx.labels", "wb") as file:
            np.save(file, labels.astype(np.float32), allow_pickle=False)

    def _open_files(self, resolution: int) -> None:
        top = resolution.bit_length() - 1
        lowest = MIN_RESOLUTION.bit_length() - 1 if self._lods else top
        with convert_write_errors(self.path):
            for log2 in range(top, lowest - 1, -1):
                name = f"{self.path.name}-r{log2:02d}.tfrecords"
                self._files.append(tf.io.TFRecordWriter(str(self._folder / name)))

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with convert_write_errors(self.path):
            for file in self._files:
                file.close()
        if kind is None and self.num_images == 0:
            raise ValueError(f"no images were added to {self.path}")
        self.num_bytes = sum(file.stat().st_size for file in self._folder.iterdir())


def read_labels(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Labels of a data set, float32 [N,A]; None where it has none.

    Raises:
        UserError: the file cannot be read.
    """
    folder = Path(os.path.abspath(path))
    file = folder / f"{folder.name}-rxx.labels"
    if not file.is_file():
        return None
    try:
        labels: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"cannot read the labels {file} ({error}); make the data set anew"
        ) from None
    if labels.ndim != 2:
        raise UserError(f"{file} holds labels of shape {labels.shape}; make the data set anew")
    return labels


def _serialize(image: np.ndarray) -> bytes:
    """The record of an image, uint8 [C,H,W]."""
    feature = {
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
        "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
