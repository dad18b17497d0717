"""The benchmark of commands on many files runs and reports what it measured."""

import json
from pathlib import Path

import pytest

from benchmarks import bench_verify, report
from tests.support.bulk import make_place


def test_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "in_process", lambda function, *args: function(*args))
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    bench_verify.main([
        f"--network={make_place(tmp_path).network}", "--images=20", "--licensees=3", "--rounds=1",
        f"--out={tmp_path}",
    ])  # fmt: skip
    record = json.loads((tmp_path / "verify.json").read_text())
    rates = record["figures"]["rates"]
    assert list(rates) == ["the network, pictures in memory", "decode", "verify"]
    first = rates["the network, pictures in memory"]
    assert first["ratio"] == 1
    for found in rates.values():
        assert found["images_per_second"] > 0
        assert found["cpu_us"] > 0
        expected = found["images_per_second"] / first["images_per_second"]
        assert found["ratio"] == pytest.approx(expected)
    assert "Goal: `verify` at 0.8 of the network's speed at least" in capsys.readouterr().out
