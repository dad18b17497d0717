"""Shows, extracts and compares data sets: the commands of `dataset_tool.py` that make none."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.atomic import folder_atomic, open_atomic
from dnnlib.errors import UserError
from gan_fingerprints.work.creators import CREATORS
from gan_fingerprints.work.dataset_checks import convert, info, verify
from training.data.dataset import Dataset, open_dataset
from training.data.writer import read_labels


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
    """Runs one command; `compare` and `verify` end with status 1 if there is something to tell."""
    if args.command in CREATORS:
        CREATORS[args.command](args)
    elif args.command in ("info", "convert"):
        {"info": info, "convert": convert}[args.command](args)
    elif args.command == "verify":
        if verify(args):
            sys.exit(1)
    elif args.command == "display":
        display(args)
    elif args.command == "extract":
        extract(args)
    elif compare(args):
        sys.exit(1)
