"""The demo's own parts: its tables, the reused data set, a failing command, Ctrl-C."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.image_grid import save_png
from dnnlib.images import read_picture
from metrics.image_difference import structural_similarity
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


def test_table_of_visibility_compares_each_with_each() -> None:
    grey = np.full([2, 16, 16, 3], 100, np.uint8)
    lighter = grey.copy()
    lighter[0, 3, 4, 1] = 110  # in one of two pictures
    lines = demo.visibility_table({"alice": grey, "bob": lighter, "carol": grey})
    decibels = f"{10 * math.log10(255**2 / (100 / grey.size)):.2f}"
    similarity = f"{structural_similarity(grey, lighter).mean():.4f}"
    changed = ["2", "each", decibels, "dB", similarity, "5.0", "of", "255"]
    assert [line.split() for line in lines[1:]] == [
        ["alice", "and", "bob", *changed],
        ["alice", "and", "carol", "2", "each", "identical", "1.0000", "0.0", "of", "255"],
        ["bob", "and", "carol", *changed],
    ]


def test_pictures_are_read_back_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, [12, 8, 8, 3]).astype(np.uint8)
    for seed in reversed(range(12)):
        save_png(images[seed], tmp_path / f"seed{seed:04d}.png")
    save_png(images[0], tmp_path / "grid.png")
    np.testing.assert_array_equal(demo.read_images(tmp_path), images)


def test_figures_are_those_of_the_metrics() -> None:
    values = {
        "swd3k_avg": 39.891,
        "fingerprint_visibility1k_psnr": 21.617,
        "fingerprint_visibility1k_ssim": 0.91236,
        "fingerprint_visibility1k_max": 80.0,
        "fingerprint_visibility1k_latents_psnr": 10.5,
    }
    quality, visibility = demo.figures(values)
    assert "SWD 39.89 over 3k images" in quality
    assert "other fingerprint 21.62 dB, SSIM 0.9124 (larger is better)" in visibility
    assert "other latent 10.50 dB" in visibility


class Commands:
    """Stands for the commands: files where theirs would be, of pictures that show their seed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str, capture: bool = False) -> str:
        self.calls.append(arguments)
        flags = dict(a.removeprefix("--").split("=", 1) for a in arguments if "=" in a)
        if arguments[1:2] == ("decode",):
            folders = [Path(a) for a in arguments[4:]]
            files = [str(path) for folder in folders for path in sorted(folder.glob("seed*"))]
            line = {"num_bits": 32, "match": 31, "expected": "0" * 8}
            return "".join(f"{json.dumps({'file': name, **line})}\n" for name in files)
        if arguments[0] == "dataset_tool.py":
            return ""
        folder = Path(flags["result-dir"]) / "00000-run"
        folder.mkdir(parents=True)
        if arguments[0] == "run_training.py":
            (folder / "network-final.pkl").touch()
        elif arguments[0] == "run_metrics.py":
            suffixes = ("_avg", "_psnr", "_ssim", "_latents_psnr")
            for name in flags["metrics"].split(","):
                values = {name + suffix: 20.0 for suffix in suffixes}
                (folder / f"metric-{name}.jsonl").write_text(json.dumps({"values": values}))
        else:
            first, last = map(int, flags["seeds"].split("-"))
            shade = int(flags.get("fingerprint", "00")[:2], 16) // 16
            for seed in range(first, last + 1):
                image = np.full([16, 16, 3], (seed + shade) % 256, np.uint8)
                save_png(image, folder / f"seed{seed:04d}.png")
            (folder / "fingerprints.jsonl").write_text(json.dumps({"num_bits": 32}))
        return f"{folder}\n"


def test_whole_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands()
    monkeypatch.setattr(demo, "run_command", commands)
    demo.run_demo(demo.build_parser().parse_args([f"--result-dir={tmp_path}", "--total-kimg=2"]))
    scripts = [" ".join(call) for call in commands.calls]
    assert sum("--total-kimg=2" in script for script in scripts) == 1
    wanted = "--metrics=swd3k,watermark_accuracy_3k,fingerprint_visibility1k"
    assert sum(wanted in script for script in scripts) == 1
    # Three licensees with the same seeds, each with a fingerprint of its own.
    alike = [call for call in commands.calls if "--seeds=0-15" in call]
    assert len({call[-1] for call in alike}) == len(alike) == 3
    run_dir = tmp_path / "00000-seed0"
    summary = (run_dir / "summary.txt").read_text()
    assert capsys.readouterr().out == summary
    for part in ("all files ", "alice and bob ", "bob and carol ", "20.00 dB", "pair.png"):
        assert part in summary
    # The seeds' own pictures, one beside the other.
    picture = np.asarray(read_picture(run_dir / "pair.png"))
    first = picture[20, ::64, 0].astype(int)
    np.testing.assert_array_equal(first - first[0], range(6))


def test_data_set_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "run_command", lambda *arguments: calls.append(arguments))
    for name in (demo.DATASET, "noto-emoji-32"):
        demo.make_dataset(tmp_path, name)
        folder = tmp_path / name
        expected = ("create_from_images", str(folder), f"datasets/{name}.zip")
        assert calls.pop() == ("dataset_tool.py", *expected)
        folder.mkdir()
        demo.make_dataset(tmp_path, name)
        assert not calls


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
