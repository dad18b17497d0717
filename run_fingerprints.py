"""Reads fingerprints back from images."""

import argparse
import glob
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from dnnlib import cli
from dnnlib.errors import UserError
from fingerprints.bits import format_hex, parse_fingerprint
from fingerprints.manifest import FILE_NAME, ManifestEntry, read_manifest

DECODE_DESCRIPTION = """\
Prints the fingerprint that each image carries, and how sure the decoder is of its bits (the
probability of the bit that it chose: 0.5 is a guess, 1 is certain; mean and worst bit). Where the
true fingerprint is known, from --expect, --manifest or the fingerprints.jsonl beside the images,
it also prints the number of bits that match, the probability p of matching that many by chance,
and at the end the bit accuracy over these images.
"""
DECODE_EXAMPLES = """examples:
  python3 run_fingerprints.py decode --network=network-final.pkl results/00000-generate-images
  python3 run_fingerprints.py decode --network=network-final.pkl --expect=cafe1234 picture.jpg
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of this file; every command has a function that adds its parser."""
    parser = cli.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_decode(commands)
    return parser


def add_decode(commands: "argparse._SubParsersAction[cli.ArgumentParser]") -> None:
    """Adds the command `decode`."""
    parser = commands.add_parser(
        "decode",
        help="print the fingerprints that images carry",
        description=DECODE_DESCRIPTION,
        epilog=DECODE_EXAMPLES,
    )
    parser.set_defaults(function=decode)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="image files, patterns such as 'out/*.png', or folders: the images that the folder's "
        f"{FILE_NAME} lists, or every image of a folder that has none",
    )
    parser.add_argument(
        "--network", required=True, metavar="PKL", help="snapshot: a file or an https URL"
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        "--expect", metavar="HEX|BITS", help="the fingerprint that every image should carry"
    )
    truth.add_argument(
        "--manifest",
        metavar="JSONL",
        help="the file that says which fingerprint each image should carry; images are found by "
        f"name (default: {FILE_NAME} beside the images, if every image has one there)",
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring images to the network's size (Lanczos)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=16,
        metavar="N",
        help="images per step (default: 16)",
    )
    cli.add_execution(parser)
    parser.add_verbose()


def find_images(arguments: Sequence[str]) -> list[Path]:
    """The files that files, patterns and folders stand for; none of them is opened.

    Raises:
        UserError: there is no such file, or a pattern or folder gives none.
    """
    paths: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = _images_in(path)
        elif path.exists() or not glob.has_magic(argument):
            found = [path]
        else:
            found = [Path(name) for name in sorted(glob.glob(argument))]
        if not found:
            raise UserError(f"{argument}: there are no images; name image files or their folder")
        paths += found
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file; name image files or their folder")
    return paths


