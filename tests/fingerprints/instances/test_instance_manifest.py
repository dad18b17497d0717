"""Signed manifests of instances: round trip, all that can be wrong, hashes of trees."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dnnlib.errors import UserError
from fingerprints.instances.instance_manifest import (
    InstanceManifest,
    hash_tree,
    read_and_verify,
    read_unverified,
    sign,
    write,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
MANIFEST = InstanceManifest(
    licensee="acme",
    model_hash="a" * 64,
    instance_hash=hashlib.sha256(b"instance").hexdigest(),
    file_format="pkl",
    time="2030-12-31T23:59:59Z",
    log_head="b" * 64,
    fingerprint_id=7,
    registry_id="c" * 32,
    log_events=12,
)
SPREAD = dataclasses.replace(MANIFEST, spread=True, version=3)
VALUES = sign(MANIFEST, KEY)["manifest"]
# As the version before wrote it.
OLD = {
    name: value
    for name, value in {**VALUES, "version": 1}.items()
    if name not in ("registry_id", "log_events")
}


def signed_by_hand(values: dict[str, Any]) -> dict[str, Any]:
    """What `sign` makes of a manifest, also of an impossible one."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {"manifest": values, "signature": KEY.sign(text.encode()).hex()}


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "instance").write_bytes(b"instance")
    path = tmp_path / "manifest.json"
    no_entry = dataclasses.replace(MANIFEST, fingerprint_id=None, licensee="é")
    for manifest in (MANIFEST, no_entry, SPREAD):
        file_hash = write(path, sign(manifest, KEY))
        assert file_hash == hashlib.sha256(path.read_bytes()).hexdigest()
        assert read_and_verify(path, PUBLIC) == manifest
        assert read_and_verify(path, PUBLIC, tmp_path / "instance") == manifest


def test_manifests_of_version_1_are_read(tmp_path: Path) -> None:
    write(tmp_path / "m", signed_by_hand(OLD))
    manifest = read_and_verify(tmp_path / "m", PUBLIC)
    assert (manifest.version, manifest.registry_id, manifest.log_events) == (1, None, None)
    assert manifest.licensee == "acme"
    assert read_unverified(tmp_path / "m") == manifest


def test_what_is_not_spread_is_of_version_2() -> None:
    """As programs wrote and read it before there was spreading."""
    assert VALUES["version"] == 2
    assert "spread" not in VALUES


def test_the_signature_can_be_left_out_of_account(tmp_path: Path) -> None:
    write(tmp_path / "m", sign(MANIFEST, Ed25519PrivateKey.generate()))
    assert read_unverified(tmp_path / "m") == MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        ('"licensee"', '"licensee": "eve",\n    "licensee"'),
        ('"manifest"', '"manifest": {},\n  "manifest"'),
        ('"signature"', '"signature": "00",\n  "signature"'),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """Another reader may take the first of them, this one took the last."""
    write(tmp_path / "m", sign(MANIFEST, KEY))
    (tmp_path / "m").write_text((tmp_path / "m").read_text().replace(*change))
    with pytest.raises(UserError, match="m: the key '.*' stands there twice") as error:
        read_and_verify(tmp_path / "m", PUBLIC)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n}\n", "\n}"),
        ("  ", " "),
        ("\n", "\r\n"),
        ("acme", r"\u0061cme"),
        ('"version": 2', '"version": 2.0'),
        ('"fingerprint_id": 7', '"fingerprint_id": 7 '),
    ],
)
def test_another_text_of_the_same_content_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """The signature is over the content, and would fit most of them."""
    write(tmp_path / "m", sign(MANIFEST, KEY))
    text = (tmp_path / "m").read_text()
    assert old in text
    (tmp_path / "m").write_bytes(text.replace(old, new).encode())
    with pytest.raises(UserError, match="m: its text is not the canonical one|does not fit") as e:
        read_and_verify(tmp_path / "m", PUBLIC)
    assert "\n" not in str(e.value)


def test_signature_is_over_the_canonical_json() -> None:
    values = dict(VALUES)
    assert sign(MANIFEST, KEY) == signed_by_hand(values)
    assert list(values) == [
        *("licensee", "model_hash", "instance_hash", "file_format", "time", "log_head"),
        *("fingerprint_id", "registry_id", "log_events", "version"),
    ]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(InstanceManifest)])
