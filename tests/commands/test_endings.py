"""How commands end: signals, streams that fail, files that cannot be used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib import cli
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE, ROOT

SNAPSHOT = REFERENCE / "snapshot_skip_resnet_32.pkl"


def start(*arguments: str, **kwargs: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, text=True,
        stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **kwargs},  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pictures_keep_their_fingerprints(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped in the middle: every picture has its line, no line lacks its picture."""
    process = start(
        "run_generator.py", "generate-images", f"--network={SNAPSHOT}", "--seeds=0-99999",
        f"--result-dir={tmp_path}", "--ops=reference",
    )  # fmt: skip
    folder = tmp_path / "00000-generate-images"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.png"))) < 40:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    assert err.splitlines()[-1] == word
    assert "of 100000 images are there, listed in fingerprints.jsonl" in err
    lines = (folder / "fingerprints.jsonl").read_text().splitlines()
    pictures = {path.name for path in folder.glob("seed*.png")}
    assert {json.loads(line)["file"] for line in lines} == pictures
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "_finished.txt").exists()


def test_a_data_set_that_is_terminated_can_go_on(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, dataset_tool\n"
        "from training.data.writer import DatasetWriter\n"
        "write = DatasetWriter.write\n"
        "def stop(self, records, shape):\n"
        "    write(self, records, shape)\n"
        "    if self.num_images == 5: os.kill(os.getpid(), signal.SIGTERM)\n"
        "DatasetWriter.write = stop\n"
        "from dnnlib import cli\n"
        "cli.run(dataset_tool.main)\n"
    )
    source = REFERENCE / "tfrecords" / "emoji12_png"
    process = start("-c", code, "create_from_images", str(tmp_path / "out"), str(source))
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.splitlines()[-1]) == (75, "terminated")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("out.incomplete-")


PLAN = ["run_fingerprints.py", "plan", "--licensees=10", "--bits=64"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_standard_output_that_is_full() -> None:
    with open("/dev/full", "w") as full:
        process = start(*PLAN, stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: cannot write standard output: No space left on device")
    assert len(err.splitlines()) == 1


def test_standard_output_that_is_closed() -> None:
    command = [sys.executable, *PLAN]
    line = " ".join(command) + " >&-"
    found = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in found.stderr
    assert found.returncode in (0, 2)


def test_output_that_cannot_be_encoded(tmp_path: Path) -> None:
    """Names that ASCII lacks, that are no UTF-8, or have escape codes: all are decoded."""
    source = next((REFERENCE / "tfrecords" / "emoji12_png").iterdir()).read_bytes()
    names = ["b\u00fccher.png".encode(), b"\xff\xfe.png", b"\x1b[31mred.png"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(source)
    process = start(
        "run_fingerprints.py", "decode", f"--network={SNAPSHOT}", str(tmp_path), "--ops=reference",
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    lines = out.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in out
    assert any(r"\x1b[31mred.png" in line for line in lines)
    assert any(r"\udcff\udcfe.png" in line for line in lines)


def test_any_file_that_cannot_be_used_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: object) -> None:
        with open("/nowhere/at\x1b/all"):
            pass

    with pytest.raises(SystemExit, match="2"):
        cli.run(fail)
    err = capsys.readouterr().err
    assert err.startswith("error: cannot use /nowhere/at\\x1b/all: No such file")
    assert len(err.splitlines()) == 1


def test_a_message_of_many_lines_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: object) -> None:
        raise UserError("a file called\nb\u202e")

    with pytest.raises(SystemExit, match="2"):
        cli.run(fail)
    assert capsys.readouterr().err == "error: a file called\\nb\\u202e\n"


@pytest.mark.parametrize("text", ["0-6300000000", "1-99999999999999999999", "5,0-1000000"])
def test_long_ranges_are_refused_before_they_are_made(text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(Exception, match="more than 1000000 numbers|use a range"):
        cli.number_list(text)
    assert time.monotonic() - begin < 1
