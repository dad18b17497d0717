"""Makes a data set of source images on all cores, and accounts for every one of them."""

import json
import os
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.ahead import map_ahead, num_cores
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import printable
from dnnlib.images import Origin, UnreadableImageError
from training.data.sources import ImageSource
from training.data.writer import DatasetWriter, is_valid_resolution

SHOWN = 20  # so many bad images are named on stderr; all are in the report
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B")

# Name, image, and a list for what is to be said of it -> the image that is stored. An
# UnreadableImageError leaves it out.
Prepare = Callable[[str, Image.Image, list[str]], Image.Image]


@dataclass(frozen=True)
class BuildOptions:
    """How a data set is made.

    Attributes:
        mode: "RGB" or "L", which all images become.
        lods: the published layout with all resolutions, in place of the project's own.
        workers: threads that decode, resize and encode; 0: one per core. The result does not
            depend on it.
        skip_bad: leave out what cannot be used; otherwise it makes the command fail.
        report: where bad and noteworthy images are listed, if there are any.
        made: what `dataset.json` says of how the data set was made.
    """

    mode: str
    lods: bool
    workers: int
    skip_bad: bool
    report: Path
    made: dict[str, Any] = field(default_factory=dict)


@dataclass
class Summary:
    """What became of the images."""

    num_images: int = 0
    shape: tuple[int, ...] = ()
    num_bytes: int = 0
    seconds: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)  # by kind
    notes: Counter[str] = field(default_factory=Counter)  # by kind, of images that are in
    report: Path | None = None


@dataclass
class _Made:
    """What a thread makes of one image."""

    name: str
    shape: tuple[int, ...] = ()
    records: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: UnreadableImageError | None = None


class _Report:
    """Lines of JSON that wait in a nameless file until all images are seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._num_lines = 0

    def add(self, name: str, kind: str, *, used: bool, reason: str | None = None) -> None:
        line = {"image": name, "kind": kind, "used": used}
        if reason is not None:
            line["reason"] = reason
        self._file.write(json.dumps(line, ensure_ascii=True) + "\n")
        self._num_lines += 1

    def finish(self) -> Path | None:
        """Writes the file if there is anything in it."""
        with self._file:
            if not self._num_lines:
                return None
            self._file.seek(0)
            with open_atomic(self._path, "w", encoding="utf-8") as target:
                for line in self._file:
                    target.write(line)
        return self._path


def build(
    path: str | os.PathLike[str],
    source: ImageSource,
    order: Sequence[int] | np.ndarray,
    prepare: Prepare,
    options: BuildOptions,
    check: Callable[[str, tuple[int, int]], None] | None = None,
) -> Summary:
    """Makes the data set `path` of the images `order` of a source; labels follow.

    Images are read, prepared and encoded by threads, a bounded number of them ahead, and written
    in their order.

    Args:
        path: folder to make.
        source: of the images, and of labels for all of them.
        order: numbers of the images to take.
        prepare: called by threads.
        options: the rest.
        check: called in order with name and (width, height) of every prepared image; raises
            UserError for one that does not fit.

    Raises:
        UserError: an image cannot be used, without `skip_bad`; none can; the disk fails.
    """
    summary = Summary()
    report = _Report(options.report)
    kept = array("q")
    start = time.perf_counter()
    workers = options.workers or num_cores()
    with DatasetWriter(
        path, lods=options.lods, compress=not options.lods, made=options.made
    ) as writer:

        def make(number: int) -> _Made:
            return _make(source, int(number), prepare, options.mode, writer)

        with ThreadPoolExecutor(workers, "build") as pool:
            found = map_ahead(make, order, pool, 2 * workers)
            bar = tqdm(found, total=len(order), unit="image", file=sys.stderr, disable=None)
            for number, made in zip(order, bar, strict=True):
                _account(made, summary, report, options.skip_bad)
                if made.error is not None or (summary.left_out and not options.skip_bad):
                    continue  # the data set is lost already: only look for more bad files
                if check is not None:
                    check(made.name, (made.shape[1], made.shape[0]))
                writer.write(made.records, made.shape)
                kept.append(int(number))
        summary.report = report.finish()
        _refuse(source, len(order), len(kept), summary, options.skip_bad)
        if source.labels is not None:
            writer.add_labels(source.labels[np.array(kept)])
    summary.shape, summary.num_images = writer.shape or (), len(kept)
    summary.num_bytes = writer.num_bytes
    summary.seconds = time.perf_counter() - start
    return summary


def _make(
    source: ImageSource, number: int, prepare: Prepare, mode: str, writer: DatasetWriter
) -> _Made:
    made = _Made(source.names[number])
    try:
        image, origin = source.read(number)
        _note(made, origin, mode)
        image = prepare(made.name, image, made.notes)
    except UnreadableImageError as error:
        made.error = error
        return made
    pixels = np.asarray(image.convert(mode))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    made.shape = pixels.shape
    if pixels.shape[0] == pixels.shape[1] and is_valid_resolution(pixels.shape[0]):
        made.records = writer.encode(pixels)
    return made


def _note(made: _Made, origin: Origin, mode: str) -> None:
    """Notes what a file was, if that is not what its name or the data set says."""
    if origin.format is None:
        return
    suffix = os.path.splitext(made.name)[1].lower()
    if Image.registered_extensions().get(suffix, origin.format) != origin.format:
        made.notes.append("wrong extension")
    if (origin.mode in GREY_MODES) != (mode == "L"):
        made.notes.append("colour made grey" if mode == "L" else "grey made colour")


def _account(made: _Made, summary: Summary, report: _Report, skip_bad: bool) -> None:
    for note in made.notes if made.error is None else []:
        summary.notes[note] += 1
        report.add(made.name, note, used=True)
    if made.error is None:
        return
    summary.left_out[made.error.kind] += 1
    report.add(made.name, made.error.kind, used=False, reason=str(made.error))
    number = summary.left_out.total()
    if number <= SHOWN:
        action = "skipped" if skip_bad else "unusable"
        tqdm.write(printable(f"{action} {made.name}: {made.error}"), file=sys.stderr)
    elif number == SHOWN + 1:
        tqdm.write("further ones are listed in the report", file=sys.stderr)


def _refuse(
    source: ImageSource, num_asked: int, num_kept: int, summary: Summary, skip_bad: bool
) -> None:
    """Ends the command if images cannot be used and are not to be skipped, or if none is left."""
    if not summary.left_out:
        return
    kinds = counts(summary.left_out)
    if not skip_bad:
        cure = "mend or remove them, or use --skip-bad to leave them out"
        if summary.left_out["too small"]:
            cure += ", or --allow-upscale for those that are too small"
        raise UserError(
            f"{summary.left_out.total()} of {num_asked} files in {source.path} cannot be used"
            f" ({kinds}), listed in {summary.report}; {cure}"
        )
    if not num_kept:
        raise UserError(
            f"none of the {num_asked} files in {source.path} can be used ({kinds}), see"
            f" {summary.report}"
        )


def counts(kinds: Counter[str]) -> str:
    """`3 empty, 1 truncated`: the most frequent first, then by name."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
