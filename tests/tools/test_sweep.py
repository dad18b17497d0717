"""Sweeps: every value is trained once, a stopped one goes on, and the table has all of them."""

import json
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from run_training import build_parser as training_parser
from tools import sweep
from tools.sweep import ACCURACY, AXES, FIGURES, SWEEPS, VISIBILITY, chosen


class Commands:
    """In place of the commands: leaves the files that they leave."""

    def __init__(self, stop_at: int = 99) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.stop_at = stop_at

    def __call__(self, *arguments: str) -> str:
        self.calls.append(arguments)
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        flags = dict(a[2:].split("=", 1) for a in arguments[1:] if "=" in a)
        folder = Path(flags["result-dir"]) / "00000-run"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_finished.txt").touch()
        if arguments[0] == "run_training.py":
            (folder / "network-final.pkl").touch()
        else:
            for name in (ACCURACY, VISIBILITY):
                keys = [key for key in FIGURES.values() if key.startswith(name)]
                values = {key: float(len(self.calls)) for key in keys}
                (folder / f"metric-{name}.jsonl").write_text(json.dumps({"values": values}))
        return ""


def test_a_sweep_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["capacity", "--dataset=d", f"--out={tmp_path}", "--values=16,32", "--",
                 "--config=config-tiny"]  # fmt: skip
    stopped = Commands(stop_at=3)
    monkeypatch.setattr(sweep, "run_command", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.main(arguments)
    assert not (tmp_path / "capacity" / "sweep.md").exists()
    going_on = Commands()
    monkeypatch.setattr(sweep, "run_command", going_on)
    sweep.main(arguments)
    # 16 was done; 32 is trained by the command that was stopped, which goes on by itself.
    assert [call[0] for call in going_on.calls] == ["run_training.py", "run_metrics.py"]
    assert going_on.calls[0] == stopped.calls[2]
    assert "--watermark-size=32" in going_on.calls[0]
    assert "--config=config-tiny" in going_on.calls[0]
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| bits | bit accuracy | ")
    assert table[2] == "| 16 | 2.0000 | 2.0000 | 2.0000 |"
    assert table[3] == "| 32 | 2.0000 | 2.0000 | 2.0000 |"
    assert (tmp_path / "capacity" / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_every_value_is_a_training() -> None:
    assert list(SWEEPS) == list(AXES)
    for values in SWEEPS.values():
        for flags in values.values():
            assert training_parser().parse_args(["--dataset=d", *flags])


def test_unknown_values() -> None:
    with pytest.raises(UserError, match="capacity has no '17'"):
        chosen("capacity", "17")
