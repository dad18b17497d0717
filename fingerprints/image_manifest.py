"""`fingerprints.jsonl`: which image carries which fingerprint, one JSON object a line."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
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


def write_manifest(path: str | os.PathLike[str], entries: Iterable[ManifestEntry]) -> None:
    """Writes a manifest atomically; the keys are file, seed, fingerprint (hex) and num_bits.

    Raises:
        UserError: it cannot be written.
    """
    with open_atomic(path, "w", encoding="utf-8") as file:
        for entry in entries:
            values = {
                "file": entry.file,
                "seed": entry.seed,
                "fingerprint": format_hex(np.array(entry.bits)),
                "num_bits": entry.num_bits,
            }
            file.write(json.dumps(values) + "\n")


def read_manifest(path: str | os.PathLike[str]) -> list[ManifestEntry]:
    """Reads a manifest; further keys, which users may add, are left alone.

    Raises:
        UserError: no such file, or a line that is no entry; names the file and the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot read the manifest {os.fspath(path)}: {error}") from error
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
