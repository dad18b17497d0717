"""docs/coming-from-the-published-code.md: its Python blocks run, its commands are commands."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import run_generator
from tests.support.paths import REFERENCE, ROOT

PAGE = ROOT / "docs" / "coming-from-the-published-code.md"


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REFERENCE / "snapshot_skip_resnet_32.pkl", "network.pkl")
    shutil.copytree(REFERENCE / "tfrecords" / "emoji12", "datasets/emoji12")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, PAGE.name, "exec"), names)
    assert capsys.readouterr().out.splitlines() == ["32 16 32", "(4, 32, 32, 3) uint8", "12 32"]
    assert Path("grid.png").is_file()
    reals = names["reals"]
    assert isinstance(reals, np.ndarray)
    assert reals.shape == (8, 32, 32, 3)


def test_the_commands_of_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REFERENCE / "snapshot_skip_resnet_32.pkl", "network-final.pkl")
    commands = re.findall(r"^python3 run_generator.py (export .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        run_generator.main(command.split())
    assert Path("for-tf1.pkl").stat().st_size > 1e5
    assert Path("networks.npz").stat().st_size > 1e5
