"""Heads of logs, kept outside of the registries: `NAME.heads.json`.

Whoever can write a database can cut off the end of its log, and put an older copy in its place.
Only a head that is kept elsewhere shows it. A file has, for any number of registries, the newest
head that was seen, and every older one that the log no longer has.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnnlib.atomic import open_atomic
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import read_bytes
from fingerprints.registry.event_log import LogHead
from fingerprints.registry.facade import Registry

ENDING = ".heads.json"
_FORMAT = "log heads 1"
_MAX_BYTES = 10_000_000


def heads_beside(path: str | os.PathLike[str]) -> Path:
    """The file of heads that belongs to a key."""
    path = Path(path)
    return path.with_name(path.name + ENDING)


def read_heads(path: str | os.PathLike[str]) -> list[LogHead]:
    """The heads in a file, none if there is no file.

    Raises:
        UserError: it cannot be read or is something else.
    """
    where = os.fspath(path)
    if not os.path.lexists(path):
        return []
    try:
        content = parse_json(read_bytes(path, "the log heads", _MAX_BYTES))
    except ValueError as error:
        raise UserError(f"{where} is no file of log heads ({error}); move it away") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"{where} is no file of log heads, or of another version; move it away")
    return [head_of(values, where) for values in content.get("heads", [])]


def head_of(values: Any, where: str) -> LogHead:
    """The head in the fields that a file of heads, a manifest and a verdict have.

    Raises:
        UserError: one of them is missing or of another kind.
    """
    kinds = {"registry_id": str, "log_events": int, "log_head": str}
    for name, kind in kinds.items():
        if not isinstance(values, dict) or type(values.get(name)) is not kind:
            raise UserError(f"{where}: {name!r} is missing, or no {kind.__name__}; move it away")
    return LogHead(**{name: values[name] for name in kinds})


def keep_head(path: str | os.PathLike[str], registry: Registry) -> list[LogHead]:
    """Enters the registry's newest head into a file.

    Returns:
        The heads in the file that the log no longer has. They stay there.

    Raises:
        UserError: the file cannot be read or written, or is something else.
    """
    kept = read_heads(path)
    own = [head for head in kept if head.registry_id == registry.id]
    lost = [head for head in own if registry.event_number(head.log_head) is None]
    newest = [*lost, registry.log_head()]
    if own != newest:
        others = [head for head in kept if head.registry_id != registry.id]
        content = {"format": _FORMAT, "heads": [asdict(head) for head in [*others, *newest]]}
        with open_atomic(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
    return lost
