"""Image files as pixels: the one reader for data sets, for decoding, and for foreign images.

Whatever a file is called, its content tells the format, and only `FORMATS` are tried: none of their
readers starts other programs, as Pillow's EPS reader does. Each picture becomes 8-bit RGB, upright:
grey levels are repeated, palettes and CMYK converted, transparent parts put on white, 16-bit grey
divided by 257 and rounded (16-bit colour is cut to 8 bits by Pillow), the EXIF orientation applied;
of an animation the first frame is taken. 32-bit and floating-point values have no defined range and
are refused.
"""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")
MAX_PIXELS = 100_000_000  # larger pictures are refused before they are decoded
_WHOLE = 2**20  # bytes up to which a file is read at once, which is faster than in Pillow's pieces


class UnreadableImageError(Exception):
    """A file that cannot become an image; the text is the reason, without the file's name."""


def _suffixes() -> tuple[str, ...]:
    Image.init()
    by_format: dict[str, list[str]] = {kind: [] for kind in FORMATS}
    for suffix, kind in Image.registered_extensions().items():
        by_format.get(kind, []).append(suffix)
    return tuple(suffix for found in by_format.values() for suffix in found)


SUFFIXES = _suffixes()  # what names of image files end in, in lower case; the dot included


def is_image_name(name: str) -> bool:
    """Whether a file is, by the ending of its name, one that can be read."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


class _WithoutWarnings:
    """Pillow's warnings: of odd metadata, which does no harm, and of size, which is looked at here.

    Filters belong to the process: `warnings.catch_warnings` alone, in several threads, may leave
    the wrong ones behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_quietly = _WithoutWarnings()


def read_picture(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Reads an image file; the module says what becomes of its pixels.

    Args:
        source: path, or the file's content.
        max_pixels: more are refused before they are decoded; at most MAX_PIXELS.

    Returns:
        Pillow image of mode "RGB".

    Raises:
        UnreadableImageError: missing, damaged, truncated, larger than `max_pixels`, or of a kind
            that has no such form.
    """
    try:
        size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        if not size:
            raise UnreadableImageError("the file is empty")
        if not isinstance(source, bytes) and size <= _WHOLE:
            source = Path(source).read_bytes()
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with _quietly, Image.open(file, formats=FORMATS) as picture:
            _check_size(picture.size, min(max_pixels, MAX_PIXELS))
            picture.load()
            kind = picture.format
            ImageOps.exif_transpose(picture, in_place=True)  # a new picture is copied once more
            return _to_rgb(picture, kind)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image that Pillow can read") from error
    except UnreadableImageError:
        raise
    # Decoders of damaged files raise whatever their parsing stumbles over: OSError, SyntaxError,
    # ValueError, struct.error, zlib.error, IndexError, DecompressionBombError and others.
    except Exception as error:
        raise UnreadableImageError(_one_line(error)) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnreadableImageError(
            f"claims {width}x{height} pixels, more than {max_pixels / 10**6:g} million; not "
            "decoded, scale it down if it is genuine"
        )


def _to_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    # Pillow opens 16-bit PGM files as mode "I", and some versions 16-bit PNG files too.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.float64)
        levels = np.rint(values / 257).clip(0, 255)
        # One level that stands for transparent; of 8 bits Pillow converts it itself.
        levels[values == image.info.get("transparency")] = 255
        image = Image.fromarray(levels.astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"32-bit pixels (mode {image.mode}) have no defined range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
