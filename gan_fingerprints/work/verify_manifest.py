"""`verify-manifest`: whether an instance is the one that its signed manifest speaks of."""

import argparse
from dataclasses import asdict
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dnnlib.errors import UserError
from fingerprints.instances.instance_manifest import ENDING, read_and_verify
from fingerprints.keys import load_public_key
from gan_fingerprints.work.output import emit

_ENDINGS = (".pkl", ".savedmodel", ".onnx")  # of instances whose manifest is not beside them


def verify_manifest(args: argparse.Namespace) -> None:
    """The command `verify-manifest`."""
    if args.instance is not None and len(args.manifests) > 1:
        raise UserError("--instance goes with one manifest; without it, each has its own")
    key = load_public_key(args.public_key)
    instead = {name: text for name in args.manifests if (text := _instance_instead(Path(name)))}
    if len(args.manifests) == 1 and instead:
        raise UserError(*instead.values())
    num_bad = sum(not _check(args, name, key, instead.get(name)) for name in args.manifests)
    if num_bad:
        raise UserError(f"{num_bad} of {len(args.manifests)} manifests are not valid")


def _check(args: argparse.Namespace, name: str, key: Ed25519PublicKey, instead: str | None) -> bool:
    """Prints the line of one file; whether it is a good manifest."""
    if instead is not None:
        values = {"manifest": name, "valid": False, "error": instead}
        emit(args, values, f"no manifest  {instead}")
        return False
    try:
        manifest = read_and_verify(name, key, _instance_of(name, args.instance))
    except UserError as error:
        emit(args, {"manifest": name, "valid": False, "error": str(error)}, f"BAD  {error}")
        return False
    values = {"manifest": name, "valid": True, **asdict(manifest)}
    text = f"good  {name}: {manifest.licensee}, {manifest.file_format}, {manifest.time}"
    emit(args, values, text)
    return True


def _instance_instead(path: Path) -> str | None:
    """What to say where the file is an instance, or seems to be one, and not its manifest."""
    if path.name.endswith(ENDING):
        return None
    manifest = path.with_name(path.name + ENDING)
    if manifest.is_file():
        return f"{path} is an instance; its manifest is {manifest}: name that one"
    if path.exists() and path.name.endswith(_ENDINGS):
        return (
            f"{path} is an instance; its manifest, {manifest.name}, does not lie beside it: ask "
            "the issuer for it"
        )
    return None


def _instance_of(manifest: str, instance: str | None) -> Path:
    if instance is not None:
        return Path(instance)
    if not manifest.endswith(ENDING):
        raise UserError(f"{manifest}: its name does not tell the instance; name it by --instance")
    return Path(manifest.removesuffix(ENDING))
