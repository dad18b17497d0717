"""What manifests, kept heads and verdicts tell of a log that was cut short or went back."""

import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dnnlib.errors import UserError
from fingerprints.instances import instance_manifest
from fingerprints.instances.instance_manifest import InstanceManifest
from fingerprints.instances.witnesses import contradictions, find_witnesses
from fingerprints.registry.facade import Registry, tables
from fingerprints.registry.heads import heads_beside, keep_head, read_heads
from tests.support.postgresql import copy_registry

KEY = Ed25519PrivateKey.generate()
MODEL = ("a" * 64, "b" * 64, 64, "cats")


def issue(place: str, folder: Path, *licensees: str, version: int = 2) -> None:
    """Gives licensees a fingerprint and a manifest, as the command does, but no file."""
    with Registry.create(place, exist_ok=True) as registry:
        model = registry.add_model(*MODEL)
        for name in licensees:
            (entry,) = registry.reserve(model, [(name, "")], min_distance=8)
            manifest = InstanceManifest(
                name, "a" * 64, "c" * 64, "pkl", "2030-01-01T00:00:00Z", registry.head(), entry.id
            )
            if version == 2:
                head = dataclasses.asdict(registry.log_head())
                manifest = dataclasses.replace(manifest, **head)
            signed = instance_manifest.sign(manifest, KEY)
            if version == 1:
                for field in ("registry_id", "log_events"):
                    del signed["manifest"][field]
                signed["manifest"]["version"] = 1  # nobody asks for the signature here
            path = folder / f"{name}.pkl.manifest.json"
            registry.record_issue(entry, "c" * 64, "pkl", instance_manifest.write(path, signed))


def problems(place: str, *places: Path) -> list[str]:
    witnesses = find_witnesses(places)
    with Registry.open(place) as registry:
        assert registry.audit().problems == []  # by itself it is in order
        return contradictions(registry, witnesses)[0]


def number(place: str) -> int:
    with Registry.open(place) as registry:
        return registry.log_head().log_events


def cut_off(place: str, after: int) -> None:
    """Removes the last events and their rows, and puts the triggers back."""
    with sqlite3.connect(place) as database:
        names = [table.name for table in reversed(tables.metadata.sorted_tables)]
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        kept = triggers.fetchall()
        for name, _ in kept:
            database.execute(f"DROP TRIGGER {name}")
        for name in names:
            database.execute(f"DELETE FROM {name} WHERE seq > ?", (after,))
        for _, sql in kept:
            database.execute(sql)
    database.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_honest_log_that_grows_has_no_problems(tmp_path: Path, place: str, version: int) -> None:
    key = tmp_path / "signing.key"
    for name in ("acme", "bell", "core"):
        issue(place, tmp_path, name, version=version)
        with Registry.open(place) as registry:
            assert keep_head(heads_beside(key), registry) == []
        assert problems(place, tmp_path) == []
    with Registry.open(place) as registry:
        registry.revoke("acme", "leak")
        assert contradictions(registry, find_witnesses([tmp_path])) == ([], 4)
    assert len(read_heads(heads_beside(key))) == 1


def test_the_end_cut_off_is_named(tmp_path: Path) -> None:
    place = str(tmp_path / "registry.db")
    issue(place, tmp_path, "acme", "bell")
    issue(place, tmp_path, "core")
    end = number(place)
    # core's manifest was signed before the event of its issue, and after that of its fingerprint.
    cut_off(place, end - 3)
    core = tmp_path / "core.pkl.manifest.json"
    (found,) = problems(place, tmp_path)
    assert found.startswith(f"{core} (issued to core, 2030-01-01T00:00:00Z) carries the head ")
    assert (
        f"of event {end - 1}, and the log ends with event {end - 3}: events {end - 2} to " in found
    )
    assert f"{end - 1} are missing; find a newer backup" in found
    cut_off(place, end - 4)
    first, second = problems(place, tmp_path)
    assert first.startswith(str(core))
    assert f"events {end - 3} to {end - 1} are missing" in first
    assert second.startswith(str(tmp_path / "bell.pkl.manifest.json"))


def test_the_very_last_event_is_missed(tmp_path: Path) -> None:
    """That of the last issue, which comes after the head in the manifest."""
    place = str(tmp_path / "registry.db")
    issue(place, tmp_path, "acme", "bell")
    cut_off(place, number(place) - 1)
    (found,) = problems(place, tmp_path)
    assert found.startswith(
        f"{tmp_path / 'bell.pkl.manifest.json'} (issued to bell, 2030-01-01T00:00:00Z): the log "
        "does not tell of it; the end of the log was cut off"
    )


