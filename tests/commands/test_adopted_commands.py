"""Commands with an adopted generator: pictures, figures, instances."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_fingerprints
import run_generator
import run_metrics
import run_training
from dnnlib.errors import UserError
from fingerprints.bits import parse_fingerprint
from fingerprints.registry.facade import Registry
from tests.support.adopted import save_adopted
from tests.support.paths import REFERENCE
from training import retuning
from training.models.snapshot import load_networks

SKIP, LABELS = "plain_skip_16_tf", "plain_resnet_32_labels_torch"
FLAGS = {SKIP: [], LABELS: ["--class=3"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adopted")
    return {
        name: save_adopted(folder / f"{name}.pkl", REFERENCE / f"{name}.pkl")
        for name in (SKIP, LABELS)
    }


def generate(capsys, tmp_path, network, *flags) -> tuple[Path, str]:
    options = [f"--network={network}", f"--result-dir={tmp_path}", "--ops=reference", *flags]
    capsys.readouterr()
    run_generator.main(["generate-images", *options, "--seeds=1-3"])
    captured = capsys.readouterr()
    return Path(captured.out.strip()), captured.err


def pictures(folder: Path) -> np.ndarray:
    found = []
    for path in sorted(folder.glob("seed*.png")):
        with Image.open(path) as picture:
            found.append(np.asarray(picture).astype(int))
    return np.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SKIP, LABELS])
def test_an_issued_file_makes_the_pictures_of_its_fingerprint(capsys, tmp_path, models, name):
    """By the commands alone: issue, then the same seeds with the licensee's bits and its file."""
    key, registry = tmp_path / "signing.key", tmp_path / "fingerprints.db"
    run_fingerprints.main(["keygen", str(key)])
    arguments = [f"--network={models[name]}", f"--registry={registry}"]
    capsys.readouterr()
    run_fingerprints.main(
        ["issue", *arguments, f"--key={key}", f"--result-dir={tmp_path}", "--licensee=acme"]
        + ["--json"]
    )
    (line,) = capsys.readouterr().out.splitlines()
    file, manifest = Path(json.loads(line)["file"]), json.loads(line)["manifest"]
    assert file.stat().st_size == (REFERENCE / f"{name}.pkl").stat().st_size
    run_fingerprints.main(
        ["verify-manifest", manifest, f"--public-key={key}.pub", f"--instance={file}"]
    )
    assert "acme" in capsys.readouterr().out
    with Registry.open(str(registry)) as opened:
        (entry,) = opened.fingerprints()
        (model,) = opened.models()
    assert json.loads(Path(manifest).read_text())["manifest"]["model_hash"] == model.model_hash
    bits = "".join(map(str, entry.bits.tolist()))

    flags = ["--truncation-psi=0.8", *FLAGS[name]]
    theirs, _ = generate(capsys, tmp_path, file, *flags)
    ours, _ = generate(capsys, tmp_path, models[name], f"--fingerprint={bits}", *flags)
    plain, _ = generate(capsys, tmp_path, REFERENCE / f"{name}.pkl", *flags)
    assert np.abs(pictures(theirs) - pictures(ours)).max() <= 1
    assert np.abs(pictures(theirs) - pictures(plain)).max() > 10

    # The same file once more, for whoever lost it.
    before = file.read_bytes()
    run_fingerprints.main(
        ["issue", *arguments, f"--key={key}", f"--result-dir={tmp_path}", "--licensee=acme"]
    )
    assert file.read_bytes() == before
    capsys.readouterr()
    run_fingerprints.main(["verify", *arguments, "--json", str(theirs)])
    assert len(capsys.readouterr().out.splitlines()) == 4  # three pictures and the summary


def issue(models, name, tmp_path, *flags) -> Path:
    """Issues to acme, whom the registry knows from then on; the file."""
    key = tmp_path / "signing.key"
    if not key.exists():
        run_fingerprints.main(["keygen", str(key)])
    arguments = [f"--network={models[name]}", f"--registry={tmp_path / 'fingerprints.db'}"]
    arguments += [f"--key={key}", f"--result-dir={tmp_path}", "--licensee=acme", *flags]
    run_fingerprints.main(["issue", *arguments])
    return tmp_path / "acme.pkl"


def test_spread_instances_follow_from_the_registry_and_make_the_same_pictures(
    capsys, tmp_path, models
):
    """Given again, the command gives the same file; the manifest says how it was made."""
    plain = issue(models, LABELS, tmp_path)
    expected = pictures(generate(capsys, tmp_path, plain, *FLAGS[LABELS])[0])
    before = plain.read_bytes()
    file = issue(models, LABELS, tmp_path, "--spread")
    spread = file.read_bytes()
    differs = np.frombuffer(spread, np.uint8) != np.frombuffer(before, np.uint8)
    assert differs.mean() > 0.2
    file.unlink()
    assert issue(models, LABELS, tmp_path, "--spread").read_bytes() == spread
    made = pictures(generate(capsys, tmp_path, file, *FLAGS[LABELS])[0])
    assert np.abs(made - expected).max() <= 1
    manifest = f"{file}.manifest.json"
    arguments = ["verify-manifest", manifest, f"--public-key={tmp_path / 'signing.key.pub'}"]
    capsys.readouterr()
    run_fingerprints.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["spread"], found["version"]) == (True, True, 3)


