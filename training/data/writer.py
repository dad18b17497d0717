"""Writes TFRecord data sets, in the published layout or in the project's own.

Published: a folder `<dir>/` with one file `<dir>-rNN.tfrecords` per resolution 2**NN. Ours: one
resolution, in files `<dir>-rNN-00000.tfrecords` and so on of a bounded size, and `dataset.json`
(`description`). `stored_image` says what a record is. Labels, where there are any, are a NumPy
array in `<dir>-rxx.labels` in both.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from PIL import Image

from dnnlib.atomic import folder_atomic
from dnnlib.errors import UserError
from training.data.description import Description, Shard
from training.data.encoding import MIN_RESOLUTION, Encoding
from training.data.records import RecordWriter
from training.data.unfinished import JOURNAL, PartOfFile, Progress, read_progress

SHARD_BYTES = 256 << 20  # so that files can be copied, checked and mended one by one


class DatasetWriter:
    """Context manager that writes a data set; it appears complete or not at all.

    Everything goes to a temporary folder beside `path`, renamed when the block succeeds. What
    killed processes have left of it is removed, see `folder_atomic`; with `settings`, work goes on
    behind the last `checkpoint`, and the files become what they had become without a stop.

    Attributes:
        path: the folder of the data set.
        folder: where it is made, within the block.
        encoding: of the records; used by whoever makes them elsewhere.
        shape: H, W, C of the images; None before the first.
        num_images: images added so far.
        num_bytes: size of the finished data set, known after the block.
        state: what the checkpoint was given that the work goes on behind; empty where it begins.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lods: bool = False,
        compress: bool = False,
        shard_bytes: int = SHARD_BYTES,
        made: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            path: folder to make; it must not exist, or be empty.
            lods: write every resolution down to 4x4, not only that of the images.
            compress: the project's own layout: one resolution, compressed without loss, in files
                of a bounded size, which `dataset.json` describes. Otherwise: as published.
            shard_bytes: with `compress`, a file that has so many bytes gets no further record.
            made: with `compress`, what `dataset.json` says of how the data set was made.
            settings: plain data, which must be the same for work to go on with what `checkpoint`
                kept of an earlier block; None: nothing is kept.
        """
        self.encoding = Encoding(lods, compress)
        self.path = Path(os.path.abspath(path))
        self.num_images = 0
        self.num_bytes = 0
        self._shard_bytes = shard_bytes
        self._made = made or {}
        self._settings = settings
        self.state: dict[str, Any] = {}
        self.shape: tuple[int, ...] | None = None
        self._files: list[RecordWriter] = []
        self._shards: list[Shard] = []
        self._beside: dict[str, IO[bytes]] = {}
        self._kept_beside: dict[str, int] = {}  # bytes, by name
        self._label_size = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "DatasetWriter":
        """
        Raises:
            UserError: `path` exists and is not an empty folder, or cannot be made; or what is there
                of it was made with other settings, or is damaged.
        """
        with contextlib.suppress(OSError):
            self.path.rmdir()  # succeeds only on an empty folder
        journal = None if self._settings is None else JOURNAL
        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(folder_atomic(self.path, journal=journal))
            stack.push(self._finish)
            if self._settings is not None:
                self._go_on(read_progress(self.folder, self._settings))
            self._stack = stack.pop_all()
        return self

    def _go_on(self, progress: Progress | None) -> None:
        if progress is None:
            return
        self.shape = progress.shape
        self.num_images = progress.num_images
        self.state = progress.state
        self._shards = progress.finished()
        self._kept_beside = progress.sizes()
        for part in progress.parts():
            self._files.append(
                RecordWriter(self.folder / part.name, keep=part.num_bytes, crc32c=part.crc32c)
            )

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
        if self.shape is not None and (image.shape != self.shape or image.dtype != np.uint8):
            raise ValueError(f"expected uint8 {self.shape}, got {image.dtype} {image.shape}")
        height, width, channels = image.shape
        if channels not in (1, 3):
            raise ValueError(f"images of shape {image.shape} cannot be stored")
        picture = Image.fromarray(image.squeeze(2) if channels == 1 else image)
        self.write(self.encoding.records(picture), image.shape)

    def write(self, records: list[bytes], shape: tuple[int, ...]) -> None:
        """Appends an image whose records `encoding` has made, one of this shape, [H,W,C].

        Raises:
            ValueError: another shape than that of the first.
            UserError: the disk is full or fails.
        """
        if self.shape is None:
            self.shape = shape
        if shape != self.shape:
            raise ValueError(f"expected uint8 {self.shape}, got {shape}")
        if self.encoding.compress and self._files and self._files[0].num_bytes >= self._shard_bytes:
            self._end_shard()
        if not self._files:
            self._open_files(shape[0])
        for file, record in zip(self._files, records, strict=True):
            file.write(record)
        self.num_images += 1

    def beside(self, name: str) -> IO[bytes]:
        """A file that goes on with the work, and is removed when the data set is complete.

        Open for reading and appending. What was written behind the last checkpoint is cut off.

        Args:
            name: of the file, one per name and writer.
        """
        name = f"{JOURNAL}-{name}"
        file = open(self.folder / name, "a+b")  # noqa: SIM115 - until `_finish`
        file.truncate(self._kept_beside.get(name, 0))
        file.seek(0, os.SEEK_END)
        self._beside[name] = file
        return file

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keeps what has been written, so that the work can go on from here.

        Args:
            state: plain data; `state` of the writer that goes on.

        Raises:
            UserError: the disk is full or fails.
        """
        assert self._settings is not None
        assert self.shape is not None
        for file in self._files:
            file.sync()
        for side in self._beside.values():
            side.flush()
            os.fsync(side.fileno())
        records = [PartOfFile(f.path.name, f.num_bytes, f.crc32c) for f in self._files]
        beside = [PartOfFile(name, file.tell()) for name, file in self._beside.items()]
        Progress(
            settings=self._settings,
            shape=self.shape,
            num_images=self.num_images,
            shards=tuple(dataclasses.asdict(shard) for shard in self._shards),
            records=tuple(dataclasses.asdict(part) for part in records),
            beside=tuple(dataclasses.asdict(part) for part in beside),
            state=state,
        ).write(self.folder)

    def give_up(self) -> None:
        """Forgets the checkpoint: nothing is kept of a data set that cannot become one."""
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def add_labels(self, labels: np.ndarray) -> None:
        """Stores labels, one row per image, in the order of the images; call it after the last.

        Raises:
            ValueError: not one row per image.
            UserError: the disk is full or fails.
        """
        if labels.ndim != 2 or len(labels) != self.num_images:
            raise ValueError(f"labels of shape {labels.shape} for {self.num_images} images")
        self.write_labels([labels], labels.shape[1])

    def write_labels(self, parts: Iterable[np.ndarray], width: int) -> None:
        """`add_labels` of labels [n,width] that come in parts, together one row per image."""
        header = {"descr": "<f4", "fortran_order": False, "shape": (self.num_images, width)}
        with open(self.folder / f"{self.path.name}-rxx.labels", "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part, "<f4").tobytes())
        self._label_size = width

    def _open_files(self, resolution: int) -> None:
        top = resolution.bit_length() - 1
        lowest = MIN_RESOLUTION.bit_length() - 1 if self.encoding.lods else top
        for log2 in range(top, lowest - 1, -1):
            name = f"{self.path.name}-r{log2:02d}"
            if self.encoding.compress:
                name += f"-{len(self._shards):05d}"
            self._files.append(RecordWriter(self.folder / f"{name}.tfrecords"))

    def _end_shard(self) -> None:
        (file,) = self._files
        if self._settings is not None:
            file.sync()  # it will not be written any more, and the next checkpoint names it
        file.close()
        count = self.num_images - sum(shard.num_images for shard in self._shards)
        self._shards.append(Shard(file.path.name, count, file.num_bytes, file.crc32c))
        self._files = []

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self.num_images == 0:
            raise ValueError(f"no images were added to {self.path}")
        if kind is None and self.encoding.compress:
            self._end_shard()
            assert self.shape is not None
            description = Description(
                shape=self.shape,
                num_images=self.num_images,
                label_size=self._label_size,
                shards=tuple(self._shards),
                made=self._made,
            )
            description.write(self.folder)
        for file in self._files:
            file.close()
        for side in self._beside.values():
            side.close()
        shown = [file for file in self.folder.iterdir() if not file.name.startswith(".")]
        self.num_bytes = sum(file.stat().st_size for file in shown)


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
