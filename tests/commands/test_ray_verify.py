"""Verdicts on a Ray cluster of two processes are those of one command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from gan_fingerprints.work import ray_verify
from tests.support.bulk import NUM_PICTURES, Place, assert_same_verdicts, make_place
from tests.support.paths import ROOT


def results(place: Place, out: Path, *flags: str | Path) -> tuple[list[dict], dict]:
    """Rows of a command in a process of its own, and its summary."""
    command = [sys.executable, "run_fingerprints.py", *place.flags("verify"), "--json"]
    environment = os.environ | {
        # Ray keeps a key of its clusters in the home folder.
        "HOME": str(place.folder),
        "GAN_FINGERPRINTS_CACHE": str(place.folder / "cache"),
    }
    done = subprocess.run(
        [*command, f"--out={out}", *map(str, flags)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return rows, json.loads(done.stdout)["summary"]


@pytest.mark.slow
def test_two_processes_give_the_same_verdicts(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs Ray: pip install -r requirements/ray.txt")
    place = make_place(tmp_path)
    alone, summary = results(place, tmp_path / "alone.jsonl", place.pictures)
    out = tmp_path / "cluster.jsonl"
    flags = ["--ray", "--ray-actors=2"]
    part, _ = results(place, out, *flags, place.pictures / "a" / "deep")
    cluster, of_cluster = results(place, out, *flags, place.pictures)
    assert of_cluster["resumed"] == len(part) > 0
    assert len(cluster) == len(alone) == NUM_PICTURES
    assert_same_verdicts(cluster, alone)
    for key in ("images", "verdicts", "level", "expected_false", "wrong_name_rate"):
        assert of_cluster[key] == summary[key]


def test_without_ray_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = ray_verify.judge_on_cluster(None, {}, 0.5, None, ["a"], 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--ray needs the package ray; .*requirements/ray\.txt"):
        next(found)
