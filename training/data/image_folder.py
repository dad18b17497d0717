"""Source images of data sets: folders, zip files and tar archives."""

import io
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import (
    SUFFIXES,
    UnreadableImageError,
    is_image_name,
    read_picture,
)

MAX_MEMBER = 1 << 30  # bytes; larger members of archives are not unpacked


class ImageFolder:
    """The images of a folder (by default not its subfolders), or of an archive (all of it).

    Use it as a context manager; an archive stays open meanwhile. `read` may be called by several
    threads.

    Attributes:
        path: the folder or archive.
        names: sorted names of the image files, below `path`; hidden ones and others are left out.
        subfolders: names of its folders that are not looked into.
    """

    def __init__(self, path: str | os.PathLike[str], *, nested: bool = False) -> None:
        """Lists the images.

        Args:
            path: a folder, a .zip file, or a .tar file, which may be compressed.
            nested: look into subfolders as well, to any depth.

        Raises:
            UserError: no such folder, neither zip nor tar file, or no image in it.
        """
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._tar: _TarFile | None = None
        self.subfolders: list[str] = []
        try:
            if self.path.is_dir():
                candidates = self._list_nested() if nested else self._list_flat()
            elif not self.path.is_file():
                raise UserError(
                    f"{self.path} does not exist; give a folder, a .zip or a .tar file that holds"
                    " images"
                )
            elif zipfile.is_zipfile(self.path) or not tarfile.is_tarfile(self.path):
                self._zip = zipfile.ZipFile(self.path)
                candidates = self._zip.namelist()
            else:
                self._tar = _TarFile(self.path)
                candidates = list(self._tar.places)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise UserError(
                f"{self.path} is neither a folder nor a readable .zip or .tar file ({error}); give"
                " a folder or an archive that holds images"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot read {self.path}: {error.strerror or error}; check its permissions"
            ) from error
        candidates = [name for name in candidates if _is_image_name(name)]
        candidates.sort()  # in place: there may be millions
        self.names = candidates
        if not self.names:
            text = f"no images in {self.path}; files must end in {' '.join(SUFFIXES)}"
            if self.subfolders:
                text += "; --recursive looks into subfolders, --labels=folders makes them classes"
            raise UserError(text)

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(self, *error: object) -> None:
        if self._zip is not None:
            self._zip.close()
        if self._tar is not None:
            self._tar.close()

    @property
    def files(self) -> list[Path]:
        """The archive; of a folder, none."""
        return [] if self._zip is None and self._tar is None else [self.path]

    def read(self, name: str) -> Image.Image:
        """Reads one image, see `dnnlib.images`.

        Raises:
            UnreadableImageError: the file cannot be read or decoded.
        """
        return read_picture(self.read_bytes(name))

    def read_bytes(self, name: str) -> bytes:
        """Reads one file.

        Raises:
            UnreadableImageError: it cannot be read.
        """
        try:
            if self._zip is not None:
                if self._zip.getinfo(name).file_size > MAX_MEMBER:
                    raise UnreadableImageError("larger than 1 GiB unpacked", "too many bytes")
                return self._zip.read(name)
            if self._tar is not None:
                return self._tar.read(name)
            with open(os.path.join(self.path, name), "rb") as file:  # quicker than by a Path
                return file.read()
        # RuntimeError: encrypted; NotImplementedError (one of them): an unknown compression.
        except (OSError, RuntimeError, zipfile.BadZipFile) as error:
            raise UnreadableImageError(_one_line(error), "unreadable") from error

    def _list_flat(self) -> list[str]:
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:  # not a list of them: each takes several times its name
                if entry.is_file():
                    found.append(entry.name)
                elif entry.is_dir() and not entry.name.startswith("."):
                    self.subfolders.append(entry.name)
        self.subfolders.sort()
        return found

    def _list_nested(self) -> list[str]:
        found = []
        for root, folders, names in os.walk(self.path, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(root).relative_to(self.path)
            found += [(below / name).as_posix() for name in names]
        return found


class _TarFile:
    """The plain files of a tar archive, by name, at any place.

    A compressed archive is unpacked into a nameless temporary file first: it has no random access.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - it stays open
        try:
            with tarfile.open(path) as archive:
                unpacked: Any = archive.fileobj
                if not isinstance(unpacked, io.BufferedReader):
                    self._file.close()
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115
                    unpacked.seek(0)
                    shutil.copyfileobj(unpacked, self._file, 1 << 20)
            self._file.seek(0)
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                self.places = {
                    member.name: (member.offset_data, member.size)
                    for member in archive
                    if member.isreg() and not member.issparse()
                }
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str) -> bytes:
        offset, size = self.places[name]
        if size > MAX_MEMBER:
            raise UnreadableImageError("larger than 1 GiB", "too many bytes")
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        self._file.close()


def class_numbers(names: Sequence[str], path: Path) -> tuple[list[str], np.ndarray]:
    """Classes by folder: that which lies directly in what holds all images.

    Args:
        names: of images, such as `ImageFolder.names`.
        path: where they are, for the error.

    Returns:
        The sorted names of the classes, and the number of each image's, int32 [N].

    Raises:
        UserError: an image lies in no folder, or there is only one.
    """
    depth = _common_depth(names)
    found = []
    for name in names:
        part = name.split("/", depth + 1)
        if len(part) < depth + 2:
            raise UserError(
                f"--labels=folders: {name} in {path} lies in no folder of a class; move it into one"
            )
        found.append(sys.intern(part[depth]))
    classes = sorted(set(found))
    if len(classes) < 2:
        raise UserError(
            f"--labels=folders: all images of {path} lie in one folder, {classes[0]}; labels need"
            " a folder per class, at least two"
        )
    number = {name: index for index, name in enumerate(classes)}
    return classes, np.fromiter((number[name] for name in found), np.int32, len(found))


def _common_depth(names: Sequence[str]) -> int:
    """How many folders lie around all images that have a folder within, as archives have them."""
    common = names[0].split("/")[:-2]
    for name in names:
        depth = name.count("/") - 1
        del common[max(depth, 0) :]
        while common and not name.startswith("/".join(common) + "/"):
            common.pop()
        if not common:
            break
    return len(common)


def _is_image_name(name: str) -> bool:
    if name.startswith((".", "__MACOSX/")) or "/." in name or name.endswith("/"):
        return False  # hidden, or in a hidden folder; a folder
    return is_image_name(name)


def _raise(error: OSError) -> None:
    raise error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
