"""Makes data sets: the commands `create_*` of `dataset_tool.py`."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL

from dnnlib.errors import UserError
from dnnlib.format import format_bytes, printable
from dnnlib.images import UnreadableImageError
from training.data import sources
from training.data.building import BuildOptions, Check, build, counts
from training.data.encoding import is_valid_resolution
from training.data.image_folder import ImageFolder, class_numbers
from training.data.making import Prepare
from training.data.preparing import CropAround, Square, Wide, as_it_is
from training.data.sources import ImageSource, Labels, OneHot

SHUFFLE_SEED = 123  # part of the published order
MAX_RESOLUTION = 8192  # pixels
ATTRIBUTE_FILE = "list_attr_celeba.txt"
RESIZE = "Lanczos, antialiased, in sRGB"


def create_celeba(args: argparse.Namespace) -> None:
    """The first --num_images by name, then permuted."""
    with ImageFolder(args.celeba_dir) as folder:
        _warn_of_subfolders(folder)
        order = _cut(np.arange(len(folder.names), dtype=np.int32), args, folder.path)
        if args.shuffle:
            order = order[published_order(len(order))]
        labels: np.ndarray | None = None
        classes: list[str] | None = None
        if args.export_attr is not False:
            path = find_attributes(Path(args.celeba_dir))
            if path is not None:
                rows = read_attributes(path, [folder.names[i] for i in order])
                labels = np.zeros([len(folder.names), rows.shape[1]], np.float32)
                labels[order] = rows
                classes = path.read_text(encoding="utf-8").splitlines()[1].split()
            elif args.export_attr:
                _warn(f"--export_attr: no {ATTRIBUTE_FILE} near {args.celeba_dir}, no labels")
        _build(
            args, _of_folder(folder, labels), order, CropAround(args.cx, args.cy), classes=classes
        )


def create_from_images(args: argparse.Namespace) -> None:
    """All names shuffled, then cut to --num_images, then permuted once more."""
    resolution: int | None = args.resolution
    _check_resolution(resolution)
    with ImageFolder(args.image_dir, nested=args.recursive or args.labels is not None) as folder:
        _warn_of_subfolders(folder)
        labels: OneHot | None = None
        classes: list[str] | None = None
        if args.labels is not None:
            classes, numbers = class_numbers(folder.names, folder.path)
            labels = OneHot(numbers, len(classes))
        order = np.arange(len(folder.names), dtype=np.int32)
        if args.shuffle:
            order = order[published_order(len(order))]
        order = _cut(order, args, folder.path)
        if args.shuffle:
            order = order[published_order(len(order))]
        source = _of_folder(folder, labels)
        if resolution is None:
            _build(args, source, order, as_it_is, check=_SameSize(), classes=classes)
        else:
            prepare = Square(resolution, args.allow_upscale)
            _build(args, source, order, prepare, resize=RESIZE, classes=classes)


def create_mnist(args: argparse.Namespace) -> None:
    """MNIST, Fashion-MNIST or another one in its files, permuted."""
    _build_permuted(args, sources.mnist(Path(args.mnist_dir)), "L")


def create_mnistrgb(args: argparse.Namespace) -> None:
    """Three digits of MNIST in one image; --num_images says how many."""
    count = 1_000_000 if args.num_images is None else args.num_images
    if not count:
        raise UserError("--num_images=0: there is no end of such images; say how many")
    source = sources.mnist_rgb(Path(args.mnist_dir), count, args.random_seed)
    _build(args, source, np.arange(count), as_it_is)


def create_cifar10(args: argparse.Namespace) -> None:
    """The five training batches of CIFAR-10, permuted."""
    files = [f"data_batch_{i}" for i in range(1, 6)]
    _build_permuted(args, sources.cifar(Path(args.cifar10_dir), files, "labels", 10))


def create_cifar100(args: argparse.Namespace) -> None:
    """The training images of CIFAR-100 with their fine labels, permuted."""
    _build_permuted(args, sources.cifar(Path(args.cifar100_dir), ["train"], "fine_labels", 100))


def create_svhn(args: argparse.Namespace) -> None:
    """The training images of SVHN, permuted."""
    _build_permuted(args, sources.svhn(Path(args.svhn_dir)))


def create_lsun(args: argparse.Namespace) -> None:
    """Images of an LMDB database in the order of its keys, their centres resized."""
    _check_resolution(args.resolution)
    with contextlib.closing(sources.lmdb(Path(args.lmdb_dir))) as source:
        order = _cut(np.arange(len(source.names), dtype=np.int32), args, source.path)
        _build(args, source, order, Square(args.resolution, args.allow_upscale), resize=RESIZE)


def create_lsun_wide(args: argparse.Namespace) -> None:
    """Wide images, with black above and below; those that are smaller are left out."""
    width, height = args.width, args.height
    _check_resolution(width, "--width")
    if height > width:
        raise UserError(f"--height={height} must not exceed --width={width}")

    args.skip_bad = True
    with contextlib.closing(sources.lmdb(Path(args.lmdb_dir))) as source:
        order = _cut(np.arange(len(source.names), dtype=np.int32), args, source.path)
        _build(args, source, order, Wide(width, height), resize=RESIZE)


def create_celebahq(args: argparse.Namespace) -> None:
    """Finished images of CelebA-HQ, in the order of their names."""
    if args.delta_dir is not None:
        raise UserError(
            f"{args.delta_dir}: CelebA-HQ is not made from CelebA and its deltas here; give the"
            " folder or archive of finished 1024x1024 images alone"
        )
    _check_resolution(args.resolution)
    with ImageFolder(args.celeba_dir) as folder:
        order = _cut(np.arange(len(folder.names), dtype=np.int32), args, folder.path)
        prepare = Square(args.resolution, args.allow_upscale)
        _build(args, _of_folder(folder, None), order, prepare, resize=RESIZE)


def create_from_hdf5(args: argparse.Namespace) -> None:
    """The largest images of an HDF5 file, permuted unless --shuffle=0."""
    source = sources.hdf5(Path(args.hdf5_filename))
    order = np.arange(len(source.names), dtype=np.int32)
    if args.shuffle:
        order = published_order(len(order))
    mode = source.read(0).mode
    _build(args, source, _cut(order, args, source.path), as_it_is, mode, check=_SameSize())


CREATORS: dict[str, Callable[[argparse.Namespace], None]] = {
    creator.__name__: creator
    for creator in (
        create_celeba,
        create_celebahq,
        create_cifar10,
        create_cifar100,
        create_from_hdf5,
        create_from_images,
        create_lsun,
        create_lsun_wide,
        create_mnist,
        create_mnistrgb,
        create_svhn,
    )
}


def published_order(count: int) -> np.ndarray:
    """The published permutation of `count` images: int32 [N]."""
    order = np.arange(count, dtype=np.int32)
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def _check_resolution(resolution: int | None, flag: str = "--resolution") -> None:
    if resolution is not None and not (
        is_valid_resolution(resolution) and resolution <= MAX_RESOLUTION
    ):
        raise UserError(f"{flag}={resolution} must be a power of two from 4 to {MAX_RESOLUTION}")


class _SameSize:
    """Checks that images are square, a power of two in size, and all as large as the first."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None

    def __call__(self, size: tuple[int, int]) -> None:
        width, height = size
        if width != height or not is_valid_resolution(width):
            raise UnreadableImageError(
                f"{width}x{height}; images must be square and a power of two in size (at least 4);"
                " --resolution R crops and resizes them",
                "size that cannot be stored",
            )
        self._first = self._first or size
        if size != self._first:
            raise UnreadableImageError(
                f"{width}x{height}, but the first one is {self._first[0]}x{self._first[1]};"
                " --resolution R crops and resizes them",
                "other size",
            )


