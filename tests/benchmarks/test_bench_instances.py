"""The benchmark of instances runs and reports what it measured."""

import json
from pathlib import Path

import pytest

from benchmarks import bench_instances, report
from dnnlib.errors import UserError
from training.models.snapshot import save_snapshot
from training.networks.configs import GeneratorConfig
from training.networks.generator import Generator

SMALL = {"resolution": 8, "latent_size": 3, "fingerprint_size": 5, "fmap_base": 32, "fmap_max": 8}


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "parent.pkl"
    save_snapshot(
        path, Gs=Generator(GeneratorConfig(**SMALL, dlatent_size=4, mapping_fmaps=4), seed=1)
    )
    return str(path)


@pytest.mark.slow
def test_instances(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "in_process", lambda function, *args: function(*args))
    monkeypatch.setattr(bench_instances, "SAMPLE_SECONDS", 0.01)
    bench_instances.main([f"--network={model}", "--instances=2", "--rounds=1", f"--out={tmp_path}"])
    record = json.loads((tmp_path / "instances.json").read_text())
    assert record["benchmark"] == "instances"
    found = record["figures"]
    assert found["instances"] == 2
    assert found["formats"].keys() == set(bench_instances.FORMATS)
    for figures in found["formats"].values():
        assert figures["per_second"] > 0
        assert figures["first"] > 0
        assert figures["growth_mib"] >= 0
        assert 0.005 < figures["file_mib"] < 1
    speed = found["speed"]
    assert speed["ratio"] == pytest.approx(speed["instance"] / speed["parent"])
    assert speed["difference"] <= 1
    output = capsys.readouterr().out
    assert "parent.pkl, 2 instances" in output
    assert output.count("| ONNX ") == 1


def test_instances_without_onnx(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(function, *args):
        if "ONNX" in args:
            raise UserError("ONNX files need the package onnx")
        if function is bench_instances._SPEED:
            return {"execution": "x", "parent": 2, "instance": 3, "ratio": 1.5, "difference": 0}
        return {"first": 1, "per_second": 2, "growth_mib": 0, "file_mib": 1}

    monkeypatch.setattr(report, "with_tensorflow", run)
    bench_instances.main([f"--network={model}"])
    output = capsys.readouterr()
    assert "no ONNX: ONNX files need the package onnx" in output.err
    assert "| ONNX" not in output.out
    assert "1.500 times as many" in output.out
