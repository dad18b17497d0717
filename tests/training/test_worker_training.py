"""The training command on two workers: as one process, and again after one of them has died."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.page import check
from tests.support.paths import ROOT
from tests.support.small_runs import write_images
from training.checkpoint import list_checkpoints, read_position

pytestmark = pytest.mark.slow

METRIC = "watermark_accuracy_1k"


def command(data_dir: Path, result_dir: Path, *more: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "run_training.py"), f"--data-dir={data_dir}", "--dataset=noise",
        "--config=config-tiny", "--res-modulated-range=4-8", "--watermark-size=8",
        "--minibatch=16", "--minibatch-gpu=8", "--total-kimg=0.192", "--kimg-per-tick=0.064",
        "--checkpoint-minutes=0", "--ops=reference", f"--metrics={METRIC}",
        f"--result-dir={result_dir}", *more,
    ]  # fmt: skip


def figures(run_dir: Path) -> np.ndarray:
    """The statistics of all ticks and the metric at the end."""
    text = (run_dir / "log.txt").read_text()
    lines = [
        line for line in text.splitlines() if line.startswith(("  bit_acc", "network-snapshot"))
    ]
    assert len(lines) == 5
    return np.array([float(x) for line in lines for x in re.findall(r"-?\d\.\d{4}", line)])


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_two_workers(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    write_images(tmp_path / "data" / "noise", 50)
    workers = command(tmp_path / "data", tmp_path / "two", "--workers=2")
    with (tmp_path / "output").open("w+") as output:
        first = subprocess.Popen(workers, stdout=output, stderr=output, env=environment)
        deadline = time.monotonic() + 300
        found: list[Path] = []
        while not found and time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.05)
            found = [p for run in (tmp_path / "two").glob("*") for p in list_checkpoints(run)]
        victim = children(first.pid)[1]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        status = first.wait(timeout=120)
        assert time.monotonic() - killed < 60
        output.seek(0)
        text = output.read()
    assert status == 128 + signal.SIGKILL, text
    lost, ended = [line for line in text.splitlines() if line.startswith("error: ")]
    check(lost)
    check(ended)
    assert lost.startswith("error: lost worker 1 of 2 (localhost:")
    assert ended == "error: worker 1 of 2 ended with signal SIGKILL, and the run with it"
    (run_dir,) = (tmp_path / "two").iterdir()
    position = read_position(run_dir)
    assert position is not None
    assert 0 < position.iteration < 12

    done = subprocess.run(workers, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"Going on with {run_dir} at kimg 0.0" in done.stdout
    assert "; 2 workers" in done.stdout
    assert "worker 1: " not in done.stdout
    assert len(list(run_dir.glob("events.out.tfevents.*"))) == 2  # one per start, of the chief

    one = command(tmp_path / "data", tmp_path / "one")
    subprocess.run(one, check=True, capture_output=True, env=environment, timeout=300)
    (single,) = (tmp_path / "one").iterdir()
    # Rounding differs, and Adam with beta1 0 amplifies it.
    np.testing.assert_allclose(figures(run_dir)[-10:], figures(single)[-10:], atol=0.02)
    names = {path.name for path in run_dir.iterdir() if not path.name.startswith("events.")}
    assert names == {p.name for p in single.iterdir() if not p.name.startswith("events.")}
