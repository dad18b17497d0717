"""Making a data set that was stopped at any moment goes on, to the same bytes."""

import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_tool
from dnnlib import atomic
from dnnlib.errors import Terminated, UserError
from tests.support.paths import ROOT
from training.data import building
from training.data.dataset import open_dataset
from training.data.records import RecordWriter
from training.data.unfinished import JOURNAL
from training.data.writer import DatasetWriter

COUNT = 12  # images, of which one is bad
SHARD_BYTES = 900  # three records or so


class Crash(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        folder = tmp_path / "src" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, [9, 8, 3], np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    (tmp_path / "src" / "a" / "04.png").write_bytes(b"bad")
    return tmp_path / "src"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint behind every image, and small files."""
    monkeypatch.setattr(building, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(
        building, "DatasetWriter", functools.partial(DatasetWriter, shard_bytes=SHARD_BYTES)
    )


FLAGS = ("--resolution=8", "--labels=folders", "--skip-bad")


def create(folder: Path, source: Path, *flags: str) -> None:
    dataset_tool.main(["create_from_images", str(folder / "set"), str(source), *FLAGS, *flags])


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (folder / "set").iterdir()}
    return found | {"report": (folder / "set-report.jsonl").read_bytes()}


def left(folder: Path) -> Path:
    (found,) = folder.glob("set.incomplete-*")
    return found


def stop_at_image(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process ends when the image is on the disk, but before the checkpoint behind it."""
    write = DatasetWriter.write

    def crash(self: DatasetWriter, records: list[bytes], shape: tuple[int, ...]) -> None:
        write(self, records, shape)
        if self.num_images == number:
            raise Crash

    monkeypatch.setattr(DatasetWriter, "write", crash)


@pytest.mark.parametrize("layout", [(), ("--lods",)], ids=["compressed", "published"])
def test_the_same_bytes_wherever_it_stopped(
    tmp_path: Path, source: Path, layout: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    create(tmp_path / "whole", source, *layout)
    whole = contents(tmp_path / "whole")
    assert len(whole) == (7 if not layout else 4)  # four of them with images, or two
    capsys.readouterr()
    for number in range(2, COUNT):
        with pytest.MonkeyPatch.context() as patched:
            stop_at_image(patched, number)
            with pytest.raises(Crash):
                create(tmp_path / "again", source, *layout)
        assert not (tmp_path / "again" / "set").exists()
    assert open_names(tmp_path / "again") == [left(tmp_path / "again").name]
    create(tmp_path / "again", source, *layout)
    assert contents(tmp_path / "again") == whole
    assert open_names(tmp_path / "again") == ["set", "set-report.jsonl"]
    printed = capsys.readouterr()
    assert printed.err.count("going on with ") == COUNT - 2
    assert "11 of 12 images are done" in printed.err
    assert printed.out.count("1 left out: 1 no image; 11 not square, cropped") == 1


def open_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("what", ["labels", "name"])
def test_what_lacks_little(
    tmp_path: Path, source: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images are written, and then the process ends."""
    create(tmp_path / "whole", source)

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        if what == "labels":
            patched.setattr(DatasetWriter, "write_labels", crash)
        else:
            patched.setattr(atomic, "_sync_tree", crash)
        with pytest.raises(Crash):
            create(tmp_path, source)
    assert json.loads((left(tmp_path) / JOURNAL).read_text())["num_images"] == COUNT - 1
    create(tmp_path, source)
    assert contents(tmp_path) == contents(tmp_path / "whole")


def test_a_damaged_journal(tmp_path: Path, source: Path) -> None:
    folder = stop_and_leave(tmp_path, source)
    for content in ("", "{}", "[]", '{"settings": 1'):
        (folder / JOURNAL).write_text(content)
        with pytest.raises(UserError, match=r"cannot read .*; remove .* to begin anew"):
            create(tmp_path, source)


def stop_and_leave(tmp_path: Path, source: Path, number: int = 7) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        stop_at_image(patched, number)
        with pytest.raises(Crash):
            create(tmp_path, source)
    return left(tmp_path)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--grey"], r"mode \(RGB, now L\)"),
        (["--resolution=4"], r"arguments.resolution \(8, now 4\)"),
        (["--num_images=11"], r"arguments.num_images \(None, now 11\), images \("),
        (["--lods"], r"lods \(False, now True\)"),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, source: Path, flags: list[str], named: str
) -> None:
    folder = stop_and_leave(tmp_path, source)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=f"{folder.name} is an unfinished .*{named}.*; run that"):
        create(tmp_path, source, *flags)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    shutil.rmtree(folder)
    create(tmp_path, source, *flags)


def test_other_images_are_refused(tmp_path: Path, source: Path) -> None:
    stop_and_leave(tmp_path, source)
    shutil.copy(source / "b" / "01.png", source / "b" / "02.png")
    with pytest.raises(UserError, match=r"other settings: images \("):
        create(tmp_path, source)


@pytest.mark.parametrize("what", ["cut off", "changed", "missing"])
def test_what_is_damaged_is_not_gone_on_with(tmp_path: Path, source: Path, what: str) -> None:
    folder = stop_and_leave(tmp_path, source, 6)
    journal = json.loads((folder / JOURNAL).read_text())
    path = folder / journal["records"][0]["name"]
    content = path.read_bytes()
    if what == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:100] if what == "cut off" else b"x" + content[1:])
    with pytest.raises(UserError, match=f"{path.name} is .*; remove {folder} to begin anew$"):
        create(tmp_path, source)
    assert folder.exists()


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_wish_to_stop_costs_nothing(
    tmp_path: Path,
    source: Path,
    number: int,
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    create(tmp_path / "whole", source)
    monkeypatch.setattr(building, "CHECKPOINT_SECONDS", 1000)
    write = DatasetWriter.write

    def stop(self: DatasetWriter, records: list[bytes], shape: tuple[int, ...]) -> None:
        write(self, records, shape)
        if self.num_images == 6:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patched:
        patched.setattr(DatasetWriter, "write", stop)
        with pytest.raises(error):
            create(tmp_path, source)
    assert f"stopped; the same command goes on with {left(tmp_path)}" in capsys.readouterr().err
    assert json.loads((left(tmp_path) / JOURNAL).read_text())["num_images"] == 6
    create(tmp_path, source)
    assert contents(tmp_path) == contents(tmp_path / "whole")


def test_a_full_disk_costs_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "whole", source)
    write = RecordWriter.write

    def fail(self: RecordWriter, record: bytes) -> None:
        if self.path.name.endswith("-00001.tfrecords") and self.num_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(RecordWriter, "write", fail)
        with pytest.raises(UserError, match="free some space .* run the command again"):
            create(tmp_path, source)
    create(tmp_path, source)
    assert contents(tmp_path) == contents(tmp_path / "whole")


def test_no_work_is_kept_where_there_is_none(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 12 files .* cannot be used"):
        dataset_tool.main(
            ["create_from_images", str(tmp_path / "set"), str(source), "--resolution=8"]
            + ["--recursive"]
        )
    assert open_names(tmp_path) == ["set-report.jsonl", "src"]


def test_convert_goes_on(tmp_path: Path, source: Path) -> None:
    create(tmp_path, source)
    command = ["convert", str(tmp_path / "set"), str(tmp_path / "out"), "--layout=published"]
    dataset_tool.main(command)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shutil.rmtree(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patched:
        stop_at_image(patched, 5)
        with pytest.raises(Crash):
            dataset_tool.main(command)
    dataset_tool.main(command)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole


SCRIPT = """
import functools, os, signal, sys
import dataset_tool
from training.data import building
from training.data.writer import DatasetWriter

building.CHECKPOINT_SECONDS = 0
building.DatasetWriter = functools.partial(DatasetWriter, shard_bytes=int(sys.argv[1]))
write = DatasetWriter.write

def kill(self, records, shape):
    write(self, records, shape)
    if self.num_images == 8:
        self._files[0].sync()
        os.kill(os.getpid(), signal.SIGKILL)

DatasetWriter.write = kill
dataset_tool.main(sys.argv[2:])
"""


def test_a_killed_process(tmp_path: Path, source: Path) -> None:
    create(tmp_path / "whole", source)
    command = ["create_from_images", str(tmp_path / "set"), str(source), *FLAGS]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(SHARD_BYTES), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(UserError, match="is incomplete: .* run it again"):
        open_dataset(tmp_path, left(tmp_path).name)
    create(tmp_path, source)
    assert contents(tmp_path) == contents(tmp_path / "whole")
