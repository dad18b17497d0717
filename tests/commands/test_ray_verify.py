"""Verdicts on a Ray cluster, of two processes or of two machines, are those of one command."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib.workers import free_ports
from gan_fingerprints.work import ray_verify
from tests.support.browser import wait_for
from tests.support.bulk import NUM_PICTURES, Place, assert_same_verdicts, make_place
from tests.support.paths import ROOT


def environment_of(place: Place) -> dict[str, str]:
    """Ray keeps a key of its clusters in the home folder, and reports nothing to anybody."""
    return os.environ | {
        "HOME": str(place.folder),
        "GAN_FINGERPRINTS_CACHE": str(place.folder / "cache"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def results(place: Place, out: Path, *flags: str | Path) -> tuple[list[dict], dict]:
    """Rows of a command in a process of its own, and its summary."""
    command = [sys.executable, "run_fingerprints.py", *place.flags("verify"), "--json"]
    done = subprocess.run(
        [*command, f"--out={out}", *map(str, flags)],
        cwd=ROOT,
        env=environment_of(place),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
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


@contextmanager
def cluster_of_two(place: Place) -> Iterator[str]:
    """A cluster that is there already, as `ray start` makes it on two machines; its address."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # names of sockets have to be short
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    head += [f"--temp-dir={folder}"]
    started: list[subprocess.Popen] = []
    try:
        for flags in (head, [f"--address={address}"]):
            with (folder / "start.log").open("w") as log:
                command = [*ray, "start", *flags, "--num-cpus=1", "--block"]
                started.append(
                    subprocess.Popen(command, env=environment_of(place), stdout=log, stderr=log)
                )
            wait_for(lambda: _count_machines(ray, address, place) == len(started))
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _count_machines(ray: list[str], address: str, place: Place) -> int:
    command = [*ray, "status", f"--address={address}"]
    said = subprocess.run(
        command, env=environment_of(place), capture_output=True, text=True, check=False
    ).stdout
    return said.partition("Pending:")[0].count(" node_")


@pytest.mark.slow
def test_a_cluster_at_an_address(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs Ray: pip install -r requirements/ray.txt")
    place = make_place(tmp_path)
    alone, _ = results(place, tmp_path / "alone.jsonl", place.pictures)
    with cluster_of_two(place) as address:
        out = tmp_path / "cluster.jsonl"
        cluster, _ = results(place, out, f"--ray={address}", place.pictures)
        assert len(cluster) == NUM_PICTURES
        assert_same_verdicts(cluster, alone)


def test_without_ray_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = ray_verify.judge_on_cluster(None, {}, 0.5, None, ["a"], 0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--ray needs the package ray; .*requirements/ray\.txt"):
        next(found)
