"""The benchmark of the search runs and reports what it measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_attribution, report


def test_attribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "in_process", lambda function, *args: function(*args))
    bench_attribution.main([
        "--fingerprints=2000", "--large=3000", "--trials=20", "--images=2", f"--out={tmp_path}",
    ])  # fmt: skip
    record = json.loads((tmp_path / "attribution.json").read_text())
    assert record["benchmark"] == "attribution"
    found = record["figures"]
    assert found["bits"].keys() == {"128", "64", "32"}
    for figures in found["bits"].values():
        assert figures["seconds"].keys() == {"numpy", "faiss"}
        assert all(seconds > 0 for seconds in figures["seconds"].values())
    assert found["bits"]["128"]["recall"]["exact"] == 1.0
    assert found["bits"]["32"]["recall"]["independent"] < 1.0
    assert found["large"]["search"]["file_gib"] == pytest.approx((24 + 3000 * 24) / 2**30)


def test_words_have_no_bits_too_many() -> None:
    words = bench_attribution.random_words(np.random.default_rng(0), 1000, 32)
    bits = np.unpackbits(words.view(np.uint8).reshape(1000, 8), axis=1)
    assert not bits[:, 32:].any()
    assert bits[:, :32].mean() == pytest.approx(0.5, abs=0.02)
