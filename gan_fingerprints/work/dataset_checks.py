"""What a data set holds and whether it is whole: `info`, `verify`, `convert`."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.format import format_bytes
from fingerprints.detection.alike import picture_hashes
from training.data.building import BuildOptions, build
from training.data.dataset import Dataset, open_dataset, resolutions
from training.data.description import Description, read_description
from training.data.preparing import as_it_is
from training.data.sources import ImageSource, Numbered

NAMED = 10  # so many groups of duplicates are named
CLASSES_SHOWN = 20
_CHUNK = 1 << 20  # bytes read at a time


def place(tfrecord_dir: str) -> tuple[Path, str, Description | None]:
    """The folder that a data set is in, its name there, and what its `dataset.json` says."""
    path = Path(os.path.abspath(tfrecord_dir))
    return path.parent, path.name, read_description(path) if path.is_dir() else None


def _bar(values: Any, total: int, what: str) -> Any:
    return tqdm(values, what, total=total, unit="image", file=sys.stderr, disable=None)


def content_hash(dataset: Dataset) -> str:
    """SHA-256 of shape, pixels and labels in their order, 64 hexadecimal digits.

    It does not depend on layout, names and compression: what training sees is the same.
    """
    digest = hashlib.sha256(f"{dataset.resolution} {dataset.num_channels}\n".encode())
    for image in _bar(dataset.images(), dataset.num_images, "Hash"):
        digest.update(image.tobytes())
    digest.update(dataset.labels.tobytes())
    return digest.hexdigest()


def info(args: argparse.Namespace) -> None:
    """Prints what a data set holds."""
    data_dir, name, description = place(args.tfrecord_dir)
    sizes = resolutions(data_dir, name)
    dataset = open_dataset(data_dir, name)
    files = [path for path in (data_dir / name).iterdir() if path.is_file()]
    num_bytes = sum(path.stat().st_size for path in files)
    size = dataset.resolution
    layout = "published, uncompressed" if description is None else "compressed without loss"
    lines = {
        "layout": layout,
        "resolutions": " ".join(str(size) for size in sizes),
        "images": f"{dataset.num_images} of {size}x{size}x{dataset.num_channels}",
        "labels": _describe_labels(dataset, description),
        "bytes": f"{format_bytes(num_bytes)} in {len(files)} files,"
        f" {num_bytes / dataset.num_images:.0f} per image",
    }
    if description is not None:
        made = description.made
        lines["made by"] = f"{made.get('command')}, resized: {made.get('resize') or 'no'}"
    if args.hash:
        lines["hash"] = content_hash(dataset)
    for key, value in lines.items():
        print(f"{key:<12} {value}")


def _describe_labels(dataset: Dataset, description: Description | None) -> str:
    labels = dataset.labels
    if not labels.shape[1]:
        return "none"
    text = f"{labels.shape[1]} numbers per image"
    names = [str(i) for i in range(labels.shape[1])]
    if description is not None:
        names = [str(name) for name in description.made.get("classes", names)]
    if ((labels == 0) | (labels == 1)).all():
        counted = zip(names, labels.sum(axis=0).astype(int), strict=False)
        shown = [f"{name}: {count}" for name, count in counted]
        more = ", ..." if len(shown) > CLASSES_SHOWN else ""
        text += f" ({', '.join(shown[:CLASSES_SHOWN])}{more})"
    return text


def verify(args: argparse.Namespace) -> bool:
    """Reads everything; True if there is a problem. Duplicates are reported, but are none."""
    data_dir, name, description = place(args.tfrecord_dir)
    problems = [] if description is None else list(_file_problems(data_dir / name, description))
    counts = {}
    for size in resolutions(data_dir, name, skip_bad_records=True):
        dataset = open_dataset(data_dir, name, size, skip_bad_records=True)
        counts[size] = dataset.num_images + len(dataset.skipped)
        if dataset.skipped:
            problems.append(f"{dataset.path.name}: {len(dataset.skipped)} bad records")
    if len(set(counts.values())) > 1:
        problems.append(f"the resolutions differ in their numbers of images: {counts}")
    dataset = open_dataset(data_dir, name, skip_bad_records=True)
    try:
        num_labels = len(dataset.labels)
        if description is not None and description.label_size != dataset.label_size:
            problems.append(f"labels of {dataset.label_size} numbers, not {description.label_size}")
    except UserError as error:
        problems.append(str(error))
        num_labels = 0
    for line in _duplicates(dataset):
        print(line)
    for problem in problems:
        print(f"problem: {problem}")
    if not problems:
        print(
            f"{args.tfrecord_dir}: whole; {dataset.num_images} images of"
            f" {len(counts)} resolutions decoded, {num_labels} labels"
        )
    return bool(problems)


def _file_problems(folder: Path, description: Description) -> Iterator[str]:
    """Compares the files with what `dataset.json` says of them."""
    for shard in description.shards:
        checksum = google_crc32c.Checksum()
        size = 0
        try:
            with open(folder / shard.file, "rb") as file:
                while chunk := file.read(_CHUNK):
                    checksum.update(chunk)
                    size += len(chunk)
        except OSError as error:
            yield f"{shard.file}: {error.strerror or error}"
            continue
        if (size, checksum.hexdigest().decode()) != (shard.num_bytes, shard.crc32c):
            yield f"{shard.file} is not the file that was written: size or CRC-32C differ"


def _duplicates(dataset: Dataset) -> Iterator[str]:
    """Lines about images that are there several times, exactly or by their perceptual hash."""
    exact = np.zeros([dataset.num_images, 16], np.uint8)
    alike = np.zeros([dataset.num_images, 16], np.uint8)
    for number, image in enumerate(_bar(dataset.images(), dataset.num_images, "Duplicates")):
        exact[number] = np.frombuffer(hashlib.sha256(image.tobytes()).digest()[:16], np.uint8)
        look = hashlib.sha256(picture_hashes(image[None]).tobytes()).digest()
        alike[number] = np.frombuffer(look[:16], np.uint8)
    for what, hashes in (("identical", exact), ("of equal perceptual hash", alike)):
        groups = _groups(hashes)
        extra = sum(len(group) - 1 for group in groups)
        line = f"{extra} images {what} to an earlier one"
        if groups:
            shown = "; ".join(" ".join(map(str, group[:NAMED])) for group in groups[:NAMED])
            line += f", for example: {shown}"
        yield line


def _groups(hashes: np.ndarray) -> list[list[int]]:
    """Numbers of the images that share a hash, uint8 [M,16]; the first group begins first."""
    keys = np.ascontiguousarray(hashes).view("V16").reshape(-1)
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    groups = [part.tolist() for part in np.split(order, ends) if len(part) > 1]
    return sorted(groups)


def convert(args: argparse.Namespace) -> None:
    """Writes a data set in the other layout, labels too."""
    data_dir, name, description = place(args.tfrecord_dir)
    dataset = open_dataset(data_dir, name, args.resolution, skip_bad_records=args.skip_bad_records)
    mode = "L" if dataset.num_channels == 1 else "RGB"

    def fetch(number: int) -> np.ndarray:
        image = dataset.image(number)
        return image[:, :, 0] if mode == "L" else image

    made = {"command": "convert", "of": name}
    if description is not None:
        made = description.made
    labels = dataset.labels if dataset.label_size else None
    names = Numbered("record", dataset.numbers)
    source = ImageSource(dataset.path, names, fetch, labels, files=[dataset.path])
    options = BuildOptions(
        mode, args.layout == "published", args.workers, False, Path(os.devnull), made
    )
    found = build(args.output_dir, source, range(dataset.num_images), as_it_is, options)
    print(f"{args.output_dir}: {found.num_images} images, {format_bytes(found.num_bytes)}")
