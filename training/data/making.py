"""What becomes of one source image: decoded, prepared and encoded; no more than a process needs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dnnlib.images import Origin, UnreadableImageError, quietly, read_picture_and_origin
from training.data.encoding import Encoding, is_valid_resolution

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B")

# An image file's content, or pixels: uint8 [H,W] or [H,W,3].
Raw = bytes | np.ndarray
# Name, image, and a list for what is to be said of it -> the image that is stored. An
# UnreadableImageError leaves it out. Other processes call it, so it has to be picklable.
Prepare = Callable[[str, Image.Image, list[str]], Image.Image]


@dataclass(frozen=True)
class Recipe:
    """How images are made.

    Attributes:
        mode: "RGB" or "L", which all images become.
        prepare: crops, resizes or refuses.
        encoding: of the records.
    """

    mode: str
    prepare: Prepare
    encoding: Encoding


@dataclass
class Made:
    """What became of one image."""

    name: str
    shape: tuple[int, ...] = ()
    records: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: UnreadableImageError | None = None


def make_images(
    recipe: Recipe, names: Sequence[str], found: Sequence[Raw | UnreadableImageError]
) -> list[Made]:
    """Makes images, one per name, of what was found under it."""
    with quietly:  # once, since entering it costs more than opening a small image
        return [_make(recipe, name, raw) for name, raw in zip(names, found, strict=True)]


def open_raw(raw: Raw) -> tuple[Image.Image, Origin]:
    """The picture, of mode "RGB" or "L", and what it was in its file.

    Raises:
        UnreadableImageError: no image, or one that cannot be used.
    """
    if isinstance(raw, bytes):
        return read_picture_and_origin(raw)
    image = Image.fromarray(np.ascontiguousarray(raw))
    return image, Origin(None, image.mode)


def _make(recipe: Recipe, name: str, raw: Raw | UnreadableImageError) -> Made:
    made = Made(name)
    mode = recipe.mode
    try:
        if isinstance(raw, UnreadableImageError):
            raise raw
        image, origin = open_raw(raw)
        _note(made, origin, mode)
        image = recipe.prepare(name, image, made.notes)
    except UnreadableImageError as error:
        made.error = error
        return made
    image = image if image.mode == mode else image.convert(mode)
    image.info = {}  # colour profiles and the like, which Pillow would store again
    made.shape = (image.height, image.width, len(image.getbands()))
    if image.width == image.height and is_valid_resolution(image.height):
        made.records = recipe.encoding.records(image)
    return made


def _note(made: Made, origin: Origin, mode: str) -> None:
    """Notes what a file was, if that is not what its name or the data set says."""
    if origin.format is None:
        return
    suffix = os.path.splitext(made.name)[1].lower()
    if Image.registered_extensions().get(suffix, origin.format) != origin.format:
        made.notes.append("wrong extension")
    if (origin.mode in GREY_MODES) != (mode == "L"):
        made.notes.append("colour made grey" if mode == "L" else "grey made colour")
