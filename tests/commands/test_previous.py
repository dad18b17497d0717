"""What the version before the rooms has left goes on: a run, a snapshot, a registry, a data set.

tests/data/README.md says how these files were made.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_tool
import run_fingerprints
import run_generator
import run_training
from dnnlib.errors import UserError
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.detector import Detector
from fingerprints.instances.instance_manifest import read_and_verify
from fingerprints.keys import load_public_key
from fingerprints.registry.facade import Registry
from fingerprints.registry.listing import export_rows, export_text
from tests.support.paths import ROOT
from tests.support.small_runs import SMALL
from training.config import PRESETS, ScheduleConfig, TickConfig
from training.models.hashes import hashes_of
from training.models.snapshot import read_snapshot

PREVIOUS = ROOT / "tests" / "data" / "previous"
NETWORK = PREVIOUS / "network.pkl"
FACTS = json.loads((PREVIOUS / "registry-facts.json").read_text())

PRESET = replace(
    SMALL,
    channel="clip",
    watermark_size=40,
    total_kimg=0.128,
    minibatch_gpu=8,
    schedule=ScheduleConfig(decay_kimg=0.064, final_lr=0.5, ema_kimg=0.05),
    ticks=TickConfig(kimg=0.032, image_ticks=100, snapshot_ticks=100),
    decoder={"fmap_max": 8},
)


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PRESETS, "config-previous", PRESET)
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    shutil.copy(PREVIOUS / "fingerprints.db", tmp_path)
    with Registry.open(str(tmp_path / "fingerprints.db")) as found:
        yield found


@pytest.mark.slow
def test_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped after 7 of 16 iterations; its end is what the version before made of it."""
    run_dir = tmp_path / "results" / "00000-noise-8-1gpu-config-previous-40bits"
    shutil.copytree(PREVIOUS / "run", run_dir)
    run_training.main([
        f"--data-dir={PREVIOUS}", "--dataset=noise-8", "--config=config-previous", "--num-gpus=0",
        "--ops=reference", "--seed=3", "--checkpoint-minutes=0", "--keep-checkpoints=1",
        f"--result-dir={tmp_path / 'results'}",
    ])  # fmt: skip
    assert f"Going on with {run_dir} at kimg 0.056" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "results").iterdir()] == [run_dir.name]
    networks, position = read_snapshot(run_dir / "network-final.pkl")
    assert (position["iteration"], position["num_images"]) == (16, 128)
    with np.load(PREVIOUS / "continued.npz") as expected:
        found = {f"{s}/{n}": v for s, d in networks.items() for n, v in d.variables.items()}
        assert found.keys() == set(expected.files)
        for name, value in found.items():
            # Equal bits on the machine that made them; sums may differ on another processor.
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=2e-3, err_msg=name)


def test_a_snapshot_has_its_hashes(tmp_path: Path) -> None:
    model_hash, decoder_hash = hashes_of(read_snapshot(NETWORK)[0])
    assert (model_hash, decoder_hash) == (FACTS["model_hash"], FACTS["decoder_hash"])


@pytest.mark.parametrize(
    ("network", "pictures"),
    [(NETWORK, "pictures"), (PREVIOUS / "instances" / "acme.pkl", "pictures-acme")],
    ids=["snapshot", "instance"],
)
def test_pictures_are_the_same(tmp_path: Path, network: Path, pictures: str) -> None:
    run_generator.main([
        "generate-images", f"--network={network}", "--seeds=0-2", f"--result-dir={tmp_path}",
        "--ops=reference",
    ])  # fmt: skip
    (folder,) = tmp_path.glob("*-generate-images")
    names = sorted(path.name for path in (PREVIOUS / pictures).iterdir())
    found = {path.name for path in folder.iterdir()} - {"_finished.txt", "log.txt"}  # new since
    assert names == sorted(found)
    for name in names:
        ours, theirs = folder / name, PREVIOUS / pictures / name
        if name.endswith(".png"):
            # Equal on the machine that made them; on another one a sum may round the other way.
            with Image.open(ours) as found, Image.open(theirs) as expected:
                difference = np.asarray(found).astype(int) - np.asarray(expected)
            assert np.abs(difference).max() <= 1, name
        else:
            assert ours.read_text() == theirs.read_text()


