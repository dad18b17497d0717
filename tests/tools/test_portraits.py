"""Drawn portraits: the same for ever by seed, with licence and recipe; errors in one line."""

import importlib
import io
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from tests.support.paths import ROOT
from tools import portraits

ARCHIVE = ROOT / "datasets" / "portraits-32.zip"
PACKAGES = ("dicebear", "dicebear_styles", "resvg_py")
MISSING = [name for name in PACKAGES if find_spec(name) is None]
drawing = pytest.mark.skipif(
    bool(MISSING), reason=f"no {', '.join(MISSING)}: pip install -r requirements/portraits.txt"
)


def pixels(data: bytes) -> np.ndarray:
    """A PNG file as int [H,W,3]; RGB without any other channel."""
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture).astype(int)


@drawing
def test_a_seed_is_a_picture() -> None:
    first = portraits.draw("toon-head", 32, 7)
    assert portraits.draw("toon-head", 32, 7) == first
    assert pixels(first).shape == (32, 32, 3)
    others = [portraits.draw("toon-head", 32, 8), portraits.draw("open-peeps", 32, 7)]
    for other in others:
        assert np.abs(pixels(other) - pixels(first)).mean() > 5


@drawing
@pytest.mark.parametrize("style", portraits.STYLES)
def test_every_style_is_drawn_on_white_and_fills_the_picture(style: str) -> None:
    images = np.stack([pixels(portraits.draw(style, 64, seed)) for seed in range(4)])
    assert (images[:, :4, :4] > 250).all()
    assert images.std(axis=(1, 2)).max(axis=1).min() > 20


@drawing
def test_sizes_are_the_same_drawing() -> None:
    small, full = (pixels(portraits.draw("toon-head", size, 3)) for size in (32, 256))
    assert full.shape == (256, 256, 3)
    means = full.reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
    assert np.abs(small - means).mean() < 5


@drawing
def test_archive_is_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    """The whole command; file names sort as seeds do."""
    archives = []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.zip"
        portraits.main([
            f"--out={path}", "--count=4", "--first=8", "--size=16", f"--processes={processes}"
        ])  # fmt: skip
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(io.BytesIO(archives[0])) as archive:
        names = archive.namelist()
        assert names == ["README.txt", "08.png", "09.png", "10.png", "11.png"]
        for seed in (9, 11):
            data = archive.read(f"{seed:02d}.png")
            assert data == portraits.draw("toon-head", 16, seed)


@drawing
def test_readme_names_licence_and_recipe(tmp_path: Path) -> None:
    path = tmp_path / "peeps.zip"
    portraits.write_archive(path, "open-peeps", range(5, 7), 16, processes=1)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("README.txt").decode()
    style = portraits.STYLES["open-peeps"]
    for part in (style.author, style.licence, style.source, "DiceBear", "Changes: "):
        assert part in text
    assert "--style=open-peeps --count=2 --first=5 --size=16" in text
    for package in ("dicebear-core", "dicebear-styles", "resvg-py"):
        assert re.search(rf"{package} \d+\.\d+", text)


def test_sample_data_name_licence_and_recipe() -> None:
    """CC BY asks for author, source, licence and changes wherever the pictures go."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        text = archive.read("README.txt").decode()
        pictures = [name for name in archive.namelist() if name.endswith(".png")]
    style = portraits.STYLES["toon-head"]
    for part in (style.author, style.licence, style.source, "DiceBear", "Changes: "):
        assert part in text
    recipe = re.search(r"--style=toon-head --count=(\d+) --first=0 --size=32", text)
    assert recipe
    assert len(pictures) == int(recipe[1])


@drawing
def test_sample_data_are_what_is_drawn_now() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        for seed in range(4):
            stored = pixels(archive.read(f"{seed:04d}.png"))
            drawn = pixels(portraits.draw("toon-head", 32, seed))
            # Other versions of Pillow and resvg may round otherwise.
            assert np.abs(stored - drawn).max() <= 4, seed
            assert np.abs(stored - drawn).mean() < 0.2, seed


def test_portraits_are_never_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with pytest.raises(UserError, match="--size=257: portraits are drawn at 256") as error:
        portraits.main([f"--out={path}", "--size=257"])
    assert "\n" not in str(error.value)
    assert not path.exists()


@pytest.mark.parametrize("flag", ["--size=0", "--count=0", "--first=-1", "--style=photo"])
def test_bad_flags(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        portraits.main([f"--out={tmp_path / 'x.zip'}", flag])
    assert flag.partition("=")[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PACKAGES)
def test_missing_package_is_named_with_its_cure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = importlib.import_module

    def import_module(module: str) -> ModuleType:
        if module == name:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return ModuleType(module) if module in MISSING else original(module)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(UserError) as error:
        portraits.main([f"--out={tmp_path / 'x.zip'}", "--count=1"])
    text = str(error.value)
    assert f"package {name}: " in text
    assert "requirements/portraits.txt" in text
    assert "\n" not in text
    assert not list(tmp_path.iterdir())
