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
        assert len(figures["seconds"]) == 4
        assert figures["exact"] == 1.0
        assert all(seconds > 0 for seconds in figures["seconds"].values())
    assert found["bits"]["128"]["recall"]["exact"] == 1.0
    assert found["bits"]["32"]["recall"]["independent"] < 1.0
    assert found["large"]["search"]["file_gib"] == pytest.approx((88 + 3000 * 24) / 2**30)


def test_words_have_no_bits_too_many() -> None:
    words = bench_attribution.random_words(np.random.default_rng(0), 1000, 32)
    bits = np.unpackbits(words.view(np.uint8).reshape(1000, 8), axis=1)
    assert not bits[:, 32:].any()
    assert bits[:, :32].mean() == pytest.approx(0.5, abs=0.02)


WAYS = "one by one and many at once"


@pytest.mark.parametrize(
    ("seconds", "nearest", "peaks", "exact", "independent", "missed"),
    [
        (0.01, 1.0, (4.0, 4.0), 0.999, 0.985, []),
        (0.011, 1.0, (1.0, 1.0), 1.0, 1.0, [f"at most 10 ms/image, {WAYS}"]),
        (0.001, 0.99, (1.0, 1.0), 1.0, 1.0, ["the two nearest are always found"]),
        (
            0.001,
            1.0,
            (1.0, 4.1),
            1.0,
            1.0,
            ["at most 4 GiB for the large index, written and searched"],
        ),
        (
            0.001,
            1.0,
            (4.1, 1.0),
            1.0,
            1.0,
            ["at most 4 GiB for the large index, written and searched"],
        ),
        (0.001, 1.0, (1.0, 1.0), 0.998, 1.0, ["first at 26 wrong bits: 0.999 at least"]),
        (
            0.001,
            1.0,
            (1.0, 1.0),
            1.0,
            0.984,
            ["first at independent errors of 0.2: 0.985 at least"],
        ),
    ],
)
def test_goals(
    seconds: float,
    nearest: float,
    peaks: tuple[float, float],
    exact: float,
    independent: float,
    missed: list[str],
) -> None:
    measured = {
        "seconds": {"soft": seconds, "bits": 0.001},
        "exact": nearest,
        "recall": {"exact": exact, "independent": independent},
    }
    large = {"write": {"peak_gib": peaks[0]}, "search": {"peak_gib": peaks[1]}}
    lines = bench_attribution.judge({"bits": {"128": measured}, "large": large}).splitlines()
    assert len(lines) == 5
    assert [line[2:-8] for line in lines if line.endswith(": MISSED")] == missed
    assert sum(line.endswith(": met") for line in lines) == 5 - len(missed)