def _images_in(folder: Path) -> list[Path]:
    Image.init()
    suffixes = {s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if not (folder / FILE_NAME).is_file():
        return images
    listed = [folder / entry.file for entry in read_manifest(folder / FILE_NAME)]
    known = frozenset(listed)
    others = [path.name for path in images if path not in known]
    if others:
        print(
            f"{folder}: left out {len(others)} that {FILE_NAME} does not list ({others[0]}"
            f"{', ...' if len(others) > 1 else ''})",
            file=sys.stderr,
        )
    return listed


def find_entries(paths: Sequence[Path], manifest: str | None) -> list[ManifestEntry | None]:
    """What the manifest says of each image, or the manifests beside the images if it is None.

    Raises:
        UserError: a manifest cannot be read, or the named one does not list an image.
    """
    if manifest is not None:
        entries = _lookup(paths, Path(manifest))
        for path, entry in zip(paths, entries, strict=True):
            if entry is None:
                raise UserError(f"--manifest={manifest} does not list {path.name} ({path})")
        return entries
    folders = sorted({path.parent for path in paths})
    if not all((folder / FILE_NAME).is_file() for folder in folders):
        return [None] * len(paths)
    found: dict[Path, ManifestEntry | None] = {}
    for folder in folders:
        print(f"comparing with {folder / FILE_NAME}", file=sys.stderr)
        inside = [path for path in paths if path.parent == folder]
        found.update(zip(inside, _lookup(inside, folder / FILE_NAME), strict=True))
    return [found[path] for path in paths]


def _lookup(paths: Sequence[Path], manifest: Path) -> list[ManifestEntry | None]:
    by_file = {entry.file: entry for entry in read_manifest(manifest)}
    folder = manifest.parent.resolve()
    entries = []
    for path in paths:
        full = path.resolve()
        inside = full.is_relative_to(folder)
        entries.append(by_file.get(full.relative_to(folder).as_posix() if inside else path.name))
    return entries


def read_image(path: Path, resolution: int, num_channels: int, *, resize: bool) -> np.ndarray:
    """Reads any image that Pillow reads, as uint8 [R,R,C] in the network's channels.

    Grey, palette and CMYK images become RGB, colour images become grey for a network with one
    channel, transparency is dropped, 16-bit grey is cut to 8 bits, EXIF rotation is applied.

    Raises:
        UserError: unreadable, of another size without `resize`, or with 32-bit pixels.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            if picture.mode in ("I", "F"):
                raise UserError(f"{path}: 32-bit pixels have no known range; save 8 bits instead")
            picture = picture.convert("L" if num_channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image: {error}") from error
    if picture.size != (resolution, resolution):
        if not resize:
            width, height = picture.size
            raise UserError(
                f"{path}: {width}x{height} pixels, but the network decodes "
                f"{resolution}x{resolution}; --resize brings images to that size"
            )
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(resolution, resolution, num_channels)


def _expected_bits(
    args: argparse.Namespace, entries: Sequence[ManifestEntry | None], num_bits: int
) -> list[np.ndarray | None]:
    if args.expect is not None:
        try:
            return [parse_fingerprint(args.expect, num_bits)] * len(entries)
        except UserError as error:
            raise UserError(f"--expect with --network={args.network}: {error}") from error
    for entry in entries:
        if entry is not None and entry.num_bits != num_bits:
            complaint = (
                f"lists fingerprints of {entry.num_bits} bits, but --network={args.network} "
                f"decodes {num_bits}"
            )
            if args.manifest is not None:
                raise UserError(f"--manifest={args.manifest} {complaint}")
            # Found, not asked for: the fingerprints can still be read.
            print(f"not comparing: {FILE_NAME} {complaint}", file=sys.stderr)
            return [None] * len(entries)
    return [None if e is None else np.array(e.bits, dtype=np.uint8) for e in entries]


def decode(args: argparse.Namespace) -> None:
    """The command `decode`."""
    paths = find_images(args.images)
    entries: Sequence[ManifestEntry | None] = [None] * len(paths)
    if args.expect is None:
        entries = find_entries(paths, args.manifest)

    from tqdm import tqdm

    from dnnlib.tflib.execution import resolve_execution
    from training.decoding import make_decoder
    from training.snapshot import load_networks

    execution = resolve_execution(args.ops, args.precision)
    network = load_networks(args.network, only="decoder").decoder
    expected = _expected_bits(args, entries, network.fingerprint_size)
    decode_images = make_decoder(network, min(args.minibatch, len(paths)), execution)

    num_match = num_compared = 0
    with tqdm(total=len(paths), unit="image", file=sys.stderr, disable=None) as progress:
        for start in range(0, len(paths), args.minibatch):
            part = slice(start, start + args.minibatch)
            images = [
                read_image(path, network.resolution, network.num_channels, resize=args.resize)
                for path in paths[part]
            ]
            logits = decode_images(np.stack(images))  # [N,B]
            if not np.isfinite(logits).all():
                raise UserError(
                    f"--network={args.network}: its decoder gives values that are not finite; "
                    "use another snapshot"
                )
            for path, row, truth in zip(paths[part], logits, expected[part], strict=True):
                result = describe(path, row, truth)
                if truth is not None:
                    num_match += result["match"]
                    num_compared += 1
                line = json.dumps(result) if args.json else _text(result)
                tqdm.write(line, file=sys.stdout)
                progress.update()
    if num_compared:
        num_bits = num_compared * network.fingerprint_size
        summary = {
            "images": num_compared,
            "match": num_match,
            "num_bits": num_bits,
            "bit_accuracy": num_match / num_bits,
        }
        print(
            json.dumps({"summary": summary})
            if args.json
            else f"bit accuracy {num_match / num_bits:.4f} "
            f"({num_match} of {num_bits} bits, {num_compared} images)"
        )


def describe(path: Path, logits: np.ndarray, expected: np.ndarray | None) -> dict[str, Any]:
    """What the decoder reads from one image, as one line of `--json`.

    Args:
        path: the image.
        logits: [B] of the decoder.
        expected: the true fingerprint, [B] of 0 and 1, or None if it is not known.
    """
    from fingerprints.detection import confidence, count_matches, decide_bits, match_pvalue

    bits = decide_bits(logits)
    result: dict[str, Any] = {
        "file": str(path),
        "fingerprint": format_hex(bits),
        "num_bits": len(bits),
        "confidence": confidence(logits).round(6).tolist(),
    }
    if expected is not None:
        match = int(count_matches(bits, expected))
        result["expected"] = format_hex(expected)
        result["match"] = match
        result["pvalue"] = match_pvalue(match, len(bits))
    return result


def _text(result: dict[str, Any]) -> str:
    sure = result["confidence"]
    line = f"{result['file']}  {result['fingerprint']}"
    line += f"  confidence {sum(sure) / len(sure):.3f} (worst {min(sure):.3f})"
    if "match" in result:
        line += f"  match {result['match']}/{result['num_bits']}  p {result['pvalue']:.1e}"
    return line


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv` (without the program's name); None means sys.argv."""
    args = build_parser().parse_args(argv)
    cli.quiet_tensorflow(args.verbose)
    args.function(args)


if __name__ == "__main__":
    cli.run(main)
