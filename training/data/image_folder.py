"""Source images of data sets, in a folder or a zip file."""

import itertools
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import SUFFIXES, UnreadableImageError, is_image_name, read_picture


class ImageFolder:
    """The images of a folder (not its subfolders) or of a zip file (all of it).

    Use it as a context manager; a zip file stays open meanwhile.

    Attributes:
        path: the folder or zip file.
        names: sorted names of the image files; hidden files and other files are left out.
        subfolders: names of its folders, which are not looked into.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Lists the images.

        Raises:
            UserError: no such folder, not a zip file, or no image in it.
        """
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self.subfolders: list[str] = []
        try:
            if self.path.is_dir():
                entries = list(os.scandir(self.path))
                candidates = [entry.name for entry in entries if entry.is_file()]
                self.subfolders = sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir() and not entry.name.startswith(".")
                )
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
            raise UserError(f"no images in {self.path}; files must end in {' '.join(SUFFIXES)}")

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *error: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def read(self, name: str) -> Image.Image:
        """Reads one image, see `dnnlib.images`.

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
        return read_picture(data)

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
    if not is_image_name(name) or name.endswith("/"):
        return False
    return not path.name.startswith(".") and path.parts[0] != "__MACOSX"


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