def _of_folder(folder: ImageFolder, labels: Labels | None) -> ImageSource:
    names = folder.names
    return ImageSource(
        folder.path, names, lambda i: folder.read_bytes(names[i]), labels, files=folder.files
    )


def _warn_of_subfolders(folder: ImageFolder) -> None:
    if folder.subfolders:
        _warn(
            f"{folder.path}: its {len(folder.subfolders)} subfolders are not looked into "
            f"({folder.subfolders[0]}{', ...' if len(folder.subfolders) > 1 else ''})"
        )


def _cut(order: np.ndarray, args: argparse.Namespace, where: Path) -> np.ndarray:
    if getattr(args, "num_shifts", 0):
        _warn("--num_shifts has no effect")
    wanted: int | None = args.num_images or None  # 0: all
    if wanted is not None and wanted > len(order):
        _warn(f"--num_images={wanted}, but {where} has only {len(order)} images: using all")
    return order[:wanted]


def _build_permuted(args: argparse.Namespace, source: ImageSource, mode: str = "RGB") -> None:
    _build(args, source, _cut(published_order(len(source.names)), args, source.path),
           as_it_is, mode)  # fmt: skip


def _build(
    args: argparse.Namespace,
    source: ImageSource,
    order: np.ndarray,
    prepare: Prepare,
    mode: str | None = None,
    *,
    check: Check | None = None,
    resize: str | None = None,
    classes: list[str] | None = None,
) -> None:
    """Makes the data set and says in one line what became of the images."""
    if mode is None:
        mode = "L" if getattr(args, "grey", False) else "RGB"
    left = ("tfrecord_dir", "verbose", "workers", "report", "lods", "command")
    made = {
        "command": args.command,
        "arguments": {key: value for key, value in vars(args).items() if key not in left},
        "resize": resize,
        "pillow": PIL.__version__,
    }
    if classes is not None:
        made["classes"] = classes
    report = Path(args.report or f"{str(args.tfrecord_dir).rstrip('/')}-report.jsonl")
    options = BuildOptions(mode, args.lods, args.workers, args.skip_bad, report, made)
    found = build(args.tfrecord_dir, source, order, prepare, options, check)
    height, width, channels = found.shape
    parts = [
        f"{args.tfrecord_dir}: {found.num_images} images of {width}x{height}x{channels}",
        f"{format_bytes(found.num_bytes)}",
        f"{found.images_per_second:.0f} images/s",
    ]
    line = ", ".join(parts)
    if found.left_out:
        line += f"; {found.left_out.total()} left out: {counts(found.left_out)}"
    if found.notes:
        line += f"; {counts(found.notes)}"
    if found.report is not None:
        line += f"; listed in {found.report}"
    print(line)


