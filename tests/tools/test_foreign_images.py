"""Foreign images: cut, scaled and counted as they should be, on made-up packages."""

import io
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import read_picture
from fingerprints.image_files import source_of
from tests.support.paths import ROOT
from tools import foreign_images
from tools.foreign_images import Count, crops, hold_out, parse_source, scaled, table

RND = np.random.RandomState(0)


def noise(width: int = 40, height: int = 40, channels: int = 3) -> np.ndarray:
    return RND.randint(0, 256, [height, width, channels], dtype=np.uint8)


def encoded(values: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def write(folder: Path, **files: bytes) -> Path:
    """Files by name; `__` stands for a slash, `_png` for the suffix."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_png", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def run(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> dict[str, list[str]]:
    """Runs the tool; returns the cells of its table by source."""
    foreign_images.main([f"--out={out}", *arguments])
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    return {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line) for line in lines)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        assert file.mode == "RGB"
        return np.asarray(file)


def test_transparency_becomes_white_before_scaling() -> None:
    """As in the training images: a hidden colour leaves no trace."""
    values = noise(channels=4)
    values[..., 3] = 0
    values[:20, :, 3] = 128
    alpha = values[..., 3:] / 255
    expected = values[..., :3] * alpha + 255 * (1 - alpha)
    found = np.asarray(read_picture(encoded(values)))
    np.testing.assert_allclose(found, expected, atol=1)
    assert (np.asarray(scaled(read_picture(encoded(values)), 10))[6:] == 255).all()


def test_pictures_are_padded_to_a_square_and_scaled() -> None:
    values = noise(40, 20)
    padded = np.full([40, 40, 3], 255, np.uint8)
    padded[10:30] = values
    expected = Image.fromarray(padded).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(scaled(Image.fromarray(values), 16), expected)
    same = noise(16, 16)
    np.testing.assert_array_equal(scaled(Image.fromarray(same), 16), same)


def test_crops_tile_the_middle() -> None:
    values = noise(25, 17)
    found = crops(Image.fromarray(values), 8)
    expected = [values[y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8, 16)]
    np.testing.assert_array_equal([np.asarray(crop) for crop in found], expected)
    (only,) = crops(Image.fromarray(values), 40)[:1]
    np.testing.assert_array_equal(only, values[:, 4:21])


@pytest.mark.parametrize("kind", ["folder", "zip", "tgz"])
def test_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """Folders below the common one become part of the names; only what matches is taken."""
    values = [noise() for _ in range(4)]
    content = {
        f"p/{name}": encoded(value)
        for name, value in zip(["png/a/x.png", "png/b/x.PNG", "png/.y.png"], values, strict=False)
    }
    content |= {"p/black/x.png": encoded(values[3]), "p/png/readme.txt": b"text"}
    for name, data in content.items():
        write(tmp_path, **{f"folder__{name.replace('/', '__')}": data})
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with tarfile.open(tmp_path / "tgz", "w:gz") as tar:
        tar.add(tmp_path / "folder" / "p", "p")
    cells = run(capsys, tmp_path / "out", "--size=40", f"icons={tmp_path / kind}:*/png/*")
    assert cells["icons"] == ["3", "3", "-"]
    assert names(tmp_path / "out") == ["icons"]
    assert names(tmp_path / "out" / "icons") == ["a-x.png", "b-x.png", "y.png"]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "icons" / "b-x.png"), values[1])


def test_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same pixels are counted once, in whatever format, under whatever name and source."""
    picture, other = noise(32, 32), noise(32, 32)
    first = write(
        tmp_path / "first",
        a_png=encoded(picture),
        b_png=encoded(np.kron(other, np.ones([2, 2, 1], np.uint8))),
    )
    (first / "link.png").symlink_to("b.png")
    half = Image.open(first / "b.png").resize((32, 32), Image.Resampling.LANCZOS)
    second = write(
        tmp_path / "second",
        same_png=encoded(picture, "BMP"),
        same_after_scaling_png=encoded(np.asarray(half)),
        tiny_png=encoded(noise(15, 9)),
        small_png=encoded(noise(16, 9)),
        broken_png=encoded(picture)[:200],
        deep_png=encoded(np.zeros([32, 32], np.uint16)),
        **{"1f44b-1F3FC_png": encoded(noise())},
    )
    cells = run(capsys, tmp_path / "out", f"first={first}", f"second={second}")
    assert cells["first"] == ["2", "2", "-"]
    assert cells["second"] == ["2", "2", "-", "1 by name, 2 duplicate, 1 too small, 1 unreadable"]
    assert names(tmp_path / "out" / "second") == ["deep.png", "small.png"]
    cells = run(capsys, tmp_path / "all", "--leave-out=^$", f"second={second}")
    assert cells["second"][0] == "5"


def test_crops_of_a_photograph_are_one_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here and for what measures; a picture is not taken for a crop because of its name."""
    big = write(tmp_path / "big", one_png=encoded(noise(96, 64)), two_png=encoded(noise(64, 64)))
    whole = write(
        tmp_path / "whole", **{"a-crop1_png": encoded(noise()), "a-crop2_png": encoded(noise())}
    )
    cells = run(
        capsys, tmp_path / "out", "--crop-side=32", f"photos={big}", f"whole={whole}",
        "--photos", f"cut={big}",
    )  # fmt: skip
    assert (cells["cut"][:2], cells["photos"][:2]) == (["2", "10"], ["2", "2"])
    assert names(tmp_path / "out" / "cut")[0] == "one-crop00.png"
    for name, count in (("cut", 2), ("whole", 2), ("photos", 2)):
        found = {source_of(path) for path in (tmp_path / "out" / name).iterdir()}
        assert len(found) == count
    np.testing.assert_array_equal(
        pixels(tmp_path / "out" / "cut" / "one-crop05.png"),
        pixels(big / "one.png")[32:64, 64:96],
    )


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Path]:
    """Eight images in another order than that of their names; number 5 looks like number 1."""
    path = tmp_path / "noto.zip"
    values = [noise(32, 32) for _ in range(8)]
    values[5] = values[1]
    with zipfile.ZipFile(path, "w") as archive:
        for number in (7, 2, 0, 5, 1, 6, 3, 4):
            archive.writestr(f"{number}-1f3fb.png", encoded(values[number]))
        archive.writestr("README.txt", "licence")
    return path


def test_hold_out_splits(training: Path, tmp_path: Path) -> None:
    """Every third by name; the others stay as they are, byte by byte."""
    rest = tmp_path / "rest.zip"
    held = hold_out(training, 3, rest)
    assert [name for name, _ in held] == ["2-1f3fb.png", "5-1f3fb.png"]
    with zipfile.ZipFile(training) as all_images, zipfile.ZipFile(rest) as others:
        content = {name: all_images.read(name) for name in all_images.namelist()}
        assert [n for n in all_images.namelist() if n not in dict(held)] == others.namelist()
        assert dict(held) | {name: others.read(name) for name in others.namelist()} == content
    hold_out(training, 3, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == rest.read_bytes()


def test_training_images_are_not_foreign(
    training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those held out are, unless another training image has the same pixels."""
    with zipfile.ZipFile(training) as archive:
        archive.extractall(tmp_path / "package")
    cells = run(
        capsys, tmp_path / "out", "--leave-out=^$", "--hold-out", "3", str(training),
        f"package={tmp_path / 'package'}",
    )  # fmt: skip
    assert cells["held-out"] == ["1", "1", "-", "1 training image"]
    assert cells["package"] == ["0", "0", "-", "1 duplicate, 7 training image"]
    assert names(tmp_path / "out") == ["held-out", "package", "train.zip"]
    assert names(tmp_path / "out" / "held-out") == ["2-1f3fb.png"]
    # Nothing is left out of these by its name.
    assert run(capsys, tmp_path / "more", "--hold-out", "3", str(training))["all"][0] == "1"


def test_sample_images_can_be_split(tmp_path: Path) -> None:
    """The numbers that the documentation gives."""
    archive = ROOT / "datasets" / "noto-emoji-32.zip"
    held = hold_out(archive, 19, tmp_path / "rest.zip")
    with zipfile.ZipFile(tmp_path / "rest.zip") as others:
        assert (len(held), len(others.namelist())) == (199, 3587 + 1)


def test_table_says_what_counting_can_show() -> None:
    lines = table({"a": Count(images=3000, files=3000), "b": Count(images=2, files=90)})
    assert [line.split()[1:4] for line in lines[1:4]] == [
        ["3000", "3000", "1.0e-03"], ["2", "90", "-"], ["3002", "3090", "1.0e-03"],
    ]  # fmt: skip
    assert lines[-1].endswith("Smaller rates cannot be shown by counting.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name at least one SOURCE=PATH, or --hold-out N ZIP"),
        (["icons"], "'icons': expected SOURCE=PATH or SOURCE=PATH:PATTERN"),
        (["icons="], "'icons=': expected SOURCE=PATH"),
        (["a/b=x"], "'a/b=x': expected SOURCE=PATH"),
        (["..=x"], "'..=x': expected SOURCE=PATH"),
        (["icons=missing"], "'icons=missing': there is no missing; --help says how"),
        (["icons=empty"], "empty: no image there matches '*'"),
        (["icons=full:*.gif"], "full: no image there matches '*.gif'"),
        (["icons=text"], "text: cannot be read as a folder, .zip or tar file (file could not be"),
        (["icons=full", "--leave-out=("], "--leave-out=(: no regular expression: "),
        (["--hold-out", "1", "noto.zip"], "--hold-out 1: N is a number of at least 2"),
        (["--hold-out", "x", "noto.zip"], "--hold-out x: N is a number of at least 2"),
        (["--hold-out", "9", "noto.zip"], "--hold-out 9 noto.zip: it has only 8 images"),
        (["--hold-out", "3", "text"], "--hold-out 3 text: cannot be split: File is not a zip"),
        (
            ["--hold-out", "2", "bad.zip"],
            "training image a.png cannot be read: not an image that Pillow",
        ),
        (["--hold-out", "3", "missing"], "--hold-out 3 missing: cannot be split: "),
    ],
)
@pytest.mark.usefixtures("training")
def test_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """One line, and no folder is left behind."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    write(tmp_path / "full", a_png=encoded(noise()))
    Path("text").write_text("text")
    with zipfile.ZipFile("bad.zip", "w") as archive:
        archive.writestr("a.png", b"text")
        archive.writestr("b.png", encoded(noise()))
    with pytest.raises(UserError) as error:
        foreign_images.main(["--out=out", *arguments])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out*"))


def test_existing_folder_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path / "full", a_png=encoded(noise()))
    with pytest.raises(UserError, match="exists already"):
        foreign_images.main([f"--out={tmp_path / 'full'}", f"icons={tmp_path / 'full'}"])
    assert names(tmp_path / "full") == ["a.png"]


def test_sources_may_have_a_pattern(tmp_path: Path) -> None:
    source = parse_source(f"icons={tmp_path}:*/32x32/*", photographs=True)
    assert (source.path, source.pattern, source.photographs) == (tmp_path, "*/32x32/*", True)
    assert parse_source(f"icons={tmp_path}").pattern == "*"