def test_a_registry_opens(registry: Registry) -> None:
    result = registry.audit([FACTS["head"]])
    assert (result.problems, result.head) == ([], FACTS["head"])
    assert [f.licensee for f in registry.fingerprints()] == ["acme", "bell", "carl"]
    assert [f.revoked is not None for f in registry.fingerprints()] == [False, False, True]
    (model,) = registry.models()
    assert (model.model_hash, model.decoder_hash) == (FACTS["model_hash"], FACTS["decoder_hash"])
    # Its calibration says nothing of soft decisions; a new one takes its place.
    with pytest.raises(UserError, match="calibration is of version 1, .*; calibrate again$"):
        Detector(registry, model)
    logits = np.random.default_rng(0).standard_normal((24, 40))
    calibration = Calibration.from_logits(model.decoder_hash, logits)
    registry.save_calibration(model, calibration.to_bytes(), 24)
    detector = Detector(registry, model)
    bits = detector.bits_of("bell")
    finding = detector.judge(np.where(bits, 9.0, -9.0))
    assert finding.verdict.matches == 40
    registry.reserve(model, [("dora", "")], min_distance=4)
    assert registry.audit([FACTS["head"]]).problems == []


def test_a_registry_holds_what_was_exported(registry: Registry) -> None:
    """Row by row, and the text to the letter."""
    text = (PREVIOUS / "registry.json").read_text()
    rows = export_rows(registry, include_bits=True)
    for row, expected in zip(rows, json.loads(text), strict=True):
        assert row == expected
    assert export_text(rows, "json") == text


def test_an_audit_knows_the_head(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"--registry={tmp_path / 'fingerprints.db'}"
    run_fingerprints.main(["audit", place, f"--head={FACTS['head']}"])
    printed = capsys.readouterr().out
    assert "all agree" in printed
    assert FACTS["head"] in printed


def test_issuing_goes_on(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has a fingerprint gets the same instance again, once the model is calibrated anew."""
    run_fingerprints.main(["keygen", str(tmp_path / "signing.key")])
    model = [f"--network={NETWORK}", f"--registry={tmp_path / 'fingerprints.db'}"]
    issue = [
        "issue", *model, f"--key={tmp_path / 'signing.key'}", "--licensee=acme",
        f"--result-dir={tmp_path / 'instances'}",
    ]  # fmt: skip
    with pytest.raises(UserError, match="calibration is of version 1, .*; calibrate again$"):
        run_fingerprints.main(issue)
    (tmp_path / "foreign").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "foreign" / f"{number}.png")
    run_fingerprints.main(["calibrate", *model, str(tmp_path / "foreign")])
    run_fingerprints.main(issue)
    ours, theirs = (
        read_snapshot(folder / "acme.pkl")[0]["Gs"]
        for folder in (tmp_path / "instances", PREVIOUS / "instances")
    )
    assert ours.kwargs == theirs.kwargs
    assert list(ours.variables) == list(theirs.variables)
    for name, value in ours.variables.items():
        # Equal bytes on the machine that made them; on another one a sum may round the other way.
        np.testing.assert_allclose(value, theirs.variables[name], rtol=1e-4, atol=1e-6)
    run_fingerprints.main(["audit", f"--registry={tmp_path / 'fingerprints.db'}"])
    assert "all agree" in capsys.readouterr().out


def test_a_manifest_is_good() -> None:
    instance = PREVIOUS / "instances" / "acme.pkl"
    manifest = read_and_verify(
        f"{instance}.manifest.json",
        load_public_key(PREVIOUS / "signing-public.pem"),
        instance,
    )
    assert (manifest.licensee, manifest.model_hash) == ("acme", FACTS["model_hash"])


def test_a_data_set_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset_tool.main(["extract", str(PREVIOUS / "noise-8"), str(tmp_path / "images")])
    assert len(list((tmp_path / "images").glob("*.png"))) == 24
    dataset_tool.main([
        "create_from_images", str(tmp_path / "again"), str(tmp_path / "images"), "--shuffle=0",
        "--lods",
    ])  # fmt: skip
    dataset_tool.main(["compare", str(PREVIOUS / "noise-8"), str(tmp_path / "again")])
    assert "24 identical, 0 different" in capsys.readouterr().out


def test_the_registry_was_not_touched() -> None:
    """It is opened as a copy: a test that wrote into it would spoil the others."""
    with sqlite3.connect(f"file:{PREVIOUS / 'fingerprints.db'}?mode=ro", uri=True) as database:
        assert database.execute("SELECT COUNT(*) FROM events").fetchone() == (13,)
