"""audit by the command: a log that went back is noticed without --head, and the others warn."""

import json
import shutil
from pathlib import Path

import pytest

import run_fingerprints
from dnnlib.errors import UserError
from fingerprints.registry.facade import Registry
from fingerprints.registry.heads import read_heads

MODEL = ("a" * 64, "b" * 64, 64, "cats")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with two licensees."""
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data" / "fingerprints.db"
    path.parent.mkdir()
    with Registry.create(str(path)) as registry:
        model = registry.add_model(*MODEL)
        registry.reserve(model, [("acme", ""), ("bell", "")], min_distance=8)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    capsys.readouterr()
    try:
        run_fingerprints.main([str(argument) for argument in arguments])
    finally:
        out = capsys.readouterr()
    return out.out, out.err


def test_a_revocation_that_was_undone_is_noticed(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = f"--registry={place}"
    out, _ = run(capsys, "audit", registry)
    assert "no head is kept elsewhere" in out
    out, _ = run(capsys, "audit", registry)  # by now one is
    assert out.startswith("all agree: 6 events, head ")
    assert "compared with 1 heads" in out
    shutil.copy(place, tmp_path / "backup")
    out, _ = run(capsys, "revoke", "--json", registry, "acme")
    kept = json.loads(out)
    assert kept["log_events"] == 7
    (head,) = read_heads(tmp_path / "cache" / "registry.heads.json")
    assert head.log_head == kept["log_head"]
    with Registry.open(str(place)) as opened:
        assert opened.log_head() == head
    run(capsys, "audit", registry)

    shutil.copy(tmp_path / "backup", place)
    capsys.readouterr()
    with pytest.raises(UserError, match="1 problems, see above"):
        run_fingerprints.main(["audit", "--json", registry])
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "cache/registry.heads.json (a kept head) carries the head" in problem
    assert "of event 7, and the log ends with event 6: event 7 is missing" in problem
    _, err = run(capsys, "revoke", registry, "bell")
    assert "warning: " in err
    assert "it went back to an older backup, or was cut short; run audit" in err
    # Of the lost one the file still knows, though the numbers are as before.
    with pytest.raises(UserError, match="1 problems, see above"):
        run(capsys, "audit", registry)


def test_a_saved_verdict_is_compared_where_it_is_named(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry.open(str(place)) as opened:
        head = vars(opened.log_head()) | {"verdict": "not-ours"}
    saved = tmp_path / "saved.jsonl"
    saved.write_text(json.dumps(head) + "\n")
    out, _ = run(capsys, "audit", f"--registry={place}", saved)
    assert "compared with 1 heads" in out
    saved.write_text(json.dumps(head | {"log_head": "e" * 64, "log_events": 9}) + "\n")
    with pytest.raises(UserError, match="1 problems"):
        run(capsys, "audit", f"--registry={place}", saved)
    (tmp_path / "none.txt").write_text("{}")
    with pytest.raises(UserError, match="has no log head"):
        run(capsys, "audit", f"--registry={place}", tmp_path / "none.txt")


def test_a_head_that_cannot_be_kept_stops_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(place / "no folder"))
    out, err = run(capsys, "revoke", f"--registry={place}", "acme")
    assert "revoked: acme" in out
    assert "warning: the log's head is not kept" in err


def test_the_head_lies_beside_the_registrys_key(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "registry.key"
    run(capsys, "keygen", "--kind=registry", key)
    secret = [f"--registry={place.parent / 'secret.db'}", f"--registry-key={key}"]
    secret_key = bytes.fromhex(key.read_text().split()[1])
    with Registry.create(str(place.parent / "secret.db"), secret_key) as registry:
        registry.reserve(registry.add_model(*MODEL), [("acme", "")], min_distance=8)
    run(capsys, "revoke", *secret, "acme")
    (head,) = read_heads(tmp_path / "registry.key.heads.json")
    assert head.log_events == 5
    out, _ = run(capsys, "audit", *secret)
    assert "compared with 2 heads" in out
