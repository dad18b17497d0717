"""The demo's own parts: its table, the reused data set, a failing command, Ctrl-C."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from tests.support.paths import ROOT
from tools import demo

# Stands for a training run: it takes its time to write a snapshot when it is interrupted.
SLOW_COMMAND = """
import pathlib, sys, time
try:
    pathlib.Path("started").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    pathlib.Path("snapshot").touch()
    sys.exit(130)
"""
INTERRUPTED_DEMO = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from dnnlib import cli
from tools import demo
demo.run_demo = lambda args: demo.run_command("slow.py")
cli.run(demo.main)
"""


def test_table_counts_bits_and_files() -> None:
    def line(match: int, expected: str) -> dict[str, object]:
        return {"file": "x.png", "num_bits": 8, "match": match, "expected": expected}

    lines = demo.table({
        "alice": [line(8, "c3"), line(6, "c3")],
        "random fingerprints": [line(8, "00"), line(8, "ff")],
    })  # fmt: skip
    assert [row.split() for row in lines[1:]] == [
        ["alice", "c3", "2", "0.8750", "1", "6/8", "bits"],
        ["random", "fingerprints", "various", "2", "1.0000", "2", "8/8", "bits"],
        ["all", "files", "various", "4", "0.9375", "3", "6/8", "bits"],
    ]


def test_data_set_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "run_command", lambda *arguments: calls.append(arguments))
    demo.make_dataset(tmp_path)
    assert calls[0][:2] == ("dataset_tool.py", "create_from_images")
    (tmp_path / demo.DATASET).mkdir()
    demo.make_dataset(tmp_path)
    assert len(calls) == 1


def test_failing_command_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"run_metrics\.py ended with status 2"):
        demo.run_command("run_metrics.py", "--no-such-flag")
    error = capfd.readouterr().err
    assert "$ " in error
    assert "run_metrics.py --no-such-flag" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_lets_the_command_finish(tmp_path: Path, number: int) -> None:
    (tmp_path / "slow.py").write_text(SLOW_COMMAND)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_DEMO], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (tmp_path / "snapshot").exists(), "the command was killed"
    lines = [line for line in error.splitlines() if line and not line.startswith("$ ")]
    assert len(lines) == 1, error
    assert lines[0].startswith("interrupted; ")
