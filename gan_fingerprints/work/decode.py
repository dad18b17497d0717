"""`decode`: the bits that images carry."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import is_file
from dnnlib.format import printable
from fingerprints.bits import decide_bits, format_hex, parse_fingerprint
from fingerprints.detection.tails import confidence, count_matches, match_pvalue
from fingerprints.image_manifest import FILE_NAME, ManifestEntry, locate
from gan_fingerprints.work import bulk
from gan_fingerprints.work.images import Reader, check_all_read, load_decoder
from gan_fingerprints.work.output import Line, emit
from gan_fingerprints.work.results import DECODE_COLUMNS, open_results


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
    by_folder: dict[Path, list[Path]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path)
    if not all(is_file(folder / FILE_NAME) for folder in by_folder):
        return [None] * len(paths)
    found: dict[Path, ManifestEntry | None] = {}
    for folder, inside in sorted(by_folder.items()):
        print(f"comparing with {printable(folder / FILE_NAME)}", file=sys.stderr)
        found.update(zip(inside, _lookup(inside, folder / FILE_NAME), strict=True))
    return [found[path] for path in paths]


def _lookup(paths: Sequence[Path], manifest: Path) -> list[ManifestEntry | None]:
    located = locate(manifest)
    by_path = {os.path.realpath(found.path): found.entry for found in located}
    by_file = {found.entry.file: found.entry for found in located}
    folder = Path(os.path.realpath(manifest.parent))
    entries = []
    for path in paths:
        full = Path(os.path.realpath(path))
        name = full.relative_to(folder).as_posix() if full.is_relative_to(folder) else path.name
        entries.append(by_path.get(str(full)) or by_file.get(name))
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


class Describer:
    """Says what was read, and how much of it is right where that is known."""

    def __init__(self, truth_of: Mapping[Path, np.ndarray | None]) -> None:
        self._truth_of = truth_of

    def singles(self, paths: Sequence[Path], logits: np.ndarray) -> list[Line]:
        """See `bulk.Judge`."""
        read = zip(paths, decide_bits(logits), confidence(logits).round(6).tolist(), strict=True)
        found = [describe(path, bits, sure, self._truth_of[path]) for path, bits, sure in read]
        return [Line(result, _text(result)) for result in found]

    def pool(self, name: str, logits: np.ndarray, hashes: np.ndarray) -> Line:
        """Nothing of `decode`, which has no pools."""
        raise NotImplementedError


def decode(args: argparse.Namespace) -> None:
    """The command `decode`."""
    work = bulk.find_work(args)
    paths = list(map(Path, work.names))
    entries: Sequence[ManifestEntry | None] = [None] * len(paths)
    if args.expect is None:
        entries = find_entries(paths, args.manifest)

    network, _, decoder_hash = load_decoder(args.network)
    expected = _expected_bits(args, entries, network.fingerprint_size)
    truth_of = dict(zip(paths, expected, strict=True))
    reader = Reader(args, network, len(paths))
    results_of = partial(bulk.judge_all, work, reader, Describer(truth_of))
    about = {"the command": "decode", "the decoder": decoder_hash}
    with open_results(args, about, DECODE_COLUMNS) as results:
        tally = bulk.run(work, results, results_of)
    num_images = tally.num_images + tally.num_bad
    if tally.num_compared:
        accuracy = tally.num_match / tally.num_bits
        summary = {
            "images": tally.num_compared,
            "match": tally.num_match,
            "num_bits": tally.num_bits,
            "bit_accuracy": accuracy,
            "resumed": tally.num_resumed,
        }
        text = f"bit accuracy {accuracy:.4f} ({tally.num_match} of {tally.num_bits} bits, "
        emit(args, {"summary": summary}, f"{text}{tally.num_compared} images)")
    elif args.out is not None:
        summary = {"images": tally.num_images, "resumed": tally.num_resumed}
        emit(args, {"summary": summary}, f"{num_images} images, {tally.num_resumed} of them before")
    where = "their lines" if args.out is None else f"their rows in {args.out}"
    check_all_read(tally.num_bad, num_images, where)


def describe(
    path: Path, bits: np.ndarray, sure: list[float], expected: np.ndarray | None
) -> dict[str, Any]:
    """What the decoder reads from one image, as one line of `--json`.

    Args:
        path: the image.
        bits: what was decided, [B] of 0 and 1.
        sure: `tails.confidence` of each.
        expected: the true fingerprint, [B] of 0 and 1, or None if it is not known.
    """
    result: dict[str, Any] = {
        "file": str(path),
        "fingerprint": format_hex(bits),
        "num_bits": len(bits),
        "confidence": sure,
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
