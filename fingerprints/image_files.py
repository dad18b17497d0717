"""Image files for the decoder: finding them, and reading many of them."""

import glob
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dnnlib.ahead import map_ahead, num_cores
from dnnlib.errors import UserError
from dnnlib.files import is_file, is_folder, read_names
from dnnlib.format import printable
from dnnlib.images import UnreadableImageError, is_image_name, read_picture
from fingerprints.image_manifest import FILE_NAME, locate

_SMALL = 2**20  # bytes of a file that `decode_many` is given, at most
_GRID = "grid.png"  # what generate-images --grid writes beside the images of an instance


def find_images(arguments: Sequence[str], *, recursive: bool = False) -> list[Path]:
    """The files that files, patterns and folders stand for; none of them is opened.

    Args:
        arguments: image files, patterns such as `out/*.png`, or folders: the images that the
            folder's fingerprints.jsonl lists, or every image of a folder that has none.
        recursive: look into the folders below folders too, each by the same rule; not into links
            to folders. Each file then comes once.

    A file that is not there does not end the work on the others: reading it gives its error.

    Raises:
        UserError: none of the files is there, or a pattern or folder gives none.
    """
    paths: list[Path] = []
    for argument in arguments:
        found = _images_of(argument, recursive)
        if not found:
            raise UserError(f"{argument}: there are no images; name image files or their folder")
        paths += found
    if paths and not any(is_file(path) for path in paths):
        raise UserError(f"{paths[0]}: no such file; name image files or their folder")
    return paths


def _images_of(argument: str, recursive: bool) -> list[Path]:
    path = Path(argument)
    if is_folder(path):
        # What a manifest lists may lie in a folder below its own.
        return list(dict.fromkeys(_images_below(path))) if recursive else _images_in(path)[0]
    if is_file(path) or not glob.has_magic(argument):
        return [path]
    if is_folder(path.parent):  # whose name may have brackets of its own
        argument = os.path.join(glob.escape(str(path.parent)), path.name)
    return [Path(name) for name in sorted(glob.glob(argument, recursive=True))]


def _images_below(folder: Path) -> Iterator[Path]:
    images, subfolders = _images_in(folder, mention=False)
    yield from images
    for subfolder in subfolders:
        if not subfolder.is_symlink():
            yield from _images_below(subfolder)


def read_list(path: str) -> list[str]:
    """Names of files, one a line, from a text file; `-` reads standard input.

    Raises:
        UserError: it cannot be read, or holds no name.
    """
    return read_names(path, "the list")


def _images_in(folder: Path, *, mention: bool = True) -> tuple[list[Path], list[Path]]:
    """The images of a folder, and the folders in it, which stderr mentions; both sorted."""
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
    images = [folder / e.name for e in visible if is_image_name(e.name) and _is_file(e)]
    subfolders = [folder / e.name for e in visible if not _is_file(e) and is_folder(e.path)]
    if mention and subfolders:
        print(
            f"{printable(folder)}: its {len(subfolders)} subfolders are not looked into "
            f"({printable(subfolders[0].name)}{', ...' if len(subfolders) > 1 else ''}); "
            "--recursive does",
            file=sys.stderr,
        )
    if not (folder / FILE_NAME).is_file():
        if folder / _GRID in images and len(images) > 1:
            print(
                f"{printable(folder)}: left out {_GRID}, an overview of the others",
                file=sys.stderr,
            )
            images.remove(folder / _GRID)
        return images, subfolders
    listed = [entry.path for entry in locate(folder / FILE_NAME)]
    known = frozenset(listed)
    others = [path.name for path in images if path not in known]
    if others:
        print(
            f"{printable(folder)}: left out {len(others)} that {FILE_NAME} does not list "
            f"({printable(others[0])}"
            f"{', ...' if len(others) > 1 else ''})",
            file=sys.stderr,
        )
    return listed, subfolders


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()  # most file systems say so without a look at the file
    except OSError:
        return False


def read_image(path: Path, resolution: int, num_channels: int, *, resize: bool) -> np.ndarray:
    """Reads an image as uint8 [R,R,C] in the network's channels, see `dnnlib.images`.

    Raises:
        UserError: it cannot be read, or is of another size without `resize`.
    """
    try:
        picture = read_picture(path)
    except UnreadableImageError as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error
    if picture.size != (resolution, resolution) and not resize:
        width, height = picture.size
        raise UserError(
            f"{path}: {width}x{height} pixels, but the network decodes "
            f"{resolution}x{resolution}; --resize brings images to that size"
        )
    return to_pixels(picture, resolution, num_channels)


def to_pixels(picture: Image.Image, resolution: int, num_channels: int) -> np.ndarray:
    """A picture of mode "RGB" as uint8 [R,R,C]; of another size, it is resized (Lanczos)."""
    if num_channels == 1:
        picture = picture.convert("L")
    if picture.size != (resolution, resolution):
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(resolution, resolution, num_channels)


class ImageBatch(NamedTuple):
    """Some files that were read, or not."""

    outcomes: list[Path | UserError]  # of each file, in order
    images: np.ndarray  # uint8 [M,R,R,C], of those that could be read


def read_batches(
    paths: Sequence[str | os.PathLike[str]],
    resolution: int,
    num_channels: int,
    *,
    resize: bool,
    minibatch: int,
    threads: int | None = None,
    decode_many: Callable[[Sequence[bytes]], np.ndarray | None] | None = None,
) -> Generator[ImageBatch, None, None]:
    """Reads many files, some of which may be damaged, a batch at a time, ahead and in threads.

    Args:
        paths: the files.
        resolution: R of `read_image`.
        num_channels: C.
        resize: as in `read_image`.
        minibatch: files of a batch, at most.
        threads: that read, each a batch of its own (default: one per core); one batch more than
            there are threads waits until it is asked for.
        decode_many: contents of files -> uint8 [M,R,R,C], the pixels of `read_image`; None where
            one of them needs `read_image`. It may be faster.

    Yields:
        The batches, in order. The error of a file that cannot be read stands for it.
    """
    threads = threads or num_cores()

    def read(start: int) -> ImageBatch:
        part = list(map(Path, paths[start : start + minibatch]))
        if decode_many is not None:
            contents = _small_contents(part)
            decoded = None if contents is None else decode_many(contents)
            if decoded is not None:
                return ImageBatch([*part], decoded)
        outcomes: list[Path | UserError] = []
        images = []
        for path in part:
            try:
                images.append(read_image(path, resolution, num_channels, resize=resize))
                outcomes.append(path)
            except UserError as error:
                outcomes.append(error)
        shape = (len(images), resolution, resolution, num_channels)
        return ImageBatch(outcomes, np.array(images, dtype=np.uint8).reshape(shape))

    with ThreadPoolExecutor(threads, "read") as pool:
        yield from map_ahead(read, range(0, len(paths), minibatch), pool, threads)


def _small_contents(paths: Sequence[Path]) -> list[bytes] | None:
    """What is in files; None where one of them is large or cannot be read."""
    contents = []
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                content = file.read(_SMALL + 1)
        except OSError:
            return None
        if content is None or len(content) > _SMALL:
            return None
        contents.append(content)
    return contents


def source_of(path: Path) -> str:
    """The picture that an image was cut from: its path without `-cropNN` at the end of the name.

    Crops of one picture are not independent of each other.
    """
    return str(path.with_name(re.sub(r"-crop\d+$", "", path.stem)))
