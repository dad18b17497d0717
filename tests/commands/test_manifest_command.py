"""verify-manifest and export by the command, with files that no network is needed for."""

import csv
import hashlib
import json
import stat
from pathlib import Path

import numpy as np
import pytest

import run_fingerprints
from dnnlib.errors import UserError
from fingerprints.instances.issuing import Issuer
from fingerprints.keys import load_signing_key
from fingerprints.registry.facade import Registry


class Writer:
    """Writes bytes as an instance."""

    ending = ".pkl"

    def write(self, data: bytes, path: Path) -> None:
        path.write_bytes(data)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a registry, two instances, their manifests and the key."""
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    run_fingerprints.main(["keygen", str(tmp_path / "signing.key")])
    with Registry.create(str(tmp_path / "fingerprints.db")) as registry:
        model = registry.add_model("a" * 64, "b" * 64, 64, "cats")
        issuer = Issuer(
            lambda bits: np.packbits(bits).tobytes(),
            {"pkl": Writer()},
            tmp_path,
            model_hash="a" * 64,
            signing_key=load_signing_key(tmp_path / "signing.key"),
            registry=registry,
        )
        for name in ("acme", "bell"):
            (entry,) = registry.reserve(model, [(name, "")], min_distance=8)
            list(issuer.issue(name, entry.bits, entry))
    return tmp_path


def check(place: Path, *arguments: object) -> None:
    key = f"--public-key={place / 'signing.key.pub'}"
    run_fingerprints.main(["verify-manifest", key, *map(str, arguments)])


def test_an_instance_is_no_manifest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, which names the manifest."""
    capsys.readouterr()
    with pytest.raises(UserError) as error:
        check(place, place / "acme.pkl")
    manifest = place / "acme.pkl.manifest.json"
    assert str(error.value) == (
        f"{place / 'acme.pkl'} is an instance; its manifest is {manifest}: name that one"
    )
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="is an instance; its manifest is"):
        check(place, f"--instance={place / 'acme.pkl'}", place / "acme.pkl")
    manifest.rename(place / "elsewhere")
    with pytest.raises(UserError, match="is an instance; its manifest, acme.pkl.manifest.json, "):
        check(place, place / "acme.pkl")


def test_instances_among_manifests_have_a_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a pattern such as instances/* names them."""
    capsys.readouterr()
    with pytest.raises(UserError, match="2 of 4 manifests are not valid"):
        check(place, *sorted(place.glob("*.pkl*")))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["no", "good", "no", "good"]
    with pytest.raises(UserError):
        check(place, "--json", *sorted(place.glob("*.pkl*")))
    values = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [value["valid"] for value in values] == [False, True] * 2
    assert values[1]["log_events"] == 4
    assert "is an instance" in values[0]["error"]


def test_another_file_stays_bad(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "notes.txt").write_text("notes")
    capsys.readouterr()
    with pytest.raises(UserError, match="1 of 1 manifests are not valid"):
        check(place, place / "notes.txt")
    assert capsys.readouterr().out.startswith("BAD  ")


@pytest.mark.parametrize(("flags", "mode"), [([], None), (["--include-bits"], 0o600)])
def test_exported_bits_are_for_their_owner(
    place: Path, flags: list[str], mode: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for file_format in ("csv", "json"):
        out = place / f"export.{file_format}"
        out.write_text("")
        out.chmod(0o644)  # what was there before was readable for all
        run_fingerprints.main([
            "export", f"--registry={place / 'fingerprints.db'}", f"--out={out}",
            f"--format={file_format}", *flags,
        ])  # fmt: skip
        found = stat.S_IMODE(out.stat().st_mode)
        assert found == mode if mode else found & 0o044
    rows = list(csv.DictReader((place / "export.csv").read_text().splitlines()))
    assert ("fingerprint" in rows[0]) == bool(flags)


def test_manifests_are_entered_as_they_are(place: Path) -> None:
    with Registry.open(str(place / "fingerprints.db")) as registry:
        hashes = [entry.manifest_hash for entry in registry.instances()]
    names = ["acme.pkl.manifest.json", "bell.pkl.manifest.json"]
    assert hashes == [hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names]


@pytest.mark.parametrize(("reason", "said"), [("", "Z; leave"), ("leak", r"Z \(leak\); leave")])
def test_who_was_revoked_is_refused_with_the_reason(place: Path, reason: str, said: str) -> None:
    with Registry.open(str(place / "fingerprints.db")) as registry:
        registry.revoke("acme", reason)
        with pytest.raises(UserError, match=rf"licensee acme was revoked at \S+{said} it out"):
            registry.reserve(registry.models()[0], [("acme", "")], min_distance=8)
