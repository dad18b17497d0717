"""Source images, in a folder or a zip file, as 8-bit RGB or grey Pillow images."""

import io
import itertools
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dnnlib.errors import UserError

# What counts as an image file, in any case; Pillow reads all of these.
EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga"),
)


class UnreadableImageError(Exception):
    """A file that cannot become an image; the text is the reason, without the file's name."""


class ImageFolder:
    """The images of a folder (not its subfolders) or of a zip file (all of it).

    Use it as a context manager; a zip file stays open meanwhile.

    Attributes:
        path: the folder or zip file.
        names: sorted names of the image files; hidden files and other files are left out.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Lists the images.

        Raises:
            UserError: no such folder, not a zip file, or no image in it.
        """
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        try:
            if self.path.is_dir():
                candidates = [entry.name for entry in os.scandir(self.path) if entry.is_file()]
            elif self.path.is_file():
                self._zip = zipfile.ZipFile(self.path)
                candidates = self._zip.namelist()
            else:
                raise UserError(
                    f"{self.path} does not exist; give a folder or a .zip file that holds images"
                )
        except zipfile.BadZipFile as error:
            raise UserError(
                f"{self.path} is neither a folder nor a readable .zip file ({error}); give a"
                " folder or a .zip file that holds images"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror or error}; check its permissions"
            ) from error
        self.names = sorted(name for name in candidates if _is_image_name(name))
        if not self.names:
            raise UserError(f"no images in {self.path}; files must end in {' '.join(EXTENSIONS)}")

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *error: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def read(self, name: str) -> Image.Image:
        """Reads one image, see `decode_image`.

        Raises:
            UnreadableImageError: the file cannot be read or decoded.
        """
        try:
            if self._zip is not None:
                data = self._zip.read(name)
            else:
                data = (self.path / name).read_bytes()
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: encrypted
            raise UnreadableImageError(_one_line(error)) from error
        return decode_image(data)

    def read_all(
        self, names: Sequence[str]
    ) -> Iterator[tuple[str, Image.Image | UnreadableImageError]]:
        """Reads images in the order of `names`, several at once; a bad file yields its error."""

        def attempt(name: str) -> Image.Image | UnreadableImageError:
            try:
                return self.read(name)
            except UnreadableImageError as error:
                return error

        # Pillow decodes outside the interpreter lock, so threads help. Going by chunks bounds the
        # number of decoded images that wait in memory.
        remaining = iter(names)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            while chunk := list(itertools.islice(remaining, 64)):
                yield from zip(chunk, pool.map(attempt, chunk), strict=True)


def _is_image_name(name: str) -> bool:
    path = PurePosixPath(name)
    if path.suffix.lower() not in EXTENSIONS or name.endswith("/"):
        return False
    return not path.name.startswith(".") and path.parts[0] != "__MACOSX"


def decode_image(data: bytes) -> Image.Image:
    """Decodes an image file of any kind into an upright 8-bit RGB image.

    Grey levels are repeated, palettes and CMYK converted, transparent parts put on white, 16-bit
    values divided by 257 and rounded (Pillow itself truncates 16-bit colour), the EXIF
    orientation applied. Of an animation the first frame is taken.

    Args:
        data: contents of the file.

    Returns:
        Pillow image of mode "RGB".

    Raises:
        UnreadableImageError: damaged, truncated, or of a kind that has no such form.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            return _to_rgb(ImageOps.exif_transpose(file), file.format)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image that Pillow can read") from error
    except UnreadableImageError:
        raise
    # Decoders of damaged files raise whatever their parsing stumbles over: OSError, SyntaxError,
    # ValueError, struct.error, zlib.error, IndexError, DecompressionBombError and others.
    except Exception as error:
        raise UnreadableImageError(_one_line(error)) from error


def _to_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    # Pillow opens 16-bit PGM files as mode "I", and some versions 16-bit PNG files too.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        levels = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.rint(levels).clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"32-bit values (mode {image.mode}) have no defined range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def fit_square(image: Image.Image, resolution: int) -> Image.Image:
    """Crops the centre to a square and resizes it (Lanczos) to resolution x resolution pixels.

    An image that has this size already is returned unchanged.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:
        image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return image
