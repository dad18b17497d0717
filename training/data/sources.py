"""What data sets are made from: images by number, and labels, from the files of known data sets."""

import dataclasses
import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import UnreadableImageError
from dnnlib.optional import require
from dnnlib.safe_pickle import load
from training.data.making import Raw, open_raw

MAX_IDX = 4 << 30  # bytes of an unpacked file; MNIST has 47 million
_PIECE = 10_000  # names that are hashed at a time
_MISSING = (
    "{name}, which reads this kind of file, is not installed; run: pip install -r"
    " requirements/datasets.txt"
)


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images by number; `fetch` may be called by several threads.

    Attributes:
        path: where they come from.
        names: what messages call them.
        fetch: what there is of image number i, not decoded; raises UnreadableImageError.
        labels: float32 [N,C]; None: there are none.
        close: to be called when all is read.
        files: that hold all of it, if there are some; by their sizes and times others are told.
    """

    path: Path
    names: Sequence[str]
    fetch: Callable[[int], Raw]
    labels: "Labels | None" = None
    close: Callable[[], None] = lambda: None
    files: Sequence[Path] = ()

    def read(self, number: int) -> Image.Image:
        """An image, of mode "RGB" or "L".

        Raises:
            UnreadableImageError: it is none.
        """
        return open_raw(self.fetch(number))[0]

    def identity(self, order: Sequence[int] | np.ndarray) -> str:
        """A hash of what is taken in what order: names, labels, sizes and times of `files`.

        Images that lie in files of their own may change without it.
        """
        status = [(path.name, path.stat()) for path in self.files]
        facts = [(name, found.st_size, found.st_mtime_ns) for name, found in status]
        digest = hashlib.sha256(repr(facts).encode())
        for first in range(0, len(order), _PIECE):
            part = order[first : first + _PIECE]
            names = "\n".join(self.names[int(number)] for number in part) + "\n"
            digest.update(names.encode(errors="surrogatepass"))
            if self.labels is not None:
                digest.update(self.labels[np.asarray(part)].tobytes())
        return digest.hexdigest()


class Numbered(Sequence[str]):
    """Names that say a number, such as `image 7`, made when they are asked for."""

    def __init__(self, what: str, numbers: Sequence[int] | np.ndarray) -> None:
        self._what = what
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Numbered(self._what, self._numbers[place])
        return f"{self._what} {self._numbers[place]}"


class OneHot:
    """Classes as labels, of which only those are made that are asked for.

    Attributes:
        shape: N images, C classes.
    """

    def __init__(self, classes: np.ndarray, count: int) -> None:
        """
        Args:
            classes: integers [N] from 0 to count - 1.
            count: C.
        """
        self._classes = classes.astype(np.int32)
        self.shape = (len(classes), count)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Labels of these images: float32 [n,C]."""
        labels = np.zeros([len(numbers), self.shape[1]], np.float32)
        labels[np.arange(len(numbers)), self._classes[numbers]] = 1
        return labels


Labels = np.ndarray | OneHot


def of_arrays(
    path: Path,
    images: Any,
    labels: Labels | None,
    get: Callable[[Any], Any] = np.asarray,
    files: Sequence[Path] | None = None,
) -> ImageSource:
    """Images that lie in an array.

    Args:
        path: the file.
        images: by number: uint8, what `get` turns into [H,W] or [H,W,3].
        labels: of all of them, or None.
        get: of an element of `images`.
        files: see `ImageSource`; None: `path`.
    """
    names = Numbered("image", range(len(images)))
    files = [path] if files is None else files
    return ImageSource(path, names, lambda number: get(images[number]), labels, files=files)


def one_hot(classes: np.ndarray, count: int, path: Path) -> OneHot:
    """Classes, integers [N] from 0 to count - 1, as labels [N,count].

    Raises:
        UserError: one that is out of range.
    """
    classes = np.asarray(classes).reshape(-1).astype(np.int64)
    if len(classes) and not 0 <= classes.min() <= classes.max() < count:
        raise UserError(
            f"{path} holds classes from {classes.min()} to {classes.max()}; expected 0 to"
            f" {count - 1}; get the file again"
        )
    return OneHot(classes, count)


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format, plain or in gzip: uint8, read-only.

    A header of 0, 0, type 8 (unsigned bytes), number of axes; their lengths as uint32, big-endian;
    the values (yann.lecun.com/exdb/mnist).

    Raises:
        UserError: no such file, or another format.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                data = file.read(MAX_IDX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; get the file again") from error
    axes = data[3] if len(data) > 3 else 0
    begin = 4 + 4 * axes
    shape = [int(n) for n in np.frombuffer(data[4:begin], ">u4")] if len(data) >= begin else []
    if data[:3] != b"\0\0\x08" or not shape or len(data) != begin + math.prod(shape):
        raise UserError(
            f"{path} is not a complete IDX file of unsigned bytes; get the file again, as"
            " yann.lecun.com has it"
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)


def find_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is in a folder.

    Raises:
        UserError: none is.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} holds no {' or '.join(names)}; give the folder of these files")


