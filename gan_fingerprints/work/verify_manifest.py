"""`verify-manifest`: whether an instance is the one that its signed manifest speaks of."""

import argparse
from dataclasses import asdict
from pathlib import Path

from dnnlib.errors import UserError
from fingerprints.instances.instance_manifest import ENDING, read_and_verify
from fingerprints.keys import load_public_key
from gan_fingerprints.work.output import emit


def verify_manifest(args: argparse.Namespace) -> None:
    """The command `verify-manifest`."""
    if args.instance is not None and len(args.manifests) > 1:
        raise UserError("--instance goes with one manifest; without it, each has its own")
    key = load_public_key(args.public_key)
    num_bad = 0
    for name in args.manifests:
        try:
            manifest = read_and_verify(name, key, _instance_of(name, args.instance))
        except UserError as error:
            num_bad += 1
            emit(args, {"manifest": name, "valid": False, "error": str(error)}, f"BAD  {error}")
            continue
        values = {"manifest": name, "valid": True, **asdict(manifest)}
        emit(
            args,
            values,
            f"good  {name}: {manifest.licensee}, {manifest.file_format}, {manifest.time}",
        )
    if num_bad:
        raise UserError(f"{num_bad} of {len(args.manifests)} manifests are not valid")


def _instance_of(manifest: str, instance: str | None) -> Path:
    if instance is not None:
        return Path(instance)
    if not manifest.endswith(ENDING):
        raise UserError(f"{manifest}: its name does not tell the instance; name it by --instance")
    return Path(manifest.removesuffix(ENDING))