def _warn(text: str) -> None:
    print(f"warning: {printable(text)}", file=sys.stderr)


def find_attributes(celeba_dir: Path) -> Path | None:
    """The CelebA attribute file in or above the folder of images, or None."""
    celeba_dir = celeba_dir.resolve()
    for folder in (celeba_dir, celeba_dir.parent, celeba_dir.parent.parent):
        for path in (folder / ATTRIBUTE_FILE, folder / "Anno" / ATTRIBUTE_FILE):
            if path.is_file():
                return path
    return None


def read_attributes(path: Path, names: list[str]) -> np.ndarray:
    """Attributes of the named images: float32 [N,A], 1 where the file says 1, else 0.

    Raises:
        UserError: a malformed line, or an image that the file does not have.
    """
    # First the number of images, then the attributes' names, then a line per image: its file
    # name and -1 or 1 for every attribute.
    lines = path.read_text(encoding="utf-8").splitlines()
    num_attributes = len(lines[1].split()) if len(lines) > 1 else 0
    rows: dict[str, list[str]] = {}
    for number, line in enumerate(lines[2:], start=3):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != num_attributes + 1 or not set(fields[1:]) <= {"1", "-1"}:
            raise UserError(
                f"{path}, line {number}: expected a file name and {num_attributes} values 1 or -1;"
                " mend the file or use --export_attr 0"
            )
        rows[Path(fields[0]).stem] = fields[1:]
    missing = [name for name in names if Path(name).stem not in rows]
    if missing:
        raise UserError(
            f"{path} has no line for {missing[0]} ({len(missing)} images lack one); mend the file"
            " or use --export_attr 0"
        )
    values = [[field == "1" for field in rows[Path(name).stem]] for name in names]
    return np.array(values, dtype=np.float32)
