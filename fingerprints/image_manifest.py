"""`fingerprints.jsonl`: which image carries which fingerprint, one JSON object a line."""

import glob
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import is_file, read_text
from dnnlib.format import printable
from dnnlib.images import is_image_name
from dnnlib.run_dir import append_line
from fingerprints.bits import format_hex, parse_fingerprint

FILE_NAME = "fingerprints.jsonl"


@dataclass(frozen=True)
class ManifestEntry:
    """One image and the fingerprint that it was made with."""

    file: str  # path of the image, relative to the manifest's folder
    seed: int | None  # seed of its latent and noise; None when it was not made by a seed
    bits: tuple[int, ...]  # the fingerprint, 0 and 1

    @property
    def num_bits(self) -> int:
        """Length B of the fingerprint."""
        return len(self.bits)


@contextmanager
def listing(path: Path, entry: ManifestEntry) -> Iterator[None]:
    """Adds a line to a manifest; the block writes its image.

    So no image is ever without its fingerprint, whatever stops the command. If the block fails and
    there is no image, the line is taken away. The keys are file, seed, fingerprint (hex) and
    num_bits.

    Raises:
        UserError: it cannot be written.
    """
    values = {
        "file": entry.file,
        "seed": entry.seed,
        "fingerprint": format_hex(np.array(entry.bits)),
        "num_bits": entry.num_bits,
    }
    size = path.stat().st_size if path.exists() else 0
    try:
        append_line(path, json.dumps(values))
        yield
    except BaseException:
        with suppress(OSError):
            if not (path.parent / entry.file).exists():
                os.truncate(path, size)
                if size == 0:
                    path.unlink()
        raise


def read_manifest(path: str | os.PathLike[str]) -> list[ManifestEntry]:
    """Reads a manifest; further keys, which users may add, are left alone.

    A last line that a full disk has cut off is left out, which stderr says.

    Raises:
        UserError: no such file, or a line that is no entry; names the file and the line.
    """
    text = read_text(path, "the manifest")
    lines = text.splitlines()
    if lines and not text.endswith("\n") and not lines[-1].rstrip().endswith("}"):
        print(f"{printable(path)}: the last line is cut off and left out", file=sys.stderr)
        lines.pop()
    entries: dict[str, ManifestEntry] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{os.fspath(path)}, line {number}"
        entry = _parse_line(line, where)
        if entry.file in entries:
            raise UserError(f"{where}: {entry.file} is listed twice; remove one of the lines")
        entries[entry.file] = entry
    return list(entries.values())


@dataclass(frozen=True)
class LocatedEntry:
    """An entry of a manifest, and the file that it speaks of."""

    path: Path
    entry: ManifestEntry


def locate(manifest: Path) -> list[LocatedEntry]:
    """The entries of a manifest with their files.

    For a file that is gone, one of the same name but for its ending takes its place, which stderr
    says: pictures are converted. Where there is none, or several, the path is that of the entry.

    Raises:
        UserError: as `read_manifest`.
    """
    entries = read_manifest(manifest)
    folder = manifest.parent
    listed = {folder / entry.file for entry in entries}
    found = []
    converted = 0
    for entry in entries:
        path = folder / entry.file
        if not is_file(path):
            others = [other for other in _same_stem(path) if other not in listed]
            if len(others) == 1:
                path = others[0]
                converted += 1
        found.append(LocatedEntry(path, entry))
    if converted:
        print(
            f"{printable(folder)}: {converted} files that {FILE_NAME} lists are there with another "
            "ending",
            file=sys.stderr,
        )
    return found


def _same_stem(path: Path) -> list[Path]:
    candidates = path.parent.glob(f"{glob.escape(path.stem)}.*")
    return [other for other in candidates if is_image_name(other.name) and is_file(other)]


def _parse_line(line: str, where: str) -> ManifestEntry:
    try:
        values = parse_json(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, got {type(values).__name__}")
    kinds = {"file": str, "fingerprint": str, "num_bits": int}
    for key, kind in kinds.items():
        # JSON's true is an int for isinstance.
        if not isinstance(values.get(key), kind) or isinstance(values[key], bool):
            wanted = "an integer" if kind is int else "a text"
            raise UserError(f"{where}: {key!r} must be {wanted}, got {values.get(key)!r}")
    if values["num_bits"] < 1:
        raise UserError(f"{where}: 'num_bits' must be at least 1, got {values['num_bits']}")
    seed = values.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise UserError(f"{where}: 'seed' must be an integer or null, got {seed!r}")
    try:
        bits = parse_fingerprint(values["fingerprint"], values["num_bits"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return ManifestEntry(file=values["file"], seed=seed, bits=tuple(bits.tolist()))
