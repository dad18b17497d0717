"""Reads TFRecord data sets in the published layout (see `dataset_writer`); labels are ignored."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from training.dataset_writer import is_valid_resolution

MEMORY_BYTES = 1 << 30  # a file up to this size is kept in memory and shuffled as a whole
READ_BATCH = 64  # images decoded at once when a data set is read in file order


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One resolution of a data set."""

    name: str  # as the user gave it: the folder below the data directory
    path: Path  # the .tfrecords file
    resolution: int  # pixels, a power of two
    num_channels: int  # 1 or 3
    num_images: int

    def batches(self, batch_size: int, seed: int, mirror_augment: bool = False) -> tf.data.Dataset:
        """Endless shuffled batches for training.

        The order depends on `seed`, the epoch and TensorFlow's global seed, on nothing else. A file
        of up to MEMORY_BYTES is shuffled as a whole in every epoch; of a larger one, the part that
        fits there at a time (dataset_tool.py shuffles when it writes).

        Args:
            batch_size: images per batch, N.
            seed: of the order and of the mirroring.
            mirror_augment: flip every image horizontally with probability 1/2.

        Returns:
            Data set of uint8 [N,H,W,C]. Iterate it within `reading()`.
        """
        records = tf.data.TFRecordDataset(str(self.path))
        size = self.path.stat().st_size
        window = self.num_images
        if size <= MEMORY_BYTES:
            records = records.cache()
        else:
            window = max(1, MEMORY_BYTES * self.num_images // size)
        records = records.shuffle(window, seed=seed, reshuffle_each_iteration=True).repeat()
        images = records.batch(batch_size, drop_remainder=True).map(
            self._decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        if mirror_augment:
            images = images.enumerate().map(lambda step, batch: _mirror(batch, seed, step))
        return images.prefetch(2)

    def images(self, limit: int | None = None) -> Iterator[np.ndarray]:
        """Iterates over the first `limit` images (None: all) in file order: uint8 [H,W,C].

        Raises:
            UserError: a record is damaged.
        """
        records = tf.data.TFRecordDataset(str(self.path)).take(-1 if limit is None else limit)
        batches = records.batch(READ_BATCH).map(self._decode).prefetch(2)
        with self.reading():
            for batch in batches.as_numpy_iterator():
                yield from batch

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Within this block, TensorFlow's error about a damaged record becomes a UserError.

        Raises:
            UserError: names the file and the number of the damaged record.
        """
        try:
            yield
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            damage = _find_damage(self)
            if damage is None:  # the error came from elsewhere
                raise
            raise UserError(damage) from error

    def fingerprint(self) -> str:
        """A short hash for the names of caches: it changes when the file or its shape does."""
        status = self.path.stat()
        identity = [self.path.name, status.st_size, status.st_mtime_ns]
        identity += [self.resolution, self.num_channels]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def _decode(self, records: tf.Tensor) -> tf.Tensor:
        """Serialised records [N] -> images uint8 [N,H,W,C]."""
        features = {"data": tf.io.FixedLenFeature([], tf.string)}
        data = tf.io.parse_example(records, features)["data"]
        values = tf.io.decode_raw(data, tf.uint8)
        shape = [-1, self.num_channels, self.resolution, self.resolution]
        images = tf.transpose(tf.reshape(values, shape), [0, 2, 3, 1])
        # The batch dimension is static where the batching made it so.
        return tf.ensure_shape(images, [*records.shape, *images.shape[1:]])


def open_dataset(
    data_dir: str | os.PathLike[str], name: str, resolution: int | None = None
) -> Dataset:
    """Opens `<data_dir>/<name>` and checks the frame of every record without decoding images.

    Args:
        data_dir: folder of data sets.
        name: folder of the data set below it.
        resolution: which level to take, in pixels; None takes the largest.

    Raises:
        UserError: no such data set or resolution, images that are not square or not a power of
            two in size, or a file that is empty, truncated or not a TFRecord file.
    """
    folder = Path(data_dir) / name
    files = sorted(folder.glob("*.tfrecords")) if folder.is_dir() else []
    if not files:
        raise _missing(folder)
    levels: dict[int, tuple[Path, int]] = {}
    for path in files:
        channels, size = _read_shape(path)
        levels[size] = (path, channels)
    if resolution is None:
        resolution = max(levels)
    if resolution not in levels:
        known = ", ".join(str(size) for size in sorted(levels))
        raise UserError(f"data set {folder} has no resolution {resolution}; it has: {known}")
    path, channels = levels[resolution]
    return Dataset(name, path, resolution, channels, count_records(path))


def _missing(folder: Path) -> UserError:
    problem = f"{folder} holds no *.tfrecords files"
    if not folder.is_dir():
        problem = f"there is no data set {folder}"
        parent = folder.parent
        if not parent.is_dir():
            problem += f" (no folder {parent} either)"
        else:
            names = sorted({file.parent.name for file in parent.glob("*/*.tfrecords")})
            problem += f" ({parent} has: {', '.join(names) or 'none'})"
    return UserError(
        f"{problem}; make it with: python3 dataset_tool.py create_from_images {folder} IMAGE_DIR"
    )


def _read_shape(path: Path) -> tuple[int, int]:
    """Channels and size in pixels of the images in a file, from its first record."""
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; copy it or create the data set again")
    try:
        first = next(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.DataLossError as error:
        raise UserError(_damage_text(path, 0)) from error
    except tf.errors.PermissionDeniedError as error:
        raise UserError(f"cannot read {path}: permission denied") from error
    shape, num_bytes = _parse(first)
    if len(shape) != 3 or np.prod(shape) != num_bytes:
        raise UserError(
            f"{path}: record 0 is not an image (shape {shape}, {num_bytes} bytes of data); use a"
            " data set that dataset_tool.py made"
        )
    channels, height, width = shape
    if height != width or not is_valid_resolution(height):
        raise UserError(
            f"{path} holds images of {width}x{height} pixels: they must be square and a power of"
            " two in size; create the data set again with dataset_tool.py --resolution"
        )
    if channels not in (1, 3):
        raise UserError(f"{path} holds images of {channels} channels; 1 and 3 are supported")
    return channels, height


def _parse(record: bytes) -> tuple[list[int], int]:
    """Shape (C,H,W) and number of bytes of the image in a record; an empty shape if none."""
    try:
        features = tf.train.Example.FromString(record).features.feature
        data = features["data"].bytes_list.value
        return list(features["shape"].int64_list.value), len(data[0]) if data else 0
    except Exception:  # protobuf's DecodeError, which has no name that is public and stable
        return [], 0


def count_records(path: str | os.PathLike[str]) -> int:
    """Number of records of a TFRecord file, from their frames alone (no checksums, no decoding).

    Raises:
        UserError: a record does not fit in the file; names the file and the record's number.
    """
    # A frame is: length (uint64), checksum of it (uint32), the data, checksum of them (uint32).
    size = os.path.getsize(path)
    position = count = 0
    with open(path, "rb", buffering=0) as file:
        while position < size:
            header = os.pread(file.fileno(), 12, position)
            position += 16 + int.from_bytes(header[:8], "little")
            if position > size:
                raise UserError(_damage_text(path, count))
            count += 1
    return count


def _damage_text(path: str | os.PathLike[str], number: int) -> str:
    return (
        f"record {number} (counting from 0) of {path} is truncated or damaged; copy the file or"
        " create the data set again"
    )


def _find_damage(dataset: Dataset) -> str | None:
    """Describes the first bad record, reading all of them one by one; None if all are good."""
    expected = [dataset.num_channels, dataset.resolution, dataset.resolution]
    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(dataset.path)).as_numpy_iterator():
            shape, num_bytes = _parse(record)
            if shape != expected or num_bytes != np.prod(expected):
                return (
                    f"record {number} (counting from 0) of {dataset.path} holds {num_bytes} bytes"
                    f" of shape {shape} where {expected} is expected; create the data set again"
                )
            number += 1
    except tf.errors.DataLossError:
        return _damage_text(dataset.path, number)
    return None


def _mirror(images: tf.Tensor, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Flips every image [N,H,W,C] horizontally with probability 1/2, by (seed, step)."""
    count = tf.shape(images)[0]
    chance = tf.random.stateless_uniform(
        [count, 1, 1, 1], tf.stack([tf.cast(seed, step.dtype), step])
    )
    # Gathering copies whole images; tf.where would choose value by value, several times slower.
    both = tf.stack([images, tf.reverse(images, [2])], axis=1)  # [N,2,H,W,C]
    return tf.gather(both, tf.cast(chance[:, 0, 0, 0] < 0.5, tf.int32), batch_dims=1)
