"""The signed manifest beside every instance: who has it, of which model, which file, and when.

A file holds `{"manifest": {...}, "signature": "<hex>"}`, in the one text that `write` makes of it;
the signature is Ed25519 over the canonical JSON of the manifest. No bits of a fingerprint are in
it, nor anything computed from them but the hash of the instance itself, so it can be shown to
anybody.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import DuplicateKeyError, canonical_json, parse_json
from dnnlib.errors import UserError
from dnnlib.files import check_regular, is_file, read_bytes

VERSION = 3  # the newest; manifests say the oldest that has all that they say
# Fields that manifests of earlier versions do not have.
_SINCE = {2: ("registry_id", "log_events"), 3: ("spread",)}
ENDING = ".manifest.json"  # behind the name of the instance
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class InstanceManifest:
    """What is signed about one instance."""

    licensee: str  # id in the registry
    model_hash: str  # SHA-256 in hex of the model that the instance is made from
    instance_hash: str  # `hash_tree` of the instance
    file_format: str  # e.g. "pkl", "saved_model", "onnx"
    time: str  # UTC, `event_log.utc_now`
    log_head: str  # hash of the registry's last event when the instance was made
    fingerprint_id: int | None = None  # id in the registry
    registry_id: str | None = None  # the log's
    log_events: int | None = None  # number of the event `log_head`
    spread: bool = False  # its weights were spread (`issue --spread`)
    version: int = 2


def sign(manifest: InstanceManifest, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The content of a manifest file."""
    unknown = _later_than(manifest.version)
    values = {name: value for name, value in asdict(manifest).items() if name not in unknown}
    return {"manifest": values, "signature": key.sign(_signed_bytes(values)).hex()}


def _later_than(version: int) -> set[str]:
    """Fields that manifests of a version do not have."""
    return {name for since, names in _SINCE.items() if since > version for name in names}


def write(
    path: str | os.PathLike[str],
    signed: dict[str, Any],
    enter: Callable[[str], None] | None = None,
) -> str:
    """Writes what `sign` returned, completely or not at all.

    Args:
        path: the file.
        signed: its content.
        enter: called with the hash that is returned, when all of the file is on the disk and
            before it appears under its name. If it fails, what was there before stays.

    Returns:
        SHA-256 of the file in hex.
    """
    data = _text(signed).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open_atomic(path) as file:
        file.write(data)
        if enter is not None:
            file.flush()
            os.fsync(file.fileno())
            enter(digest)
    return digest


def _text(signed: dict[str, Any]) -> str:
    """The one text of a manifest file."""
    return json.dumps(signed, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_and_verify(
    path: str | os.PathLike[str],
    public_key: Ed25519PublicKey,
    instance_path: str | os.PathLike[str] | None = None,
) -> InstanceManifest:
    """Reads a manifest file whose signature fits.

    Args:
        path: the manifest.
        public_key: of the key that signed it.
        instance_path: the instance's file or folder, if its hash is to be checked as well.

    Raises:
        UserError: not a manifest, a signature or instance that does not fit, or one of a version
            or with fields that this version does not know.
    """
    where = os.fspath(path)
    values, signature = _read(where)
    try:
        public_key.verify(signature, _signed_bytes(values))
    except InvalidSignature as error:
        raise UserError(
            f"{where}: the signature does not fit; the manifest was changed or signed with "
            "another key: check --public-key, or ask the issuer for the manifest again"
        ) from error
    manifest = _parse(values, where)
    if instance_path is not None and hash_tree(instance_path) != manifest.instance_hash:
        raise UserError(
            f"{os.fspath(instance_path)} is not the instance of {where}: its hash differs; it was "
            "changed, or this is another instance's manifest"
        )
    return manifest


def read_unverified(path: str | os.PathLike[str]) -> InstanceManifest:
    """Reads a manifest file without asking who signed it.

    Raises:
        UserError: as `read_and_verify`, but for the signature.
    """
    where = os.fspath(path)
    return _parse(_read(where)[0], where)


def hash_tree(path: str | os.PathLike[str]) -> str:
    """SHA-256 in hex of a file; of a folder, over its files' relative names and hashes, sorted.

    Empty folders in it do not count.

    Raises:
        UserError: something cannot be read, or is neither a file nor a folder.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            check_regular(path, "the instance")
            return _hash_file(path)
        members = sorted(path.rglob("*"))
        # Links could lead anywhere, and what they lead to could change without a trace here.
        odd = [m for m in members if m.is_symlink() or not (m.is_dir() or m.is_file())]
        if odd:
            raise UserError(f"{odd[0]} is a link or no plain file; an instance has only files")
        files = {m.relative_to(path).as_posix(): _hash_file(m) for m in members if m.is_file()}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    text = "folder" + canonical_json(files)  # no file of a user is taken for a folder
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signed_bytes(values: dict[str, Any]) -> bytes:
    return canonical_json(values).encode()


def _read(where: str) -> tuple[dict[str, Any], bytes]:
    """The two parts of a manifest file."""
    beside = f"{where}{ENDING}"
    if not where.endswith(ENDING) and is_file(beside):
        raise UserError(f"{where} is an instance; name its manifest, {beside}")
    data = read_bytes(where, "the manifest", _MAX_BYTES)
    try:
        content = parse_json(data)
        canonical_json(content).encode()  # no half characters
    except DuplicateKeyError as error:
        raise UserError(
            f"{where}: {error}, so that readers may differ in what was signed; get the manifest "
            "again"
        ) from error
    except ValueError as error:
        raise UserError(f"{where} is not an instance manifest: it holds no JSON") from error
    if not isinstance(content, dict) or set(content) != {"manifest", "signature"}:
        raise UserError(
            f"{where} is not an instance manifest: expected an object with the fields "
            "'manifest' and 'signature'"
        )
    values, signature = content["manifest"], content["signature"]
    if not isinstance(values, dict):
        raise UserError(f"{where} is not an instance manifest: 'manifest' must be an object")
    if not isinstance(signature, str) or not re.fullmatch("[0-9a-f]{128}", signature):
        raise UserError(f"{where}: 'signature' must be 128 hex digits; get the manifest again")
    if data != _text(content).encode():
        raise UserError(
            f"{where}: its text is not the canonical one, byte by byte, so it was edited or "
            "written by another program; get the manifest again"
        )
    return values, bytes.fromhex(signature)


def _parse(values: dict[str, Any], where: str) -> InstanceManifest:
    version = values.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise UserError(
            f"{where} has version {version!r}, this program reads versions 1 to {VERSION}; use "
            "the one that the issuer used"
        )
    known = {field.name for field in fields(InstanceManifest)} - _later_than(version)
    for what, names in (("unknown", set(values) - known), ("missing", known - set(values))):
        if names:
            listed = ", ".join(sorted(names))
            raise UserError(f"{where}: {what} fields {listed}; was it made by another program?")
    for name, value in values.items():
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if name in ("fingerprint_id", "log_events"):
            fits, wanted = is_int or value is None, "an integer or null"
        elif name == "registry_id":
            fits, wanted = isinstance(value, str) or value is None, "a text or null"
        elif name == "spread":
            fits, wanted = isinstance(value, bool), "true or false"
        elif name == "version":
            continue
        else:
            fits, wanted = isinstance(value, str), "a text"
        if not fits:
            raise UserError(f"{where}: {name!r} must be {wanted}, got {value!r}")
    return InstanceManifest(**values)
