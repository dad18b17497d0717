"""Atomic files and folders, numbered run folders, configurations as JSON, texts, flag types."""

import argparse
import errno
import fcntl
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dnnlib import cli
from dnnlib.atomic import (
    folder_atomic,
    is_incomplete,
    open_atomic,
    remove_folder,
    temporary_name,
    write_error,
)
from dnnlib.config import from_dict, load_json, save_json, to_dict
from dnnlib.errors import Terminated, UserError
from dnnlib.format import format_bytes, format_time
from dnnlib.run_dir import create_run_dir
from tests.support.paths import ROOT

# Files: complete or not at all


@pytest.mark.parametrize(("mode", "content"), [("wb", b"new"), ("w", "new")])
def test_file_appears_complete(tmp_path: Path, mode: str, content: bytes | str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with open_atomic(path, mode) as file:
        file.write(content)
        assert path.read_text() == "old"
        assert temporary_name(path).parent == tmp_path  # same file system, so it can be renamed
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def write_file(path: Path, content: bytes, error: type[BaseException] | None = None) -> None:
    with open_atomic(path) as file:
        file.write(content)
        if error is not None:
            raise error


def write_folder(path: Path, error: type[BaseException] | None = None) -> None:
    with folder_atomic(path) as temporary:
        (temporary / "file").write_text("x")
        assert not path.exists()
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_file_is_kept_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error):
        write_file(path, b"half", error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_file_without_folder(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "file"
    with (
        pytest.raises(UserError, match="cannot write .*gone/file: No such file"),
        open_atomic(path),
    ):
        pass


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """The system refuses to write more than 4 KiB to a file, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_file_too_large(tmp_path: Path, file_size_limit: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UserError, match=r"cannot write .*file: .*; .*raise it$") as error:
        write_file(path, bytes(2 * file_size_limit))
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_every_write_error_has_a_cure(code: int) -> None:
    text = str(write_error("folder/file", OSError(code, os.strerror(code))))
    assert text.startswith(f"cannot write folder/file: {os.strerror(code)}; ")
    assert "\n" not in text


def test_folder_appears_complete(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "folder"
    write_folder(path)
    assert (path / "file").read_text() == "x"
    assert os.listdir(path.parent) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_folder_is_removed_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_folder(tmp_path / "folder", error)
    assert os.listdir(tmp_path) == []


def test_folder_that_another_command_makes_meanwhile(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="cannot write .*folder: .*; another command has made it"),
        folder_atomic(tmp_path / "folder"),
    ):
        write_folder(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["file"]


def test_names_of_what_is_incomplete(tmp_path: Path) -> None:
    with folder_atomic(tmp_path / "set.1") as folder:
        assert re.fullmatch(r"set\.1\.incomplete-[0-9a-f]{8}", folder.name)
        assert is_incomplete(folder)
    with open_atomic(tmp_path / "file.png"):
        (name,) = set(os.listdir(tmp_path)) - {"set.1"}
        assert is_incomplete(name)
    assert is_incomplete(temporary_name("x"))
    assert temporary_name("x") != temporary_name("x")
    for name in ("set.1", "incomplete", "set.incomplete", "set.incomplete-5", ".x.tmp", ".hidden"):
        assert not is_incomplete(name)


def leave_half(path: Path) -> Path:
    """What a process that was killed leaves of a folder, as the next one finds it."""
    left = path.with_name(f"{path.name}.incomplete-{len(os.listdir(path.parent)):08x}")
    left.mkdir()
    (left / ".lock").touch()
    (left / "sub").mkdir()
    (left / "sub" / "file").write_text("half")
    return left


def test_leftovers_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = leave_half(tmp_path / "a[1]")
    half_removed = leave_half(tmp_path / "a[1]")
    (half_removed / ".lock").unlink()
    kept = [leave_half(tmp_path / name) for name in ("a1", "b", "a[1].x")]
    alike = tmp_path / "a[1].incomplete-results"
    alike.mkdir()
    write_folder(tmp_path / "a[1]")
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["a[1]", alike.name, *(path.name for path in kept)]
    )
    assert os.listdir(tmp_path / "a[1]") == ["file"]
    assert capsys.readouterr().err == "".join(
        f"removed {path}, which an interrupted command had left\n" for path in (left, half_removed)
    )


def test_leftovers_are_removed_where_the_folder_exists(tmp_path: Path) -> None:
    leave_half(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="exists already"):
        write_folder(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("locks", [True, False])
def test_folder_of_a_live_process_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """Also on a file system without locks, where nobody can tell."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if not locks:
        monkeypatch.setattr(fcntl, "flock", fail)
    with folder_atomic(tmp_path / "a") as live:
        (live / "file").write_text("x")
        other = "from dnnlib.atomic import folder_atomic\nwith folder_atomic(%r): pass"
        if locks:
            script = other % os.fspath(tmp_path / "a")
            subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
        else:
            write_folder(tmp_path / "a")
        assert (live / "file").exists()
        remove_folder(tmp_path / "a")
    assert (tmp_path / "a" / "file").read_text() == "x"
    assert capfd.readouterr().err == ""


def test_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents before the name that says that they are complete, then that name."""
    events = []
    sync, rename, replace = os.fsync, Path.rename, os.replace

    def record_sync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        events.append(f"-> {target.name}")
        return rename(path, target)

    def record_replace(path: Path, target: Path) -> None:
        events.append(f"-> {target.name}")
        replace(path, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", record_rename)
    monkeypatch.setattr(os, "replace", record_replace)
    with folder_atomic(tmp_path / "folder") as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").touch()
        events.clear()
    done = events.index("-> folder")
    assert {"file", "sub", temporary.name} <= set(events[:done])
    assert events[done + 1 :] == ["folder", tmp_path.name]
    events.clear()
    write_file(tmp_path / "new", b"x")
    assert is_incomplete(events[0])
    assert events[1:] == ["-> new", tmp_path.name]


def test_folders_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse it; a file that cannot be synced is a failed write."""
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    def refuse_files(descriptor: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_folder(tmp_path / "folder")
    write_file(tmp_path / "file", b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    monkeypatch.setattr(os, "fsync", refuse_files)
    with pytest.raises(UserError, match="cannot write .*other: .*; your disk quota is used up"):
        write_folder(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_folder_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with folder_atomic(tmp_path / "a", replace=True) as folder:
            (folder / "file").write_text(text)
            assert (tmp_path / "a").exists() == (text == "second")
    with pytest.raises(UserError, match="No space"), folder_atomic(tmp_path / "a", replace=True):
        raise OSError(errno.ENOSPC, "No space")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "second"


def test_remove_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    remove_folder(tmp_path / "folder")
    assert os.listdir(tmp_path) == []
    remove_folder(tmp_path / "folder")  # somebody was faster
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*file/folder: Not a directory"):
        remove_folder(tmp_path / "file" / "folder")


def test_half_removed_folder_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    write_folder(tmp_path / "folder")
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(tmp_path / "folder")
    (name,) = os.listdir(tmp_path)
    assert is_incomplete(name)


def test_folder_that_exists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already; remove it"):
        write_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*a part of this path is a file"):
        write_folder(tmp_path / "file" / "folder")
    assert os.listdir(tmp_path) == ["file"]


# Numbered run folders


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    parent = tmp_path / "results"
    assert create_run_dir(parent, "a").name == "00000-a"
    assert create_run_dir(parent, "b").name == "00001-b"
    (parent / "00041-by-hand").touch()
    (parent / "99-is-a-number").mkdir()
    (parent / "no-number").mkdir()
    (parent / "123456").mkdir()
    assert create_run_dir(parent, "a").name == "00100-a"
    assert not [path for path in parent.iterdir() if path.name.startswith(".")]


def test_run_folder_passes_over_claims(tmp_path: Path) -> None:
    """A process that was killed while it claimed a number does not block the others."""
    (tmp_path / ".00000.claim").mkdir()
    assert create_run_dir(tmp_path, "a").name == "00001-a"


def test_run_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(
            UserError, match=f"--result-dir={parent}: a part of this path is a file"
        ):
            create_run_dir(parent, "a")


def _create_many(job: tuple[Path, int]) -> list[str]:
    parent, worker = job
    return [create_run_dir(parent, f"worker{worker}").name for _ in range(10)]


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_run_folders_of_a_race_differ(tmp_path: Path, pool: str) -> None:
    jobs = [(tmp_path, worker) for worker in range(4)]
    if pool == "threads":
        with ThreadPoolExecutor(4) as threads:
            names = [name for part in threads.map(_create_many, jobs) for name in part]
    else:
        # Fresh interpreters: a copy of this one, with TensorFlow's threads, might hang.
        with multiprocessing.get_context("spawn").Pool(2) as processes:
            names = [name for part in processes.map(_create_many, jobs) for name in part]
    numbers = [name.partition("-")[0] for name in names]
    assert len(set(numbers)) == 40
    assert sorted(names) == sorted(os.listdir(tmp_path))


# Configurations


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    sizes: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    path: str | None = None
    maybe: Inner | None = None


@pytest.mark.parametrize(
    "config",
    [
        Outer("plain"),
        Outer("full", (1, 2), Inner(2.0), "x", Inner(3.0)),
    ],
)
def test_config_survives_json(tmp_path: Path, config: Outer) -> None:
    save_json(config, tmp_path / "config.json")
    assert load_json(Outer, tmp_path / "config.json") == config
    assert from_dict(Outer, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "a", "nmae": "b"},
            "unknown setting nmae; known: inner, maybe, name, path, sizes",
        ),
        ({"name": "a", "inner": {"lr": 1}}, r"unknown setting inner\.lr; known: rate"),
        ({"name": "a", "maybe": {"lr": 1}}, r"unknown setting maybe\.lr; known: rate"),
        ({"sizes": [1]}, "setting name is missing"),
    ],
)
def test_config_keys_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(Outer, values)


@pytest.mark.parametrize("content", [None, "{", "\ud7ff"])
def test_config_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="cannot read settings from .*config.json"):
        load_json(Outer, path)


# Texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (187, "3m 07s"),
        (3599.7, "1h 00m 00s"),
        (7387, "2h 03m 07s"),
        (86399, "23h 59m 59s"),
        (93780, "1d 02h 03m"),
        (10 * 86400, "10d 00h 00m"),
    ],
)
def test_format_time(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
    ],
)
def test_format_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


