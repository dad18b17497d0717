"""Makes a data set of source images on all cores, and accounts for every one of them."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dnnlib.ahead import map_ahead, num_cores
from dnnlib.atomic import open_atomic
from dnnlib.child_processes import ChildProcesses
from dnnlib.errors import Terminated, UserError
from dnnlib.format import printable
from dnnlib.images import UnreadableImageError
from dnnlib.interrupts import Interrupts, interrupts
from training.data.making import Made, Prepare, Raw, Recipe, make_images
from training.data.sources import ImageSource
from training.data.writer import DatasetWriter

SHOWN = 20  # so many bad images are named on stderr; all are in the report
_LABELS = 10_000  # that are in memory at a time
CHECKPOINT_SECONDS = 20  # of work that a kill may cost; Ctrl-C costs none
# Threads share Python's lock, which keeps about five cores busy; processes take a second to start.
THREADS = 4  # workers up to which they are threads
PROCESSES = 1000  # images up to which they are threads in any case
PIECE = 16  # images, and pixels of them, that are made one after another at most
PIECE_PIXELS = 1 << 18
HOPELESS = 100  # so many bad ones at the beginning end the command: the flags do not fit
# Called in order with (width, height) of every prepared image; an UnreadableImageError leaves it
# out. When work goes on, it is called first with the size of the images that are there.
Check = Callable[[tuple[int, int]], None]


@dataclass(frozen=True)
class BuildOptions:
    """How a data set is made.

    Attributes:
        mode: "RGB" or "L", which all images become.
        lods: the published layout with all resolutions, in place of the project's own.
        workers: that decode, resize and encode: threads, or, of more than THREADS, processes; 0:
            one per core. The result does not depend on it.
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
    images_per_second: float = 0.0  # of this process
    left_out: Counter[str] = field(default_factory=Counter)  # by kind
    notes: Counter[str] = field(default_factory=Counter)  # by kind, of images that are in
    first_bad: str = ""  # name and reason
    report: Path | None = None


class _Account:
    """What became of the images so far. It goes on where an interrupted command has stopped.

    Attributes:
        position: images of the order that are accounted for.
        summary: of them.
        is_lost: there will be no data set; only bad images are looked for.
        is_hopeless: not even that.
    """

    def __init__(self, writer: DatasetWriter, options: BuildOptions) -> None:
        state = writer.state
        self._writer = writer
        self._options = options
        self._lines = writer.beside("report")  # what the report will be
        self._kept = writer.beside("kept")  # int64: numbers of the images that are in
        self._saved = time.monotonic()
        self.position: int = state.get("position", 0)
        self.summary = Summary(
            left_out=Counter(state.get("left_out", {})),
            notes=Counter(state.get("notes", {})),
            first_bad=state.get("first_bad", ""),
        )

    @property
    def is_lost(self) -> bool:
        return bool(self.summary.left_out) and not self._options.skip_bad

    @property
    def is_hopeless(self) -> bool:
        bad = self.summary.left_out.total()
        return self.is_lost and bad == self.position == HOPELESS

    def keep(self, number: int, made: Made) -> None:
        """The image is in the data set."""
        for note in made.notes:
            self.summary.notes[note] += 1
            self._report(made.name, note, used=True)
        self._kept.write(number.to_bytes(8, sys.byteorder))

    def leave_out(self, name: str, error: UnreadableImageError) -> None:
        """The image is not in it, which stderr is told of the first ones."""
        self.summary.left_out[error.kind] += 1
        self._report(name, error.kind, used=False, reason=str(error))
        number = self.summary.left_out.total()
        if number == 1:
            self.summary.first_bad = f"{name}: {error}"
        if number <= SHOWN:
            action = "skipped" if self._options.skip_bad else "unusable"
            tqdm.write(printable(f"{action} {name}: {error}"), file=sys.stderr)
        elif number == SHOWN + 1:
            tqdm.write("further ones are listed in the report", file=sys.stderr)

    def save(self, interrupted: Interrupts) -> None:
        """Makes a checkpoint if one is due.

        Raises:
            Terminated, KeyboardInterrupt: SIGTERM or Ctrl-C has come.
        """
        due = time.monotonic() - self._saved > CHECKPOINT_SECONDS or interrupted.is_set
        is_saved = due and not self.is_lost and self._writer.num_images > 0
        if is_saved:
            summary = self.summary
            self._writer.checkpoint(
                {
                    "position": self.position,
                    "left_out": dict(summary.left_out),
                    "notes": dict(summary.notes),
                    "first_bad": summary.first_bad,
                }
            )
            self._saved = time.monotonic()
        if not interrupted.is_set:
            return
        if is_saved:
            print(f"stopped; the same command goes on with {self._writer.folder}", file=sys.stderr)
            if interrupted.signal == signal.SIGTERM:
                raise Terminated
        raise KeyboardInterrupt

    def finish(self) -> np.ndarray:
        """Writes the report, if there is anything in it.

        Returns:
            Numbers of the images that are in, in order: int64.
        """
        self._kept.flush()
        if self._lines.tell():
            self._lines.seek(0)
            self.summary.report = self._options.report
            with open_atomic(self._options.report) as target:
                shutil.copyfileobj(self._lines, target)
        self._kept.seek(0)
        return np.fromfile(self._kept, np.int64)

    def _report(self, name: str, kind: str, *, used: bool, reason: str | None = None) -> None:
        line = {"image": name, "kind": kind, "used": used}
        if reason is not None:
            line["reason"] = reason
        self._lines.write(json.dumps(line, ensure_ascii=True).encode() + b"\n")