def mnist(folder: Path) -> ImageSource:
    """The 60,000 training images of MNIST or one that is stored like it, 28x28 padded to 32x32.

    Zeros are put around them, 2 on every side, as in the published tool; ten classes.
    """
    path = find_file(folder, ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"])
    images = read_idx(path)
    classes = read_idx(find_file(folder, ["train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte"]))
    if images.ndim != 3 or images.shape[1:] != (28, 28) or classes.shape != (len(images),):
        raise UserError(
            f"{path} holds {images.shape}, its labels are {classes.shape}; expected images of"
            " 28x28 and a label for each"
        )
    return of_arrays(path, images, one_hot(classes, 10, path), lambda image: np.pad(image, 2))


def mnist_rgb(folder: Path, num_images: int, seed: int) -> ImageSource:
    """Triples of MNIST's digits, drawn with replacement, as red, green and blue; no labels.

    `RandomState(seed)` draws the three of an image after another, as the published tool does.
    """
    source = mnist(folder)
    chosen = np.random.RandomState(seed).randint(len(source.names), size=[num_images, 3])

    def get(three: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(source.fetch(int(i))) for i in three], axis=-1)

    return of_arrays(source.path, chosen, None, get)


def _unpickle(path: Path) -> dict[str, Any]:
    """The dictionary of a batch of CIFAR, its keys as text; read as data, nothing is run."""
    try:
        found = load(path, where=str(path))
    except UserError as error:
        raise UserError(f"no batch of CIFAR's Python version: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no dictionary; give the folder of CIFAR's Python version")
    return found


def cifar(folder: Path, files: Sequence[str], key: str, num_classes: int) -> ImageSource:
    """The training images of CIFAR-10 or CIFAR-100, Python version: 32x32.

    Args:
        folder: of the files.
        files: their names.
        key: of the list of classes in them.
        num_classes: C.
    """
    images, classes = [], []
    for name in files:
        batch = _unpickle(find_file(folder, [name]))
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            raise UserError(f"{folder / name} holds no images of 32x32x3; get the file again")
        images.append(data.reshape(-1, 3, 32, 32))
        classes += list(batch.get(key, []))
    joined = np.concatenate(images)
    if len(classes) != len(joined):
        raise UserError(f"{folder}: {len(classes)} {key} for {len(joined)} images; get it again")
    labels = one_hot(np.array(classes), num_classes, folder)
    paths = [folder / name for name in files]
    return of_arrays(folder, joined, labels, lambda image: image.transpose(1, 2, 0), paths)


def svhn(folder: Path) -> ImageSource:
    """The 73,257 training images of SVHN, `train_32x32.mat`; class 10 of the file is 0."""
    path = find_file(folder, ["train_32x32.mat"])
    try:
        content = scipy.io.loadmat(path, variable_names=["X", "y"])
        images, classes = content["X"], content["y"]
    # Of a damaged file, whatever its parsing stumbles over.
    except Exception as error:
        raise UserError(f"{path} is no complete MAT file ({error}); get the file again") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise UserError(f"{path} holds images of shape {images.shape}; expected [32,32,3,N]")
    if classes.size != images.shape[3]:
        raise UserError(f"{path} holds {classes.size} classes for {images.shape[3]} images")
    labels = one_hot(classes.astype(np.int64) % 10, 10, path)
    return of_arrays(path, np.moveaxis(images, 3, 0), labels)


def hdf5(path: Path) -> ImageSource:
    """The largest array `data*` of an HDF5 file, uint8 [N,C,H,W]; `NAME-labels.npy` beside it."""
    h5py = require("h5py", _MISSING)
    try:
        file = h5py.File(path, "r")
        levels = [file[key] for key in file if key.startswith("data") and file[key].ndim == 4]
    except OSError as error:
        raise UserError(f"cannot read {path} ({error}); give an HDF5 file") from error
    if not levels:
        raise UserError(f"{path} has no array data* of shape [N,C,H,W]; it has: {', '.join(file)}")
    data = max(levels, key=lambda level: level.shape[3])
    if data.dtype != np.uint8 or data.shape[1] not in (1, 3):
        raise UserError(
            f"{path}: {data.name} is {data.dtype} {data.shape}; uint8, C 1 or 3 are read"
        )
    beside = path.with_name(f"{path.stem}-labels.npy")
    labels: np.ndarray | None = None
    if beside.is_file():
        try:
            labels = np.asarray(np.load(beside, allow_pickle=False), np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"cannot read the labels {beside} ({error})") from error
        if labels.ndim != 2 or len(labels) != len(data):
            raise UserError(f"{beside} is {labels.shape}; expected {len(data)} rows of numbers")
    is_grey = data.shape[1] == 1
    return of_arrays(
        path, data, labels, lambda image: image[0] if is_grey else image.transpose(1, 2, 0)
    )


def lmdb(path: Path) -> ImageSource:
    """The image files in an LMDB database, as LSUN's are, in the order of their keys."""
    package = require("lmdb", _MISSING)
    if not (path / "data.mdb").is_file():
        raise UserError(f"{path} holds no data.mdb; give the folder of an LMDB database")
    try:
        environment = package.open(
            os.fspath(path), readonly=True, lock=False, readahead=False, max_readers=1024
        )
    except package.Error as error:
        raise UserError(f"cannot read {path} ({error}); copy the database again") from error
    try:
        with environment.begin() as transaction, transaction.cursor() as cursor:
            keys = list(cursor.iternext(keys=True, values=False))
    except package.Error as error:
        environment.close()
        raise UserError(f"cannot read {path} ({error}); copy the database again") from error
    if not keys:
        environment.close()
        raise UserError(f"{path} is empty; copy the database again")

    def fetch(number: int) -> bytes:
        try:
            with environment.begin() as transaction:
                data = transaction.get(keys[number])
        except package.Error as error:
            raise UnreadableImageError(str(error), "unreadable") from error
        return bytes(data or b"")

    names = [key.decode("latin1") for key in keys]
    return ImageSource(path, names, fetch, close=environment.close, files=[path / "data.mdb"])