# Types of flags


@pytest.mark.parametrize("text", ["yes", "true", "t", "y", "1", "True", "YES", " T "])
def test_boolean_true(text: str) -> None:
    assert cli.boolean(text) is True


@pytest.mark.parametrize("text", ["no", "false", "f", "n", "0", "False", "NO"])
def test_boolean_false(text: str) -> None:
    assert cli.boolean(text) is False


@pytest.mark.parametrize("text", ["", "2", "maybe", "truee", "None"])
def test_no_boolean(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a boolean"):
        cli.boolean(text)


@pytest.mark.parametrize("default", [True, False])
def test_boolean_flag(default: bool) -> None:
    parser = cli.ArgumentParser()
    cli.add_boolean(parser, "--flag", default=default, help="a flag")
    for arguments, value in (
        ([], default),
        (["--flag"], True),
        (["--flag=no"], False),
        (["--flag", "yes"], True),
    ):
        assert parser.parse_args(arguments).flag is value
    assert f"(default: {default})" in parser.format_help()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-63", list(range(64))),
        ("1,2,5", [1, 2, 5]),
        ("1,4-6", [1, 4, 5, 6]),
        ("7", [7]),
        ("3-3", [3]),
        ("5, 4", [5, 4]),
    ],
)
def test_number_list(text: str, numbers: list[int]) -> None:
    assert cli.number_list(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "1,,2", "6-4", "1-2-3", "1.5"])
