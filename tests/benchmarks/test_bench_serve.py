"""The benchmark of the service runs, compares answers with `verify`, reports what it measured."""

import json
from pathlib import Path

import pytest

from benchmarks import bench_serve, measure_serve, report
from tests.support.bulk import make_place
from tools.http_load import Reply


@pytest.mark.slow  # a process with TensorFlow
def test_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "in_process", lambda function, *args: function(*args))
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    bench_serve.main([
        f"--network={make_place(tmp_path).network}", "--images=20", "--licensees=3", "--rounds=1",
        "--clients=3", "--sizes", "1", "4", "--flags", "ops=reference", f"--out={tmp_path}",
    ])  # fmt: skip
    figures = json.loads((tmp_path / "serve.json").read_text())["figures"]
    assert list(figures["serve"]) == ["1", "4"]
    for size, found in figures["serve"].items():
        assert found["requests"] == 20 / int(size)
        assert found["wrong"] == found["refused"] == 0
        assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
        expected = found["images_per_second"] / figures["verify"]["images_per_second"]
        assert found["ratio"] == pytest.approx(expected)
    assert "Goal: 0.8 of bulk `verify`" in capsys.readouterr().out


def test_wrong_answers_are_counted() -> None:
    load = measure_serve.Load()
    expected = ["ours", "not-ours", "ours", "ours"]
    for number, status, verdicts in (
        (0, 200, ["ours", "not-ours"]),
        (1, 200, ["not-ours", "ours"]),
        (3, 200, ["ours", "ours"]),  # the pictures are sent again and again
        (0, 429, []),
        (0, 0, []),
    ):
        body = json.dumps({"results": [{"verdict": verdict} for verdict in verdicts]}).encode()
        load.take(Reply(number, status, 0.1, body), expected, 2)
    assert (load.pictures, load.wrong, load.refused) == (4, 2, 1)


def test_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"memory": {"0": 800.4, "10000": 812.0}, "refused": 0, "wrong": 0}
    monkeypatch.setattr(report, "with_tensorflow", lambda *_: found)
    bench_serve.main(["--memory-requests", "10000"])
    assert "|   10,000 |                  812 |" in capsys.readouterr().out
