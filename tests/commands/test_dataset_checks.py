"""dataset_tool: info, verify, convert, stats."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_tool
from dnnlib.errors import UserError
from metrics.feature_statistics import FeatureStatistics
from tests.support import made_up_inception
from training.data.dataset import open_dataset
from training.data.writer import DatasetWriter


def write(path: Path, images: np.ndarray, labels: np.ndarray | None = None, **how: bool) -> Path:
    with DatasetWriter(path, **how) as writer:
        for image in images:
            writer.add(image)
        if labels is not None:
            writer.add_labels(labels)
    return path


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [6, 8, 8, 3], np.uint8)


LABELS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 0, 1]]


def info_of(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, str]:
    dataset_tool.main(["info", str(path), *flags])
    lines = capsys.readouterr().out.splitlines()
    return {line[:12].strip(): line[13:] for line in lines}


def test_info(tmp_path: Path, images: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    a = info_of(write(tmp_path / "a", images, LABELS, compress=True), capsys)
    assert a["layout"] == "compressed without loss"
    assert a["images"] == "6 of 8x8x3"
    assert a["labels"] == "3 numbers per image (0: 3, 1: 2, 2: 1)"
    assert " in 3 files, " in a["bytes"]
    b = info_of(write(tmp_path / "b", images, LABELS, lods=True), capsys)
    assert (b["layout"], b["resolutions"]) == ("published, uncompressed", "8 4")
    assert b["hash"] == a["hash"]  # whatever the layout and the name
    plain = info_of(write(tmp_path / "c", images), capsys)
    assert plain["labels"] == "none"
    other = info_of(write(tmp_path / "d", images[::-1]), capsys)
    assert len({a["hash"], plain["hash"], other["hash"]}) == 3
    assert "hash" not in info_of(tmp_path / "d", capsys, "--hash=False")


def verify(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[bool, list[str]]:
    try:
        dataset_tool.main(["verify", str(path)])
        failed = False
    except SystemExit as ended:
        failed = ended.code == 1
    return failed, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("how", [{"compress": True}, {"lods": True}])
def test_verify(
    tmp_path: Path, images: np.ndarray, capsys: pytest.CaptureFixture[str], how: dict[str, bool]
) -> None:
    images[4] = images[1]
    brighter = images[1].astype(int) // 2 + 60  # 1, as it were photographed darker
    images[2] = images[1] = np.clip(brighter, 0, 255)
    folder = write(tmp_path / "a", images, LABELS, **how)
    failed, lines = verify(folder, capsys)
    assert not failed
    assert lines[0] == "1 images identical to an earlier one, for example: 1 2"
    assert lines[1].startswith("1 images of equal perceptual hash to an earlier one")
    assert lines[2].startswith(f"{folder}: whole; 6 images")

    path = sorted(folder.glob("*.tfrecords"))[-1]
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    failed, lines = verify(folder, capsys)
    assert failed
    assert any("1 bad records" in line for line in lines)
    assert ("size or CRC-32C differ" in "".join(lines)) == ("compress" in how)


def test_verify_looks_at_labels(
    tmp_path: Path, images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "a", images, LABELS, compress=True)
    np.save(open(folder / "a-rxx.labels", "wb"), LABELS[:4])  # noqa: SIM115
    failed, lines = verify(folder, capsys)
    assert failed
    assert any("labels of" in line and "4 rows for 6 images" in line for line in lines)


@pytest.mark.parametrize("channels", [1, 3])
def test_convert_there_and_back(
    tmp_path: Path, images: np.ndarray, capsys: pytest.CaptureFixture[str], channels: int
) -> None:
    images = images[..., :channels]
    first = write(tmp_path / "a", images, LABELS, lods=True)
    for source, target, layout in [("a", "b", "compressed"), ("b", "c", "published")]:
        dataset_tool.main(
            ["convert", str(tmp_path / source), str(tmp_path / target), "--layout", layout]
        )
    middle = open_dataset(tmp_path, "b")
    assert middle.path.name == "dataset.json"
    np.testing.assert_array_equal(list(middle.images()), images)
    np.testing.assert_array_equal(middle.labels, LABELS)
    for path in first.iterdir():
        again = tmp_path / "c" / path.name.replace("a-", "c-", 1)
        assert again.read_bytes() == path.read_bytes()


LOSSLESS = ["png", "bmp", "tiff", "ppm", "tga", "webp"]


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("lods", [(), ("--lods",)], ids=["compressed", "published"])
def test_create_and_extract_give_back_every_pixel(
    tmp_path: Path, images: np.ndarray, lods: tuple[str, ...], channels: int, archive: bool
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    images = images[..., 0] if channels == 1 else images
    for number, (image, suffix) in enumerate(zip(images, LOSSLESS, strict=True)):
        how = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(image).save(source / f"{number}.{suffix}", **how)
    if archive:
        source = Path(shutil.make_archive(str(source), "zip", source))
    grey = ("--grey",) if channels == 1 else ()
    dataset_tool.main(
        ["create_from_images", str(tmp_path / "set"), str(source), "--shuffle=0", *lods, *grey]
    )
    dataset_tool.main(["extract", str(tmp_path / "set"), str(tmp_path / "out")])
    found = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    np.testing.assert_array_equal(found, images)


@pytest.mark.slow
def test_stats_are_where_metrics_look_for_them(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    graph = tmp_path / "inception.pb"
    made_up_inception.write(graph)
    folder = write(tmp_path / "a", images, compress=True)
    dataset_tool.main(["stats", str(folder), "--num_images=4", f"--inception={graph}"])
    assert "of 2048 features of 4 images" in capsys.readouterr().out
    (kept,) = (tmp_path / "cache").glob("fid-reals-*.npz")
    with np.load(kept) as file:
        assert file["mean"].shape == (2048,)
        assert file["cov"].shape == (2048, 2048)

    def never(self: object, features: np.ndarray) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(FeatureStatistics, "add", never)
    dataset_tool.main(["stats", str(folder), "--num_images=4", f"--inception={graph}"])


def test_what_is_no_data_set(tmp_path: Path) -> None:
    for command in (["info"], ["verify"], ["stats"]):
        with pytest.raises(UserError, match="there is no data set"):
            dataset_tool.main([command[0], str(tmp_path / "none")])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "dataset.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="does not describe a data set"):
        dataset_tool.main(["info", str(tmp_path / "a")])