def test_a_kept_head_shows_what_no_manifest_does(tmp_path: Path) -> None:
    """A revocation is the event that somebody may want to be forgotten."""
    place, kept = str(tmp_path / "registry.db"), heads_beside(tmp_path / "signing.key")
    issue(place, tmp_path, "acme")
    with Registry.open(place) as registry:
        registry.revoke("acme", "leak")
        keep_head(kept, registry)
    end = number(place)
    cut_off(place, end - 1)
    (found,) = problems(place, tmp_path)
    assert f"{kept} (a kept head) carries the head" in found
    assert f"the log ends with event {end - 1}: event {end} is missing; find" in found
    # What was lost stays in the file, whatever is entered since.
    issue(place, tmp_path, "bell", "core")
    with Registry.open(place) as registry:
        assert [head.log_events for head in keep_head(kept, registry)] == [end]
        assert [head.log_events for head in keep_head(kept, registry)] == [end]
    assert [head.log_events for head in read_heads(kept)] == [end, number(place)]
    (found,) = problems(place, tmp_path)
    assert f"event {end} of this log is another: the registry went back to a backup" in found


def test_a_rollback_is_named(tmp_path: Path, new_place: Callable[[], str]) -> None:
    place, backup = new_place(), new_place()
    issue(place, tmp_path, "acme")
    copy_registry(place, backup)
    issue(place, tmp_path, "bell")
    lost = number(place) - 1  # the head in bell's manifest
    copy_registry(backup, place)
    (found,) = problems(place, tmp_path)
    assert "bell.pkl.manifest.json (issued to bell" in found
    assert f"events {number(place) + 1} to {lost} are missing; find a newer backup" in found
    # The numbers are given once more.
    issue(place, tmp_path, "core", "dora")
    (found,) = problems(place, tmp_path)
    assert "bell.pkl.manifest.json (issued to bell" in found
    assert f"and event {lost} of this log is another: the registry went back" in found


def test_a_manifest_of_version_1_has_no_number(tmp_path: Path) -> None:
    place = str(tmp_path / "registry.db")
    issue(place, tmp_path, "acme", version=1)
    shutil.copy(place, tmp_path / "backup")
    issue(place, tmp_path, "bell", version=1)
    shutil.copy(tmp_path / "backup", place)
    (found,) = problems(place, tmp_path)
    assert "bell.pkl.manifest.json (issued to bell" in found
    assert "which is no event of this log" in found


def test_other_registries_are_others(tmp_path: Path) -> None:
    """Manifests and heads of several lie in one folder; each is asked for its own."""
    for name, licensee in (("first", "acme"), ("second", "bell")):
        issue(str(tmp_path / f"{name}.db"), tmp_path, licensee)
        with Registry.open(str(tmp_path / f"{name}.db")) as registry:
            keep_head(tmp_path / "signing.key.heads.json", registry)
    for name in ("first", "second"):
        with Registry.open(str(tmp_path / f"{name}.db")) as registry:
            assert contradictions(registry, find_witnesses([tmp_path])) == ([], 2)
    assert len(read_heads(tmp_path / "signing.key.heads.json")) == 2


def test_places_are_searched_one_folder_deep_and_each_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "instances" / "deeper").mkdir(parents=True)
    issue(str(tmp_path / "r.db"), tmp_path / "instances", "acme")
    issue(str(tmp_path / "r.db"), tmp_path / "instances" / "deeper", "bell")
    manifest = tmp_path / "instances" / "acme.pkl.manifest.json"
    assert [w.file for w in find_witnesses([tmp_path, manifest, tmp_path])] == [manifest]
    assert len(find_witnesses([tmp_path, tmp_path / "instances"])) == 2


def test_verdicts_are_witnesses(tmp_path: Path) -> None:
    place = str(tmp_path / "registry.db")
    issue(place, tmp_path, "acme", "bell")
    with Registry.open(place) as registry:
        head = dataclasses.asdict(registry.log_head())
    lines = [{"file": "a.png", "verdict": "not-ours", **head}, {"summary": {"images": 1}}]
    saved = tmp_path / "verdicts.jsonl"
    saved.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert problems(place, saved) == []
    cut_off(place, number(place) - 1)
    (found,) = problems(place, saved)
    assert found.startswith(f"{saved} (a verdict) carries the head ")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.jsonl", "{}\n", "has no log head; name instance manifests"),
        ("x.jsonl", "{", "cannot be read as lines of JSON"),
        ("x.jsonl", '{"log_head": 1, "log_head": 2}', "stands there twice"),
        ("x.jsonl", '{"log_head": "a"}', "'registry_id' is missing"),
        ("absent.jsonl", None, "No such file"),
        ("k.heads.json", "[]", "is no file of log heads, or of another version; move it away"),
        ("k.heads.json", '{"format": "log heads 1", "heads": [{}]}', "'registry_id' is missing"),
        ("k.heads.json", "{", "is no file of log heads"),
        ("m.manifest.json", "{}", "is not an instance manifest"),
    ],
)
def test_files_that_are_no_witnesses_are_refused(
    tmp_path: Path, name: str, text: str | None, complaint: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=complaint) as error:
        find_witnesses([tmp_path / name])
    assert "\n" not in str(error.value)
