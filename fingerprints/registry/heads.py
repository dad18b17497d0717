"""Heads of the log that are kept outside the registry: what was cut off its end shows by them."""

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import is_folder, read_text

ENDING = ".heads.json"  # behind the name of the signing key
_MANIFESTS = "*.manifest.json"
_MAX_BYTES = 1_000_000


def store_head(key: str | os.PathLike[str], registry_id: str, head: str) -> Path:
    """Keeps the newest head of a registry's log beside a signing key, one per registry.

    Args:
        key: path of the key.
        registry_id, head: of the registry.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written, or holds something else.
    """
    path = Path(f"{os.fspath(key)}{ENDING}")
    heads = _read_heads(path) if path.exists() else {}
    if heads.get(registry_id) != head:
        with open_atomic(path, "w", encoding="utf-8") as file:
            json.dump({**heads, registry_id: head}, file, indent=2, sort_keys=True)
            file.write("\n")
    return path


def _read_heads(path: Path) -> dict[str, str]:
    try:
        found = parse_json(read_text(path, "the heads", _MAX_BYTES))
    except ValueError as error:
        raise UserError(f"{path} holds no heads of a log ({error}); move it away") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise UserError(f"{path} holds no heads of a log; move it away")
    return found


def find_heads(
    folders: Iterable[Path], registry_id: str, model_hashes: Collection[str]
) -> dict[str, str]:
    """Heads that files beside a registry carry.

    Args:
        folders: where manifests of instances and files of `store_head` are looked for.
        registry_id: of the registry.
        model_hashes: of its models; manifests of other models are passed over.

    Returns:
        The head of each file -> the file. Files that are no such thing are passed over.
    """
    found: dict[str, str] = {}
    for folder in folders:
        if not is_folder(folder):
            continue
        for path in sorted(folder.glob(f"*{ENDING}")):
            try:
                head = _read_heads(path).get(registry_id)
            except UserError:
                continue
            if head:
                found.setdefault(head, str(path))
        for path in sorted(folder.glob(_MANIFESTS)):
            head = _head_of_manifest(path, model_hashes)
            if head:
                found.setdefault(head, str(path))
    return found


def _head_of_manifest(path: Path, model_hashes: Collection[str]) -> str | None:
    """The head that a manifest carries; its signature is not checked, it can only raise alarm."""
    try:
        values = parse_json(read_text(path, "the manifest", _MAX_BYTES))["manifest"]
        head, model_hash = values["log_head"], values["model_hash"]
    except (UserError, ValueError, KeyError, TypeError):
        return None
    return head if isinstance(head, str) and model_hash in model_hashes else None
