"""Image files for the decoder: finding them, and reading many of them."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import is_file, is_folder, read_names
from dnnlib.format import printable
from dnnlib.images import UnreadableImageError, is_image_name, read_picture
from fingerprints.image_manifest import FILE_NAME, locate

_GRID = "grid.png"  # what generate-images --grid writes beside the images of an instance


def find_images(arguments: Sequence[str]) -> list[Path]:
    """The files that files, patterns and folders stand for; none of them is opened.

    Args:
        arguments: image files, patterns such as `out/*.png`, or folders: the images that the
            folder's fingerprints.jsonl lists, or every image of a folder that has none.

    A file that is not there does not end the work on the others: reading it gives its error.

    Raises:
        UserError: none of the files is there, or a pattern or folder gives none.
    """
    paths: list[Path] = []
    for argument in arguments:
        found = _images_of(argument)
        if not found:
            raise UserError(f"{argument}: there are no images; name image files or their folder")
        paths += found
    if paths and not any(is_file(path) for path in paths):
        raise UserError(f"{paths[0]}: no such file; name image files or their folder")
    return paths


def _images_of(argument: str) -> list[Path]:
    path = Path(argument)
    if is_folder(path):
        return _images_in(path)
    if is_file(path) or not glob.has_magic(argument):
        return [path]
    if is_folder(path.parent):  # whose name may have brackets of its own
        argument = os.path.join(glob.escape(str(path.parent)), path.name)
    return [Path(name) for name in sorted(glob.glob(argument, recursive=True))]


def read_list(path: str) -> list[str]:
    """Names of files, one a line, from a text file; `-` reads standard input.

    Raises:
        UserError: it cannot be read, or holds no name.
    """
    return read_names(path, "the list")


def _images_in(folder: Path) -> list[Path]:
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    images = [p for p in entries if is_image_name(p.name) and is_file(p)]
    if subfolders := [p for p in entries if is_folder(p)]:
        print(
            f"{printable(folder)}: its {len(subfolders)} subfolders are not looked into "
            f"({printable(subfolders[0].name)}{', ...' if len(subfolders) > 1 else ''})",
            file=sys.stderr,
        )
    if not (folder / FILE_NAME).is_file():
        if folder / _GRID in images and len(images) > 1:
            print(
                f"{printable(folder)}: left out {_GRID}, an overview of the others",
                file=sys.stderr,
            )
            images.remove(folder / _GRID)
        return images
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
    return listed


def read_image(path: Path, resolution: int, num_channels: int, *, resize: bool) -> np.ndarray:
    """Reads an image as uint8 [R,R,C] in the network's channels, see `dnnlib.images`.

    Raises:
        UserError: it cannot be read, or is of another size without `resize`.
    """
    try:
        picture = read_picture(path)
    except UnreadableImageError as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error
    if num_channels == 1:
        picture = picture.convert("L")
    if picture.size != (resolution, resolution):
        if not resize:
            width, height = picture.size
            raise UserError(
                f"{path}: {width}x{height} pixels, but the network decodes "
                f"{resolution}x{resolution}; --resize brings images to that size"
            )
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(resolution, resolution, num_channels)


def read_batches(
    paths: Sequence[Path], resolution: int, num_channels: int, *, resize: bool, minibatch: int
) -> Iterator[tuple[list[Path | UserError], np.ndarray]]:
    """Reads many files, some of which may be damaged, a batch at a time.

    Yields:
        For up to `minibatch` files, in order: the path of each, or the error if it cannot be read;
        and the images of those that can, uint8 [M,R,R,C].
    """
    for start in range(0, len(paths), minibatch):
        outcomes: list[Path | UserError] = []
        images = []
        for path in paths[start : start + minibatch]:
            try:
                images.append(read_image(path, resolution, num_channels, resize=resize))
                outcomes.append(path)
            except UserError as error:
                outcomes.append(error)
        shape = (len(images), resolution, resolution, num_channels)
        yield outcomes, np.array(images, dtype=np.uint8).reshape(shape)


def source_of(path: Path) -> str:
    """The picture that an image was cut from: its path without `-cropNN` at the end of the name.

    Crops of one picture are not independent of each other.
    """
    return str(path.with_name(re.sub(r"-crop\d+$", "", path.stem)))
