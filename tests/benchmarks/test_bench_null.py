"""The benchmark of p-values runs, and notices p-values that are too small."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import bench_null, report
from dnnlib.errors import UserError


def test_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "in_process", lambda function, *args: function(*args))
    bench_null.main([
        "--pictures=4", "--fingerprints=30000", "--network=", f"--out={tmp_path}",
    ])  # fmt: skip
    record = json.loads((tmp_path / "null.json").read_text())
    kinds = record["figures"]["kinds"]
    assert len(kinds) == 5
    assert all(
        [row["level"] for row in found] == list(bench_null.LEVELS) for found in kinds.values()
    )
    assert "MISSED" not in (tmp_path / "null.md").read_text()


@pytest.mark.parametrize("size", [32, 48])
def test_pictures_are_what_their_names_say(size: int) -> None:
    found = bench_null.pictures(3, size)
    assert {images.shape for images in found.values()} == {(3, size, size, 3)}
    assert {images.dtype for images in found.values()} == {np.dtype(np.uint8)}
    assert np.ptp(found["one colour"], axis=(1, 2)).max() == 0
    assert np.ptp(found["gradients"], axis=1).max() > 0


def test_foreign_pictures_come_by_source(tmp_path: Path) -> None:
    for source, number in (("few", 2), ("many", 9)):
        (tmp_path / source).mkdir()
        for grey in range(number):
            name = tmp_path / source / f"{grey}.png"
            Image.new("RGB", (8, 8), (grey, grey, grey)).save(name)
    found = bench_null.foreign_pictures(str(tmp_path), 4, 8)
    assert {name: images.shape for name, images in found.items()} == {
        "few": (2, 8, 8, 3),
        "many": (4, 8, 8, 3),
    }
    assert len({int(image[0, 0, 0]) for image in found["many"]}) == 4
    with pytest.raises(UserError, match="holds no folders of images"):
        bench_null.foreign_pictures(str(tmp_path / "few"), 4, 8)
    with pytest.raises(UserError, match="--foreign goes with a --network"):
        bench_null.main(["--network=", f"--foreign={tmp_path}"])


def test_pvalues_that_are_too_small_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = bench_null.made_up(4)["normal"]
    good = bench_null.count(logits, 30_000, 0)
    assert bench_null.judge({"normal": good}).count(": met") == 2
    honest = bench_null.chance
    monkeypatch.setattr(bench_null, "chance", lambda weights, lost: honest(weights, lost) / 2)
    bad = bench_null.count(logits, 30_000, 0)
    assert "interval of the attained size: MISSED" in bench_null.judge({"normal": bad})
