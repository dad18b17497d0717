"""Reads TFRecord data sets of both layouts (see `writer`)."""

import dataclasses
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.atomic import is_incomplete
from dnnlib.errors import UserError
from training.data.batches import Batches
from training.data.description import Description, read_description
from training.data.encoding import is_valid_resolution
from training.data.records import DamagedRecordError, RecordFile, Tail
from training.data.shards import ShardedRecords
from training.data.stored_image import parse
from training.data.writer import read_labels

AnyRecords = RecordFile | ShardedRecords
NAMED_RECORDS = 10  # so many bad records are named by number


@functools.lru_cache(maxsize=2)  # a batch may end one epoch and begin the next
def epoch_order(num_images: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of the images in an epoch: int64 [num_images], not to be written to."""
    return np.random.default_rng([seed, epoch]).permutation(num_images)


def mirrored(batch_size: int, seed: int, number: int) -> np.ndarray:
    """Which images of a batch are flipped, each with probability 1/2: bool [batch_size]."""
    return np.random.default_rng([seed, number, 1]).random(batch_size) < 0.5


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One resolution of a data set; it stays readable when its file is removed or replaced."""

    name: str  # as the user gave it: the folder below the data directory
    path: Path  # the .tfrecords file, or dataset.json where there are several
    resolution: int  # pixels, a power of two
    num_channels: int  # 1 or 3
    num_images: int  # those that are left out not counted
    skipped: tuple[int, ...]  # numbers of the records that are left out
    records: AnyRecords = dataclasses.field(repr=False, compare=False)
    numbers: np.ndarray = dataclasses.field(repr=False, compare=False)  # int64 [num_images]

    def batches(
        self,
        batch_size: int,
        seed: int,
        mirror_augment: bool = False,
        *,
        first: int = 0,
        rows: tuple[int, int] | None = None,
    ) -> Batches:
        """Endless shuffled batches for training, from any of them on.

        Batch b holds the images at places b * N to (b + 1) * N - 1 of the endless row of epochs.
        Every epoch holds every image once, in an order that follows from seed and epoch alone;
        the mirroring follows from seed and b.

        Args:
            batch_size: images per batch, N.
            seed: of the order and of the mirroring, >= 0.
            mirror_augment: flip every image horizontally with probability 1/2.
            first: number b of the first batch, >= 0.
            rows: the part (start, stop) of every batch that is read; None reads all of it.

        Returns:
            Iterator of uint8 [stop - start,H,W,C]; close it or use it in a `with`. It raises
            UserError when a record is damaged or cannot be read.

        Raises:
            ValueError: an argument is out of range.
        """
        rows = (0, batch_size) if rows is None else rows
        if not 0 <= rows[0] < rows[1] <= batch_size or first < 0 or seed < 0:
            raise ValueError(f"batches of {batch_size}: {rows=}, {first=}, {seed=}")
        make = functools.partial(self._read_batch, batch_size, seed, mirror_augment, rows)
        return Batches(make, first)

    def images(self, limit: int | None = None) -> Iterator[np.ndarray]:
        """Iterates over the first `limit` images (None: all) in file order: uint8 [H,W,C].

        Raises:
            UserError: a record is damaged or cannot be read.
        """
        for index in range(self.num_images if limit is None else min(limit, self.num_images)):
            yield self.image(index)

    def image(self, index: int) -> np.ndarray:
        """Image `index` in file order: uint8 [H,W,C]. May be called by several threads.

        Raises:
            UserError: its record is damaged or cannot be read.
        """
        image = np.empty([self.resolution, self.resolution, self.num_channels], np.uint8)
        self._read_image(index, image)
        return image

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Labels of all images, float32 [num_images,C]; C is 0 where the data set has none.

        Raises:
            UserError: they cannot be read, or are not one row per image.
        """
        found = read_labels(self.path.parent)
        if found is None:
            return np.zeros([self.num_images, 0], np.float32)
        if len(found) < self.numbers.max() + 1 or not np.isfinite(found).all():
            raise UserError(
                f"the labels of {self.path.parent} are {len(found)} rows for "
                f"{self.numbers.max() + 1} images, or not all finite; make the data set anew"
            )
        return np.asarray(found[self.numbers], np.float32)

    @property
    def label_size(self) -> int:
        """C, numbers per label; 0: there are no labels."""
        return int(self.labels.shape[1])

    def labels_of(
        self, batch_size: int, seed: int, number: int, *, rows: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Labels of the images of a batch of `batches`: float32 [stop - start,C]."""
        start, stop = (0, batch_size) if rows is None else rows
        found = []
        for row in range(start, stop):
            epoch, place = divmod(number * batch_size + row, self.num_images)
            found.append(epoch_order(self.num_images, seed, epoch)[place])
        return self.labels[found]

    def cache_key(self) -> str:
        """A short hash for the names of caches: it changes when the file or its shape does."""
        identity = self.records.identity()
        identity += [self.resolution, self.num_channels, *self.skipped]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def _read_batch(
        self, batch_size: int, seed: int, mirror: bool, rows: tuple[int, int], number: int
    ) -> np.ndarray:
        """Rows of batch `number`: uint8 [N,H,W,C]."""
        start, stop = rows
        size = self.resolution
        batch = np.empty([stop - start, size, size, self.num_channels], np.uint8)
        flips = mirrored(batch_size, seed, number)[start:stop] if mirror else [False] * len(batch)
        for row, image in enumerate(batch):
            epoch, place = divmod(number * batch_size + start + row, self.num_images)
            index = int(epoch_order(self.num_images, seed, epoch)[place])
            self._read_image(index, image[:, ::-1] if flips[row] else image)
        return batch

    def _read_image(self, index: int, image: np.ndarray) -> None:
        """Reads an image into an array, uint8 [H,W,C].

        Raises:
            UserError: its record is damaged, of another shape, or cannot be read.
        """
        _fill_from(self.records, int(self.numbers[index]), image)


def open_dataset(
    data_dir: str | os.PathLike[str],
    name: str,
    resolution: int | None = None,
    *,
    skip_bad_records: bool = False,
) -> Dataset:
    """Opens `<data_dir>/<name>` and checks the frame of every record without reading images.

    Args:
        data_dir: folder of data sets.
        name: folder of the data set below it.
        resolution: which level to take, in pixels; None takes the largest.
        skip_bad_records: read and check all images, leave out those that are damaged or cannot be
            read, and say on stderr which they are.

    Raises:
        UserError: no such data set or resolution, one that is incomplete, images that are not
            square or not a power of two in size, or a file that is empty, truncated or not a
            TFRecord file; with `skip_bad_records`, one without any good record.
    """
    folder = Path(data_dir) / name
    files = _find_files(folder)
    description = read_description(folder)
    if description is not None:
        return _open_shards(folder, name, description, resolution, skip_bad_records)
    levels = _find_levels(folder, files, skip_bad_records)
    if resolution is None:
        resolution = max(levels)
    if resolution not in levels:
        raise _no_resolution(folder, resolution, levels)
    path, channels = levels[resolution]
    records = RecordFile(path)
    if not skip_bad_records and records.tail is not Tail.NOTHING:
        raise records.damage(len(records))
    return _dataset(name, records, resolution, channels, skip_bad_records)


def resolutions(
    data_dir: str | os.PathLike[str], name: str, *, skip_bad_records: bool = False
) -> list[int]:
    """The resolutions of the data set `<data_dir>/<name>` in pixels, the largest first.

    Raises:
        UserError: see `open_dataset`.
    """
    folder = Path(data_dir) / name
    files = _find_files(folder)
    description = read_description(folder)
    if description is not None:
        return [description.shape[0]]
    return sorted(_find_levels(folder, files, skip_bad_records), reverse=True)


def _find_files(folder: Path) -> list[Path]:
    """The record files of a data set.

    Raises:
        UserError: there are none, or they are still being written.
    """
    files = sorted(folder.glob("[!.]*.tfrecords")) if folder.is_dir() else []
    if folder.is_dir() and is_incomplete(folder):
        raise UserError(
            f"{folder} is incomplete: the command that makes it still runs or was interrupted;"
            " wait for it or run it again"
        )
    if not files:
        raise _missing(folder)
    return files


def _find_levels(
    folder: Path, files: list[Path], skip_bad_records: bool
) -> dict[int, tuple[Path, int]]:
    """By resolution: the file and the number of channels."""
    levels: dict[int, tuple[Path, int]] = {}
    for path in files:
        channels, size = _read_shape(path, skip_bad_records)
        if size in levels:
            raise UserError(
                f"{folder} holds two files of {size}x{size} images, {levels[size][0].name} and "
                f"{path.name}: which is meant? put each into a folder of its own"
            )
        levels[size] = (path, channels)
    return levels


def _open_shards(
    folder: Path,
    name: str,
    description: Description,
    resolution: int | None,
    skip_bad_records: bool,
) -> Dataset:
    """Opens a data set of the project's own layout."""
    height, width, channels = description.shape
    if height != width or not is_valid_resolution(height) or channels not in (1, 3):
        raise UserError(f"{folder} claims images of {width}x{height}x{channels}; make it anew")
    if resolution not in (None, height):
        raise _no_resolution(folder, resolution, [height])
    records = ShardedRecords(folder, description)
    if not skip_bad_records:
        records.check_lengths()
        if parse(records.read(0)).shape != (channels, height, width):
            raise UserError(f"{records.path} is not that of its images; make the data set anew")
    return _dataset(name, records, height, channels, skip_bad_records)


def _dataset(
    name: str, records: AnyRecords, resolution: int, channels: int, skip_bad_records: bool
) -> Dataset:
    skipped: list[int] = []
    if skip_bad_records:
        skipped = _find_bad(records, (resolution, resolution, channels))
    numbers = np.setdiff1d(np.arange(len(records)), skipped)
    if not len(numbers):
        raise UserError(
            f"{records.path} holds no record that is an image and not damaged; copy the file or"
            " create the data set again"
        )
    count = len(numbers)
    return Dataset(
        name, records.path, resolution, channels, count, tuple(skipped), records, numbers
    )


def _no_resolution(folder: Path, resolution: int | None, levels: Iterable[int]) -> UserError:
    known = ", ".join(str(size) for size in sorted(levels))
    return UserError(f"data set {folder} has no resolution {resolution}; it has: {known}")


def _missing(folder: Path) -> UserError:
    problem = f"{folder} holds no *.tfrecords files"
    if not folder.is_dir():
        problem = f"there is no data set {folder}"
        parent = folder.parent
        if not parent.is_dir():
            problem += f" (no folder {parent} either)"
        else:
            folders = {file.parent for file in parent.glob("*/[!.]*.tfrecords")}
            names = sorted(path.name for path in folders if not is_incomplete(path))
            problem += f" ({parent} has: {', '.join(names) or 'none'})"
    return UserError(
        f"{problem}; make it with: python3 dataset_tool.py create_from_images {folder} IMAGE_DIR"
    )


def _read_shape(path: Path, skip_bad_records: bool) -> tuple[int, int]:
    """Channels and size in pixels of the images in a file, from its first (good) record."""
    records = RecordFile(path, limit=None if skip_bad_records else 1)
    if records.status().st_size == 0:
        raise UserError(f"{path} is empty; copy it or create the data set again")
    shape = _first_shape(records, skip_bad_records)
    channels, height, width = shape
    if height != width or not is_valid_resolution(height):
        raise UserError(
            f"{path} holds images of {width}x{height} pixels: they must be square and a power of"
            " two in size; create the data set again with dataset_tool.py --resolution"
        )
    if channels not in (1, 3):
        raise UserError(f"{path} holds images of {channels} channels; 1 and 3 are supported")
    return channels, height


def _first_shape(records: AnyRecords, skip_bad_records: bool) -> tuple[int, ...]:
    """Shape (C,H,W) of the first record that is an image; of the first record, if none is skipped.

    Raises:
        UserError: that record is damaged or no image, or there is no good one.
    """
    for number in range(len(records)):
        try:
            stored = parse(records.read(number))
        except DamagedRecordError:
            if not skip_bad_records:
                raise
            continue
        if stored.is_image:
            return stored.shape
        if not skip_bad_records:
            raise UserError(
                f"{records.path}: record {number} is not an image (shape {list(stored.shape)},"
                f" {len(stored.data)} bytes of data); use a data set that dataset_tool.py made"
            )
    if not skip_bad_records:
        raise records.damage(0)
    raise UserError(
        f"{records.path} holds no record that is an image and not damaged; copy the file or create"
        " the data set again"
    )


def _fill_from(records: AnyRecords, number: int, image: np.ndarray) -> None:
    """Puts the image of a record into an array, uint8 [H,W,C].

    Raises:
        DamagedRecordError: the record is damaged, or holds something else.
        UserError: the file cannot be read.
    """
    stored = parse(records.read(number))
    try:
        stored.fill(image)
    except ValueError as error:
        height, width, channels = image.shape
        raise DamagedRecordError(
            f"record {number} (counting from 0) of {records.path} holds {len(stored.data)} bytes of"
            f" shape {list(stored.shape)} where {[channels, height, width]} is expected; create the"
            " data set again"
        ) from error


def _find_bad(records: AnyRecords, shape: tuple[int, ...]) -> list[int]:
    """Numbers of the records that are no good images of this shape, [H,W,C]; stderr is told too."""
    bad = []
    image = np.empty(shape, np.uint8)
    numbers = range(len(records))
    for number in tqdm(numbers, f"Checking {records.path}", file=sys.stderr, disable=None):
        try:
            _fill_from(records, number, image)
        except DamagedRecordError:
            bad.append(number)
    total = len(records)
    if records.tail is not Tail.NOTHING:
        bad.append(total)
        total += 1
    if bad:
        named = ", ".join(str(number) for number in bad[:NAMED_RECORDS])
        if len(bad) > NAMED_RECORDS:
            named += ", ..."
        if records.tail is Tail.UNKNOWN:
            named += f" and all records behind {bad[-1]}, which cannot be found"
        print(
            f"warning: {records.path}: skipped {len(bad)} of {total} records that are truncated or"
            f" damaged: {named}",
            file=sys.stderr,
        )
    return bad
