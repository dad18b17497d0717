"""C2PA in commands: pictures that are written say what they are; those that are read are asked."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import canonical_json
from dnnlib.errors import UserError
from dnnlib.files import is_file, read_bytes, read_text
from dnnlib.image_grid import png_bytes, save_png
from dnnlib.optional import require
from dnnlib.run_dir import append_line
from fingerprints.handles import PREFIX, SOFT_BINDING, handle_of
from fingerprints.instances import instance_manifest
from fingerprints.provenance.c2pa_manifest import (
    MISSING,
    Credentials,
    Origin,
    Signer,
    agreement,
    read_credentials,
)
from gan_fingerprints.work.bulk import ResultsOf
from gan_fingerprints.work.output import Line

MANIFESTS = "manifests.jsonl"  # which of them have which soft binding, for `serve --manifests`
Save = Callable[[np.ndarray, Path], None]


def make_saver(args: argparse.Namespace) -> Save:
    """How `generate-images` writes a picture: as it is, or with a C2PA manifest.

    Raises:
        UserError: the key, its certificates or the handle cannot be used.
    """
    if args.c2pa is None:
        return save_png
    signer = Signer(args.c2pa)
    model, handle = _origin_of(args)
    if args.c2pa_handle is not None:
        handle = args.c2pa_handle
        if not handle.startswith(PREFIX):
            raise UserError(f"--c2pa-handle={handle}: handles begin with {PREFIX}")

    def save(image: np.ndarray, path: Path) -> None:
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        origin = Origin(path.name, model, time, handle, args.c2pa_alg)
        signed = signer.sign(png_bytes(image), "image/png", origin)
        found = read_credentials(signed, "image/png")
        if found is None or not found.is_valid:
            raise UserError(
                f"--c2pa={args.c2pa}: c2pa-python does not accept what it signed; make another key"
            )
        if handle is not None:
            entry = {"manifestId": found.manifest_id, "alg": args.c2pa_alg, "value": handle}
            append_line(path.parent / MANIFESTS, canonical_json(entry | {"file": path.name}))
        with open_atomic(path) as file:
            file.write(signed)

    return save


def _origin_of(args: argparse.Namespace) -> tuple[str, str | None]:
    """What a network is called in manifests, and the handle of its fingerprint, if it has one.

    An instance is known by the manifest beside it, which its licensee got with it.
    """
    path = args.network + instance_manifest.ENDING
    if not is_file(path):
        return os.path.basename(args.network), None
    found = instance_manifest.read_unverified(path)
    handle = None
    if found.registry_id is not None and found.fingerprint_id is not None:
        handle = handle_of(found.registry_id, found.model_hash, found.fingerprint_id)
    return f"model {found.model_hash[:12]}", handle


class CredentialsOf:
    """Reads the credentials of pictures."""

    def __init__(self, alg: str, anchors: str | None) -> None:
        """Takes the name of our soft bindings, and a file of trusted certificates.

        Raises:
            UserError: c2pa-python is not installed, or the file cannot be read.
        """
        require("c2pa", MISSING)
        self.alg = alg
        self._anchors = None if anchors is None else read_text(anchors, "the trusted certificates")

    def read(self, content: bytes, kind: str | None = None) -> Credentials | None:
        """What a picture says; `kind` is found from its content if it is not given."""
        return read_credentials(content, kind or kind_of(content), self._anchors)

    def values(
        self, found: Credentials | None, handle: str | None, is_ours: bool
    ) -> dict[str, Any]:
        """What an answer says of it: JSON values."""
        values = {} if found is None else dataclasses.asdict(found)
        return {
            "c2pa": agreement(found, handle, is_ours, self.alg),
            "c2pa_manifest": values.get("manifest_id"),
            "c2pa_issuer": values.get("issuer"),
            "c2pa_trusted": values.get("is_trusted"),
        }


def kind_of(content: bytes) -> str:
    """The MIME type of a picture, by its first bytes."""
    if content.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return "image/tiff" if content[:4] in (b"II*\0", b"MM\0*") else "image/png"


def with_credentials(args: argparse.Namespace, results_of: ResultsOf) -> ResultsOf:
    """Results that also say what pictures say of themselves, for `verify --c2pa`.

    Raises:
        UserError: as `CredentialsOf`, or with `--pool`.
    """
    if not args.c2pa:
        if args.c2pa_anchors is not None:
            raise UserError("--c2pa-anchors says whom to trust; give --c2pa as well")
        return results_of
    if args.pool:
        raise UserError("--c2pa looks at each picture by itself; leave --pool out")
    reader = CredentialsOf(args.c2pa_alg or SOFT_BINDING, args.c2pa_anchors)

    def asked(names: Sequence[str], num_done: int) -> Generator[list[Line], None, None]:
        for lines in results_of(names, num_done):
            yield [_asked(reader, line) for line in lines]

    return asked


def _asked(reader: CredentialsOf, line: Line) -> Line:
    if "error" in line.values:
        return line
    is_ours = line.values["verdict"] != "not-ours"
    content = read_bytes(line.values["file"], "the picture")
    found = reader.read(content)
    values = reader.values(found, line.values.get("handle"), is_ours)
    text = "no C2PA" if found is None else f"C2PA: {values['c2pa']} ({found.issuer})"
    return Line(line.values | values, f"{line.text}  {text}")
