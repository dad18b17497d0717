"""Small files that users name: regular ones, of a sane size, in more than one encoding."""

import os
import threading
from pathlib import Path

import pytest

import run_fingerprints
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.files import is_file, is_folder, read_bytes, read_names, read_text
from dnnlib.format import printable
from fingerprints.image_files import find_images


def within_seconds(call, seconds: float = 20.0) -> BaseException | None:
    """What a call raises; a call that waits for ever fails the test."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits"
    return raised[0] if raised else None


@pytest.fixture(params=["pipe", "device", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path that is there and no file."""
    path = tmp_path / "odd"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        return "/dev/zero"
    return str(path)


NETWORK = "tests/data/reference/snapshot_skip_resnet_32.pkl"


@pytest.mark.parametrize(
    "arguments",
    [
        ["decode", f"--network={NETWORK}", "--list=ODD"],
        ["decode", f"--network={NETWORK}", "--manifest=ODD", "docs/portraits-arbitrary.png"],
        ["issue", f"--network={NETWORK}", "--csv=ODD", "--key=x"],
        ["issue", f"--network={NETWORK}", "--licensee=a", "--key=ODD"],
        ["issue", f"--network={NETWORK}", "--payload=1", "--payload-key=p", "--key=ODD"],
        ["verify-manifest", "--public-key=ODD", "a.manifest.json"],
        ["decode", "--network=ODD", "docs/portraits-arbitrary.png"],
        ["verify", f"--network={NETWORK}", "--list=ODD"],
        ["list", "--registry=r.db", "--registry-key=ODD"],
    ],
)
def test_nothing_waits_for_what_is_no_file(arguments: list[str], odd: str) -> None:
    error = within_seconds(
        lambda: run_fingerprints.main([text.replace("ODD", odd) for text in arguments])
    )
    assert isinstance(error, UserError), error
    if arguments[0] != "list":  # which finds no registry first
        assert odd in str(error)


def test_limits_and_kinds(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    assert read_bytes(path, "it", 5) == b"12345"
    with pytest.raises(UserError, match="it .*a.txt is larger than 4 B"):
        read_bytes(path, "it", 4)
    with pytest.raises(UserError, match="it is (no regular file|a folder)"):
        read_bytes(odd, "it")
    with pytest.raises(UserError, match="cannot read it .*: No such file"):
        read_bytes(tmp_path / "none", "it")
    with pytest.raises(UserError, match="File name too long"):
        read_bytes("n" * 5000, "it")
    assert is_file(path)
    assert not is_file("n" * 5000)
    assert not is_folder("n" * 5000)
    assert not is_file("a\0b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_in_many_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "list.txt"
    data = "b\u00fccher.png\r\nz.png\n".encode(encoding)
    if encoding.endswith("e"):
        data = "\ufeff".encode(encoding) + data
    path.write_bytes(data)
    assert read_names(str(path), "the list") == ["b\u00fccher.png", "z.png"]
    assert read_text(path, "the list").splitlines() == ["b\u00fccher.png", "z.png"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\x80.png"[2:] + b"\n")
    (name,) = read_names(str(path), "the list")
    assert os.fsencode(name) == b"\x80.png"
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_text(path, "it")


def test_names_are_shown_without_what_a_terminal_obeys() -> None:
    assert printable("a b\u00e9.png") == "a b\u00e9.png"
    shown = printable("\x1b[31mred\u202egnp.exe\nnext\udcff")
    assert shown == "\\x1b[31mred\\u202egnp.exe\\nnext\\udcff"
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ('{"x": {"b": 1, "b": 1}}', "the key 'b' stands there twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[NaN]", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("{", "Expecting"),
    ],
)
def test_json_of_others(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(text)


# Folders of images


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def test_hidden_companions_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "._a.png", ".DS_Store", "Thumbs.db", ".hidden.png")
    assert find_images([str(tmp_path)]) == [tmp_path / "a.png"]


def test_subfolders_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "a.png")
    touch(tmp_path / "more", "b.png")
    assert find_images([str(tmp_path)]) == [tmp_path / "a.png"]
    assert "its 1 subfolders are not looked into (more)" in capsys.readouterr().err


def test_brackets_in_a_folders_name(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    touch(folder, "a.png", "b.png")
    assert find_images([str(folder / "*.png")]) == [folder / "a.png", folder / "b.png"]
    assert find_images([str(folder)]) == [folder / "a.png", folder / "b.png"]


def test_one_that_is_gone_does_not_end_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    paths = find_images([str(tmp_path / "a.png"), str(tmp_path / "gone.png")])
    assert [path.name for path in paths] == ["a.png", "gone.png"]
    with pytest.raises(UserError, match="gone.png: no such file"):
        find_images([str(tmp_path / "gone.png")])


def test_names_of_5000_letters(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert len(find_images([str(tmp_path / "a.png"), "n" * 5000 + ".png"])) == 2
    with pytest.raises(UserError, match="no such file"):
        find_images(["n" * 5000 + ".png"])