def test_change_of_any_field_is_noticed(tmp_path: Path, name: str) -> None:
    signed = sign(SPREAD, KEY)
    old = signed["manifest"][name]
    signed["manifest"][name] = old + 1 if isinstance(old, int) else old + "x"
    write(tmp_path / "m", signed)
    with pytest.raises(UserError, match="m: the signature does not fit; .* again$"):
        read_and_verify(tmp_path / "m", PUBLIC)


def test_other_key_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "m", sign(MANIFEST, Ed25519PrivateKey.generate()))
    with pytest.raises(UserError, match="the signature does not fit"):
        read_and_verify(tmp_path / "m", PUBLIC)


def test_other_instance_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "m", sign(MANIFEST, KEY))
    (tmp_path / "instance").write_bytes(b"another")
    with pytest.raises(UserError, match="instance is not the instance of .*m: its hash differs"):
        read_and_verify(tmp_path / "m", PUBLIC, tmp_path / "instance")
    with pytest.raises(UserError, match="cannot read .*absent: No such file"):
        read_and_verify(tmp_path / "m", PUBLIC, tmp_path / "absent")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 4}, "has version 4, this program reads versions 1 to 3"),
        ({"version": 3}, "missing fields spread"),
        ({"spread": True}, "unknown fields spread"),
        ({"version": 3, "spread": 1}, "'spread' must be true or false, got 1"),
        ({"version": 0}, "has version 0"),
        ({"version": 1}, "unknown fields log_events, registry_id"),
        ({"log_events": "7"}, "'log_events' must be an integer or null"),
        ({"registry_id": 7}, "'registry_id' must be a text or null"),
        ({"version": True}, "has version True"),
        ({"version": None}, "has version None"),
        ({"bits": "ff", "more": 1}, "unknown fields bits, more"),
        ({"licensee": 3}, "'licensee' must be a text, got 3"),
        ({"time": None}, "'time' must be a text, got None"),
        ({"fingerprint_id": "7"}, "'fingerprint_id' must be an integer or null, got '7'"),
        ({"fingerprint_id": True}, "'fingerprint_id' must be an integer or null, got True"),
    ],
)
def test_signed_manifest_of_another_form_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path / "m", signed_by_hand({**VALUES, **changes}))
    with pytest.raises(UserError, match=f"m:? {message}"):
        read_and_verify(tmp_path / "m", PUBLIC)


def test_missing_field_is_named(tmp_path: Path) -> None:
    values = dict(VALUES)
    del values["licensee"]
    write(tmp_path / "m", signed_by_hand(values))
    with pytest.raises(UserError, match="m: missing fields licensee"):
        read_and_verify(tmp_path / "m", PUBLIC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it holds no JSON"),
        ("\xff", "it holds no JSON"),
        ("[" * 100_000, "it holds no JSON"),
        ('{"manifest": NaN, "signature": ""}', "it holds no JSON"),
        (r'{"manifest": "\ud800", "signature": ""}', "it holds no JSON"),
        ("[]", "expected an object with the fields"),
        ('{"manifest": {}}', "expected an object with the fields"),
        ('{"manifest": [], "signature": ""}', "'manifest' must be an object"),
        ('{"manifest": {}, "signature": 1}', "'signature' must be 128 hex digits"),
        ('{"manifest": {}, "signature": "00"}', "'signature' must be 128 hex digits"),
    ],
)
def test_other_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        read_and_verify(tmp_path / "m", PUBLIC)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read .*m: No such file"):
        read_and_verify(tmp_path / "m", PUBLIC)


def test_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert hash_tree(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def test_hash_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return hash_tree(tmp_path / name)

    first = make("0", {"b/x": "1", "a": "2"})
    assert make("1", {"a": "2", "b/x": "1"}) == first  # written in another order
    others = [
        make("2", {"b/x": "1", "a": "3"}),
        make("3", {"b/y": "1", "a": "2"}),
        make("4", {"bx": "1", "a": "2"}),
        make("5", {"b/x": "1"}),
        make("6", {"b/x": "2", "a": "1"}),
    ]
    assert len({first, *others}) == 6
    expected = json.dumps(
        {name: hashlib.sha256(text).hexdigest() for name, text in (("a", b"2"), ("b/x", b"1"))},
        separators=(",", ":"),
    )
    assert first == hashlib.sha256(f"folder{expected}".encode()).hexdigest()


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.symlink("/etc/passwd", tmp_path / "folder" / "link")
    with pytest.raises(UserError, match="link is a link or no plain file"):
        hash_tree(tmp_path / "folder")
