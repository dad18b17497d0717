"""Heads of a registry's log that others hold, and what the log lacks of what they tell.

Every manifest has the head at the time of issue, so has every verdict; beside keys lie files of
heads (`registry.heads`). The files are taken at their word: signatures are another question.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import read_text
from fingerprints.instances import instance_manifest
from fingerprints.registry import heads
from fingerprints.registry.event_log import GENESIS
from fingerprints.registry.facade import Registry

_MAX_NAMED = 3  # files in one line


@dataclass(frozen=True)
class Witness:
    """A head of a log, and where it was found."""

    file: Path
    log_head: str  # hash of an event
    log_events: int | None  # its number; None: a manifest of version 1
    registry_id: str | None  # None: as above
    what: str  # in a few words
    model_hash: str | None = None  # of a manifest
    manifest_hash: str | None = None  # SHA-256 of a manifest's file


def find_witnesses(places: Iterable[Path]) -> list[Witness]:
    """Heads in files and folders.

    Args:
        places: manifests, files of heads, saved output of `verify --json`; or folders, in which,
            and in whose folders, manifests and files of heads are looked for. A folder that does
            not exist holds none.

    Raises:
        UserError: a file cannot be read or is none of these.
    """
    files: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            files.setdefault(place.resolve(), place)
            continue
        for ending in (instance_manifest.ENDING, heads.ENDING):
            for pattern in (f"*{ending}", f"*/*{ending}"):
                for path in sorted(place.glob(pattern)):
                    files.setdefault(path.resolve(), path)
    return [witness for path in files.values() for witness in _read(path)]


def _read(path: Path) -> Iterator[Witness]:
    if path.name.endswith(heads.ENDING):
        for head in heads.read_heads(path):
            yield Witness(path, head.log_head, head.log_events, head.registry_id, "a kept head")
    elif path.name.endswith(instance_manifest.ENDING):
        manifest = instance_manifest.read_unverified(path)
        if manifest.log_head:  # none: payload mode
            yield Witness(
                path,
                manifest.log_head,
                manifest.log_events,
                manifest.registry_id,
                f"issued to {manifest.licensee}, {manifest.time}",
                manifest.model_hash,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
    else:
        yield from _read_verdicts(path)


def _read_verdicts(path: Path) -> Iterator[Witness]:
    """From lines of `verify --json`; others are passed over."""
    found = False
    try:
        for line in read_text(path, "the verdicts").splitlines():
            values = parse_json(line)
            if isinstance(values, dict) and "log_head" in values:
                found = True
                head = heads.head_of(values, str(path))
                what = "a verdict"
                yield Witness(path, head.log_head, head.log_events, head.registry_id, what)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as lines of JSON: {error}") from error
    if not found:
        raise UserError(
            f"{path} has no log head; name instance manifests, *{heads.ENDING}, or what "
            "verify --json printed"
        )


def contradictions(registry: Registry, witnesses: Sequence[Witness]) -> tuple[list[str], int]:
    """What witnesses tell of a registry's log that is not in it.

    Returns:
        One line for each kind of fault, naming the file with the newest head; and the number of
        witnesses of this registry.
    """
    models = {model.model_hash for model in registry.models()}
    recorded = {instance.manifest_hash for instance in registry.instances()}
    num_events = registry.log_head().log_events
    lost: list[Witness] = []
    unrecorded: list[Witness] = []
    num_own = 0
    for witness in witnesses:
        of_another = witness.registry_id not in (None, registry.id)
        if of_another or (witness.registry_id is None and witness.model_hash not in models):
            continue
        num_own += 1
        if witness.log_head != GENESIS and registry.event_number(witness.log_head) is None:
            lost.append(witness)
        elif witness.manifest_hash is not None and witness.manifest_hash not in recorded:
            unrecorded.append(witness)
    problems = []
    if lost:
        newest = max(lost, key=lambda witness: witness.log_events or 0)
        others = _listed([w for w in lost if w.file != newest.file])
        problems.append(_lost_text(newest, num_events) + (f"; so does {others}" if others else ""))
    if unrecorded:
        problems.append(
            f"{_listed(unrecorded)}: the log does not tell of it; the end of the log was cut off, "
            "or the file was changed (see verify-manifest)"
        )
    return problems, num_own


def _lost_text(witness: Witness, num_events: int) -> str:
    where = f"{witness.file} ({witness.what}) carries the head {witness.log_head[:16]}..."
    if witness.log_events is None:
        return (
            f"{where}, which is no event of this log: the end of the log was cut off, it was "
            "written anew, or the manifest is of another registry with this model"
        )
    where += f" of event {witness.log_events}"
    if witness.log_events > num_events:
        missing = f"events {num_events + 1} to {witness.log_events} are missing"
        if witness.log_events == num_events + 1:
            missing = f"event {witness.log_events} is missing"
        return f"{where}, and the log ends with event {num_events}: {missing}; find a newer backup"
    return (
        f"{where}, and event {witness.log_events} of this log is another: the registry went back "
        "to a backup and on from there, or a copy of it was used; what that file knows up to event "
        f"{witness.log_events} is missing here"
    )


def _listed(witnesses: Sequence[Witness]) -> str:
    names = list(dict.fromkeys(f"{w.file} ({w.what})" for w in witnesses))
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
