"""Makes TFRecord data sets from images, shows them, extracts and compares them."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.atomic import folder_atomic, open_atomic
from dnnlib.errors import UserError
from dnnlib.format import format_bytes, printable
from dnnlib.images import UnreadableImageError
from training.data.dataset import Dataset, open_dataset
from training.data.image_folder import ImageFolder, fit_square
from training.data.writer import DatasetWriter, is_valid_resolution, read_labels

SHUFFLE_SEED = 123  # part of the published order
MAX_RESOLUTION = 8192  # pixels
CROP = 64  # pixels from the centre of a CelebA crop to its edges
ATTRIBUTE_FILE = "list_attr_celeba.txt"


def create_celeba(args: argparse.Namespace) -> None:
    """The first --num_images by name, then permuted."""
    left, top = args.cx - CROP, args.cy - CROP
    box = (left, top, left + 2 * CROP, top + 2 * CROP)

    def crop(name: str, image: Image.Image) -> Image.Image:
        if left < 0 or top < 0 or box[2] > image.width or box[3] > image.height:
            raise UserError(
                f"{name} is {image.width}x{image.height}: the crop of {2 * CROP}x{2 * CROP} at"
                f" --cx {args.cx} --cy {args.cy} does not fit; use aligned CelebA images (178x218)"
            )
        return image.crop(box)

    with ImageFolder(args.celeba_dir) as folder:
        names = _cut(folder.names, args, folder)
        if args.shuffle:
            names = [names[i] for i in published_order(len(names))]
        labels: np.ndarray | None = None
        if args.export_attr is not False:
            path = find_attributes(Path(args.celeba_dir))
            if path is not None:
                labels = read_attributes(path, names)
            elif args.export_attr:
                _warn(f"--export_attr: no {ATTRIBUTE_FILE} near {args.celeba_dir}, no labels")
        _write(args, folder, names, crop, labels)


def create_from_images(args: argparse.Namespace) -> None:
    """All names shuffled, then cut to --num_images, then permuted once more."""
    resolution: int | None = args.resolution
    if resolution is not None and not (
        is_valid_resolution(resolution) and resolution <= MAX_RESOLUTION
    ):
        raise UserError(
            f"--resolution={resolution} must be a power of two from 4 to {MAX_RESOLUTION}"
        )
    first: tuple[str, tuple[int, int]] | None = None
    num_enlarged = 0

    def prepare(name: str, image: Image.Image) -> Image.Image:
        nonlocal first, num_enlarged
        if resolution is not None:
            num_enlarged += min(image.size) < resolution
            return fit_square(image, resolution)
        if first is None:
            if image.width != image.height or not is_valid_resolution(image.width):
                raise UserError(
                    f"{name} is {image.width}x{image.height}: images must be square and a power of"
                    " two in size (at least 4); use --resolution R to crop and resize them"
                )
            first = (name, image.size)
        if image.size != first[1]:
            raise UserError(
                f"{name} is {image.width}x{image.height} but {first[0]} is"
                f" {first[1][0]}x{first[1][1]}; use --resolution R to crop and resize them"
            )
        return image

    with ImageFolder(args.image_dir) as folder:
        names = folder.names
        if args.shuffle:
            names = [names[i] for i in published_order(len(names))]
        names = _cut(names, args, folder)
        if args.shuffle:
            names = [names[i] for i in published_order(len(names))]
        _write(args, folder, names, prepare, None)
    if num_enlarged:
        _warn(f"{num_enlarged} images are smaller than --resolution={resolution}: enlarged")


def published_order(count: int) -> np.ndarray:
    """The published permutation of `count` images."""
    order = np.arange(count)
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def _cut(names: list[str], args: argparse.Namespace, folder: ImageFolder) -> list[str]:
    if args.num_shifts:
        _warn("--num_shifts has no effect")
    if folder.subfolders:
        _warn(
            f"{folder.path}: its {len(folder.subfolders)} subfolders are not looked into "
            f"({folder.subfolders[0]}{', ...' if len(folder.subfolders) > 1 else ''})"
        )
    wanted: int | None = args.num_images or None  # 0: all
    if wanted is not None and wanted > len(names):
        _warn(f"--num_images={wanted}, but {folder.path} has only {len(names)} images: using all")
    return names[:wanted]


def _write(
    args: argparse.Namespace,
    folder: ImageFolder,
    names: list[str],
    prepare: Callable[[str, Image.Image], Image.Image],
    labels: np.ndarray | None,
) -> None:
    """Writes the images in the order of `names`, `labels` being in that order too."""
    kept: list[int] = []
    num_bad = 0
    with DatasetWriter(args.tfrecord_dir, lods=args.lods) as writer:
        bar = tqdm(folder.read_all(names), total=len(names), file=sys.stderr, disable=None)
        for index, (name, image) in enumerate(bar):
            if isinstance(image, UnreadableImageError):
                num_bad += 1
                action = "skipped" if args.skip_bad else "unreadable"
                tqdm.write(printable(f"{action} {name}: {image}"), file=sys.stderr)
            elif num_bad == 0 or args.skip_bad:
                # Otherwise the data set is lost already: only look for more bad files.
                prepared = prepare(name, image).convert("L" if args.grey else "RGB")
                pixels = np.asarray(prepared)
                writer.add(pixels.reshape(*pixels.shape[:2], -1))
                kept.append(index)
        if num_bad and not args.skip_bad:
            raise UserError(
                f"{num_bad} of {len(names)} files in {folder.path} cannot be read, see above; mend"
                " or remove them, or use --skip-bad to leave them out"
            )
        if not kept:
            raise UserError(f"none of the {len(names)} files in {folder.path} can be read")
        if labels is not None:
            writer.add_labels(labels[kept])
    skipped = f", {num_bad} unreadable files skipped" if num_bad else ""
    height, width, channels = pixels.reshape(*pixels.shape[:2], -1).shape
    print(
        f"{args.tfrecord_dir}: {len(kept)} images of {width}x{height}x{channels},"
        f" {format_bytes(writer.num_bytes)}{skipped}"
    )


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


def _open(tfrecord_dir: str, args: argparse.Namespace) -> Dataset:
    path = Path(os.path.abspath(tfrecord_dir))
    return open_dataset(
        path.parent, path.name, args.resolution, skip_bad_records=args.skip_bad_records
    )


def display(args: argparse.Namespace) -> None:
    """Writes the first `--count` images as one PNG; shows it where there is a display."""
    tfrecord_dir, out = args.tfrecord_dir, args.out
    dataset = _open(tfrecord_dir, args)
    count = min(args.count, dataset.num_images)
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    size = dataset.resolution
    sheet = np.full([rows * size, columns * size, dataset.num_channels], 255, np.uint8)
    for index, image in enumerate(dataset.images(count)):
        y, x = index // columns * size, index % columns * size
        sheet[y : y + size, x : x + size] = image
    path = Path(out) if out else Path(f"{os.path.abspath(tfrecord_dir)}-sheet.png")
    picture = Image.fromarray(sheet.squeeze(2) if dataset.num_channels == 1 else sheet)
    with open_atomic(path) as file:
        picture.save(file, format="PNG")
    print(f"{path}: {count} of {dataset.num_images} images of {tfrecord_dir}")
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        picture.show()


def extract(args: argparse.Namespace) -> None:
    """Writes every image as a PNG file, in a folder that appears when it is complete."""
    dataset = _open(args.tfrecord_dir, args)
    with folder_atomic(args.output_dir) as folder:
        images = tqdm(dataset.images(), total=dataset.num_images, file=sys.stderr, disable=None)
        for index, image in enumerate(images):
            picture = Image.fromarray(image.squeeze(2) if dataset.num_channels == 1 else image)
            picture.save(folder / f"img{index:08d}.png")
    print(f"{args.output_dir}: {dataset.num_images} images")


def compare(args: argparse.Namespace) -> bool:
    """Compares two data sets image by image, in file order; True if they differ.

    Labels, where there are some, are compared as well unless `--ignore_labels`.

    Raises:
        UserError: labels that cannot be read, or the images differ in size or channels, so that
            none can be compared.
    """
    dir_a, dir_b = args.tfrecord_dir_a, args.tfrecord_dir_b
    a, b = _open(dir_a, args), _open(dir_b, args)
    if (a.resolution, a.num_channels) != (b.resolution, b.num_channels):
        raise UserError(
            f"{dir_a} holds {a.resolution}x{a.resolution}x{a.num_channels} images, {dir_b}"
            f" {b.resolution}x{b.resolution}x{b.num_channels}; compare data sets of one shape"
            " (--resolution chooses a level)"
        )
    common = min(a.num_images, b.num_images)
    pairs = tqdm(
        zip(a.images(common), b.images(common), strict=True),
        total=common,
        file=sys.stderr,
        disable=None,
    )
    different = sum(not np.array_equal(x, y) for x, y in pairs)
    print(
        f"{common - different} identical, {different} different,"
        f" {a.num_images - common} only in {dir_a}, {b.num_images - common} only in {dir_b}"
    )
    labels_differ = not args.ignore_labels and _labels_differ(dir_a, dir_b)
    return different > 0 or a.num_images != b.num_images or labels_differ


def _labels_differ(dir_a: str, dir_b: str) -> bool:
    """Compares the labels of two data sets, and says so if there are any."""
    a, b = read_labels(dir_a), read_labels(dir_b)
    if a is None and b is None:
        return False
    if a is None or b is None:
        print(f"labels only in {dir_b if a is None else dir_a} (--ignore_labels)")
        return True
    if a.shape[1:] != b.shape[1:]:
        print(f"labels of shape {a.shape[1:]} and {b.shape[1:]} (--ignore_labels)")
        return True
    common = min(len(a), len(b))
    different = int(np.count_nonzero((a[:common] != b[:common]).any(axis=1)))
    print(f"{common - different} identical labels, {different} different")
    return different > 0


def run(args: argparse.Namespace) -> None:
    """Runs one command; `compare` ends the process with status 1 if the data sets differ."""
    if args.command == "create_celeba":
        create_celeba(args)
    elif args.command == "create_from_images":
        create_from_images(args)
    elif args.command == "display":
        display(args)
    elif args.command == "extract":
        extract(args)
    elif compare(args):
        sys.exit(1)