def test_others_are_not_spread(tmp_path):
    models = {"other": REFERENCE / "snapshot_resnet_skip_16.pkl"}
    with pytest.raises(UserError, match="--spread is for adopted generators; leave it out"):
        issue(models, "other", tmp_path, "--spread")
    assert not (tmp_path / "fingerprints.db").exists()


def test_drawn_fingerprints_are_listed(capsys, tmp_path, models):
    folder, _ = generate(capsys, tmp_path, models[SKIP])
    rows = [json.loads(line) for line in (folder / "fingerprints.jsonl").read_text().splitlines()]
    texts = [row["fingerprint"] for row in rows]
    assert len(set(texts)) == 3
    again, _ = generate(capsys, tmp_path, models[SKIP], f"--fingerprint={texts[0]}")
    np.testing.assert_array_equal(pictures(again)[0], pictures(folder)[0])
    assert np.abs(pictures(again)[1] - pictures(folder)[1]).max() > 3
    assert parse_fingerprint(texts[0], 16).shape == (16,)
    run_fingerprints.main(["decode", f"--network={models[SKIP]}", "--json", str(folder)])
    *rows, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(rows) == 3
    assert summary["summary"]["num_bits"] == 48  # it knows what the pictures carry


@pytest.mark.slow
def test_figures(capsys, tmp_path, models):
    run_metrics.main([
        f"--network={models[LABELS]}", f"--result-dir={tmp_path}", "--ops=reference",
        "--metrics=watermark_accuracy_1k",
    ])  # fmt: skip
    out = capsys.readouterr().out
    accuracy = float(out.partition("_watermark_bit_accuracy")[2].split()[0])
    assert 0.4 < accuracy < 0.6  # the decoder has learnt nothing


@pytest.mark.parametrize(
    ("command", "flags", "wanted"),
    [
        ("generate-images", ["--seeds=1"], "pictures of 5 classes; name one"),
        (
            "style-mixing-example",
            ["--row-seeds=1", "--col-seeds=2"],
            "an adopted generator mixes no styles here; name the file that it came in",
        ),
        ("export", ["--layout=published"], "`issue` writes instances of it in the layout"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, models, command, flags, wanted):
    where = f"--out={tmp_path / 'x'}" if command == "export" else f"--result-dir={tmp_path}"
    with pytest.raises(UserError, match=wanted):
        run_generator.main([command, f"--network={models[LABELS]}", where, *flags])
    assert not list(tmp_path.iterdir())


def test_plain_arrays_leave_the_file_out(capsys, tmp_path, models):
    out = tmp_path / "x.npz"
    flags = ["--layout=npz", f"--out={out}"]
    run_generator.main(["export", f"--network={models[SKIP]}", *flags])
    assert "instances of it need the snapshot" in "".join(capsys.readouterr())
    before, after = load_networks(models[SKIP]).fingerprinted, load_networks(out).fingerprinted
    assert after.original_file is None
    assert after.config == before.config
    for name, variable in before.named_variables().items():
        np.testing.assert_array_equal(after.named_variables()[name], variable)


@pytest.mark.parametrize("flags", [["--watermark-size=0"], []])
def test_no_training_goes_on_from_it(models, flags):
    flags = [
        f"--data-dir={REFERENCE / 'tfrecords'}",
        "--dataset=emoji12",
        "--config=config-tiny",
        f"--resume-pkl={models[LABELS]}",
        "--dry-run",
        *flags,
    ]
    with pytest.raises(UserError, match="is an adopted generator, whose own weights stay as they"):
        run_training.main(flags)


def retune(tmp_path: Path, network: Path) -> Path:
    out = tmp_path / "retuned.pkl"
    run_fingerprints.main([
        "retune", f"--network={network}", f"--out={out}", f"--registry={tmp_path / 'none.db'}",
        "--kimg=0.016", "--minibatch=4", "--immunize=flip", "--ops=reference",
    ])  # fmt: skip
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", [SKIP, LABELS])
def test_a_retuned_snapshot_keeps_the_file(tmp_path, monkeypatch, models, name):
    """With classes and without."""
    monkeypatch.setattr(retuning, "_REPORT_SEEDS", range(100, 104))
    before = load_networks(models[name])
    after = load_networks(retune(tmp_path, models[name]))
    np.testing.assert_array_equal(after.Gs.original_file, before.Gs.original_file)
    ours, theirs = after.decoder.named_variables(), before.decoder.named_variables()
    assert any(np.abs(ours[name] - theirs[name]).max() > 0 for name in theirs)