def build(
    path: str | os.PathLike[str],
    source: ImageSource,
    order: Sequence[int] | np.ndarray,
    prepare: Prepare,
    options: BuildOptions,
    check: Check | None = None,
) -> Summary:
    """Makes the data set `path` of the images `order` of a source; labels follow.

    Images are read, prepared and encoded by threads, or by processes that these have, a bounded
    number ahead, and written in their order. When a call was interrupted, the same one goes on
    where it was.

    Args:
        path: folder to make.
        source: of the images, and of labels for all of them.
        order: numbers of the images to take.
        prepare: what is done with each; called in other processes.
        options: the rest.
        check: of the sizes.

    Raises:
        UserError: an image cannot be used, without `skip_bad`; none can; the disk fails; what was
            begun has other settings.
        Terminated, KeyboardInterrupt: after SIGTERM or Ctrl-C.
    """
    start = time.perf_counter()
    lods = options.lods
    settings = options.made | {"mode": options.mode, "lods": lods, "skip_bad": options.skip_bad,
                               "images": source.identity(order)}  # fmt: skip
    with DatasetWriter(
        path, lods=lods, compress=not lods, made=options.made, settings=settings
    ) as writer:
        account = _Account(writer, options)
        first = account.position
        if first:
            note = f"going on with {writer.folder}: {first} of {len(order)} images are done"
            print(note, file=sys.stderr)
            if check is not None and writer.shape is not None:
                check((writer.shape[1], writer.shape[0]))
        _write_images(writer, account, source, order, prepare, options, check)
        kept = account.finish()
        summary = account.summary
        _refuse(source, account, len(order), writer, options.skip_bad)
        if source.labels is not None:
            parts = (kept[i : i + _LABELS] for i in range(0, len(kept), _LABELS))
            labels = source.labels
            writer.write_labels((labels[part] for part in parts), labels.shape[1])
    summary.shape, summary.num_images = writer.shape or (), writer.num_images
    summary.num_bytes = writer.num_bytes
    summary.images_per_second = (len(order) - first) / (time.perf_counter() - start)
    return summary


def _write_images(
    writer: DatasetWriter,
    account: _Account,
    source: ImageSource,
    order: Sequence[int] | np.ndarray,
    prepare: Prepare,
    options: BuildOptions,
    check: Check | None,
) -> None:
    """Writes the images that are still missing."""

    recipe = Recipe(options.mode, prepare, writer.encoding)
    children = ChildProcesses()
    workers = options.workers or num_cores()
    in_processes = workers > THREADS and len(order) - account.position > PROCESSES

    def make(piece: Sequence[int] | np.ndarray) -> list[tuple[int, Made]]:
        numbers = [int(number) for number in piece]
        names = [source.names[number] for number in numbers]
        found = [_fetch(source, number) for number in numbers]
        if in_processes:
            made = children.call(make_images, recipe, names, found)
        else:
            made = make_images(recipe, names, found)
        return list(zip(numbers, made, strict=True))

    pieces = _pieces(order, account.position, workers, writer)
    with (
        children,
        ThreadPoolExecutor(workers, "build") as pool,
        interrupts() as interrupted,
        tqdm(total=len(order), initial=account.position, unit="image", file=sys.stderr,
             disable=None) as bar,
        contextlib.closing(map_ahead(make, pieces, pool, 2 * workers)) as found,
    ):  # fmt: skip
        for number, made in itertools.chain.from_iterable(found):
            try:
                if made.error is not None:
                    raise made.error
                if check is not None:
                    check((made.shape[1], made.shape[0]))
            except UnreadableImageError as error:
                account.leave_out(made.name, error)
            else:
                if not account.is_lost:
                    writer.write(made.records, made.shape)
                account.keep(number, made)
            account.position += 1
            bar.update()
            if account.is_hopeless:
                break
            account.save(interrupted)


def _fetch(source: ImageSource, number: int) -> Raw | UnreadableImageError:
    try:
        return source.fetch(number)
    except UnreadableImageError as error:
        return error


def _pieces(
    order: Sequence[int] | np.ndarray, place: int, workers: int, writer: DatasetWriter
) -> Iterator[Sequence[int] | np.ndarray]:
    """Parts of the order from a place on, each for one worker.

    Handing an image to a worker costs as much as making a tiny one, so these go several at a time;
    of large ones, and of few, each goes alone.
    """
    while place < len(order):
        height, width = (writer.shape or (PIECE_PIXELS, 1))[:2]
        size = min(PIECE, PIECE_PIXELS // (height * width), (len(order) - place) // (4 * workers))
        yield order[place : place + max(size, 1)]
        place += max(size, 1)


def _refuse(
    source: ImageSource, account: _Account, num_asked: int, writer: DatasetWriter, skip_bad: bool
) -> None:
    """Ends the command if images cannot be used and are not to be skipped, or if none is left."""
    summary, seen = account.summary, account.position
    bad = summary.left_out
    if not bad or (skip_bad and writer.num_images):
        return
    writer.give_up()
    what = f"{seen} files" if seen == num_asked else f"the first {seen} of {num_asked} files"
    what = f"{bad.total()} of {what} in {source.path} cannot be used ({counts(bad)})"
    listed = f"listed in {summary.report}, the first one, {summary.first_bad}"
    if skip_bad:
        raise UserError(f"{what}, {listed}")
    cure = "mend or remove them, or use --skip-bad to leave them out"
    if bad["too small"]:
        cure += ", or --allow-upscale for those that are too small"
    raise UserError(f"{what}, {listed}; {cure}")


def counts(kinds: Counter[str]) -> str:
    """`3 empty, 1 truncated`: the most frequent first, then by name."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
