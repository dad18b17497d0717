"""`decode`: the bits that images carry."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from fingerprints.bits import decide_bits, format_hex, parse_fingerprint
from fingerprints.detection.tails import confidence, count_matches, match_pvalue
from fingerprints.image_manifest import FILE_NAME, ManifestEntry, read_manifest
from gan_fingerprints.work.images import Reader, image_paths
from gan_fingerprints.work.output import emit
from training.models.snapshot import load_networks


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
    paths = image_paths(args)
    entries: Sequence[ManifestEntry | None] = [None] * len(paths)
    if args.expect is None:
        entries = find_entries(paths, args.manifest)

    network = load_networks(args.network, only="decoder").decoder
    expected = _expected_bits(args, entries, network.fingerprint_size)
    truth_of = dict(zip(paths, expected, strict=True))
    reader = Reader(args, network, len(paths))

    num_match = num_compared = 0
    for path, logits, _ in reader.read(paths):
        truth = truth_of[path]
        result = describe(path, logits, truth)
        if truth is not None:
            num_match += result["match"]
            num_compared += 1
        emit(args, result, _text(result))
    if num_compared:
        num_bits = num_compared * network.fingerprint_size
        summary = {
            "images": num_compared,
            "match": num_match,
            "num_bits": num_bits,
            "bit_accuracy": num_match / num_bits,
        }
        emit(
            args,
            {"summary": summary},
            f"bit accuracy {num_match / num_bits:.4f} "
            f"({num_match} of {num_bits} bits, {num_compared} images)",
        )
    reader.finish(len(paths))


def describe(path: Path, logits: np.ndarray, expected: np.ndarray | None) -> dict[str, Any]:
    """What the decoder reads from one image, as one line of `--json`.

    Args:
        path: the image.
        logits: [B] of the decoder.
        expected: the true fingerprint, [B] of 0 and 1, or None if it is not known.
    """
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