def test_no_number_list(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="use a range|runs backwards"):
        cli.number_list(text)


NUMBERS = [  # type, what it takes and makes of it, what it refuses, as what
    (cli.positive_int, ("3", 3), ["0", "-3", "x", "1.5", ""], "a positive integer"),
    (cli.positive_float, ("0.25", 0.25), ["0", "-3", "x", "inf", "nan", ""], "a positive number"),
    (
        cli.non_negative_float,
        ("0", 0),
        ["-0.1", "nan", "inf", "many", ""],
        "a number of at least 0",
    ),
]


@pytest.mark.parametrize(("number", "taken", "refused", "what"), NUMBERS)
def test_numbers(
    number: Callable[[str], float], taken: tuple[str, float], refused: list[str], what: str
) -> None:
    assert number(taken[0]) == taken[1]
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=f"not {what}"):
            number(text)


# The end of a command


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (None, 0, ""),
        (UserError("x.pkl is gone; name another"), 2, "error: x.pkl is gone; name another\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (Terminated(), 75, "terminated\n"),
    ],
)
def test_exit_status(
    capsys: pytest.CaptureFixture[str], error: BaseException | None, status: int, text: str
) -> None:
    def main(argv: object) -> None:
        assert argv is None
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == status
    assert capsys.readouterr().err == text


def test_interrupt_that_a_library_turned_into_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("bad argument to internal function") from None

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_mistakes_of_ours_keep_their_traceback() -> None:
    def main(argv: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main)
