"""Making data sets: any number of workers, archives, classes of folders, the report, the layout."""

import io
import json
import os
import random
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from PIL import Image

import dataset_tool
from dnnlib.child_processes import ChildProcesses
from dnnlib.errors import UserError
from training.data import building
from training.data.dataset import open_dataset
from training.data.encoding import Encoding
from training.data.image_folder import ImageFolder, class_numbers
from training.data.stored_image import compressed_record, parse, published_record
from training.data.writer import DatasetWriter

RNG = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, [height, width, channels], np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def create(out: Path, source: Path, *flags: str) -> None:
    dataset_tool.main(["create_from_images", str(out), str(source), "--shuffle=0", *flags])


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes of images, and what is no image."""
    root = tmp_path / "src"
    for index, name in enumerate(["cat", "dog", "cat/more", "axe"]):
        (root / name).mkdir(parents=True)
        for number in range(2):
            (root / name / f"{number}.png").write_bytes(png(noise(8, 8) // 4 + index * 60))
    (root / "cat" / "notes.txt").write_text("x")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "0.png").write_bytes(png(noise(8, 8)))
    return root


@pytest.mark.parametrize("processes", [False, True])
def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    records = Encoding.records

    def late(self: Encoding, picture: Image.Image) -> list[bytes]:
        time.sleep(random.random() / 50)  # so that threads end in another order
        return records(self, picture)

    if processes:
        monkeypatch.setattr(building, "PROCESSES", 0)
        monkeypatch.setattr(building, "THREADS", 0)
    else:
        monkeypatch.setattr(Encoding, "records", late)
    (folders / "dog" / "bad.png").write_bytes(b"x")
    (folders / "dog" / "grey.png").write_bytes(png(noise(8, 8)[:, :, 0]))
    contents = []
    for workers in ("1", "8"):
        out = tmp_path / workers / "set"
        create(out, folders, "--labels=folders", f"--workers={workers}", "--skip-bad")
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
        report = (tmp_path / workers / "set-report.jsonl").read_text().splitlines()
        assert [json.loads(line)["kind"] for line in report] == ["no image", "grey made colour"]
    assert len(contents[0]) == 3
    assert contents[0] == contents[1]


def test_a_worker_that_is_killed_costs_no_image(
    tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written stays, and the same command goes on."""
    monkeypatch.setattr(building, "PROCESSES", 0)
    monkeypatch.setattr(building, "THREADS", 0)
    monkeypatch.setattr(building, "CHECKPOINT_SECONDS", 0)
    call, calls = ChildProcesses.call, []

    def kill(self: ChildProcesses, function: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return call(self, os._exit, 9) if len(calls) == 4 else call(self, function, *arguments)

    flags = ("--labels=folders", "--workers=1")
    create(tmp_path / "whole" / "set", folders, *flags)
    with monkeypatch.context() as patched:
        patched.setattr(ChildProcesses, "call", kill)
        with pytest.raises(UserError, match="exit status 9.* fewer workers"):
            create(tmp_path / "set", folders, *flags)
    create(tmp_path / "set", folders, *flags)
    for path in (tmp_path / "set").iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / "set" / path.name).read_bytes()


@pytest.mark.parametrize(("size", "expected"), [(128, 16), (256, 4), (1024, 1), (None, 1)], ids=str)
def test_large_images_go_to_workers_one_by_one(
    tmp_path: Path, size: int | None, expected: int
) -> None:
    """So that what waits in memory is bounded in bytes; and few images are spread over all."""
    writer = DatasetWriter(tmp_path / "x")
    writer.shape = None if size is None else (size, size, 3)
    pieces = list(building._pieces(range(1000), 3, 8, writer))
    assert [number for piece in pieces for number in piece] == list(range(3, 1000))
    assert len(pieces[0]) == expected
    assert [len(piece) for piece in pieces[-32:]] == [1] * 32


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tgz"])
def test_folders_are_classes(tmp_path: Path, folders: Path, kind: str) -> None:
    source = folders
    if kind == "zip":
        source = tmp_path / "a.zip"
        write_zip(source, folders)
    elif kind != "folder":
        source = tmp_path / f"a.{kind}"
        with tarfile.open(source, "w:gz" if kind == "tgz" else "w") as archive:
            archive.add(folders, "within/one/folder")
    create(tmp_path / "set", source, "--labels=folders")
    dataset = open_dataset(tmp_path, "set")
    names = ["axe/0", "axe/1", "cat/0", "cat/1", "cat/more/0", "cat/more/1", "dog/0", "dog/1"]
    expected = [np.asarray(Image.open(folders / f"{name}.png")) for name in names]
    np.testing.assert_array_equal(list(dataset.images()), expected)
    assert dataset.labels.argmax(1).tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    made = json.loads((tmp_path / "set" / "dataset.json").read_text())["made"]
    assert made["classes"] == ["axe", "cat", "dog"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_only_pixels_are_stored(tmp_path: Path, mode: str) -> None:
    """Of the same pixels the same bytes, whatever else was in the files."""
    picture = Image.fromarray(noise(8, 8)).convert(mode)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    extras = {"plain": {}, "more": {"icc_profile": b"p" * 500, "exif": exif, "dpi": (72, 72)}}
    for name, extra in extras.items():
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "0.png", **extra)
        grey = ["--grey"] if mode == "L" else []
        create(tmp_path / name / "set", tmp_path / name, *grey)
    one, other = (tmp_path / name / "set" / "set-r03-00000.tfrecords" for name in extras)
    assert one.read_bytes() == other.read_bytes()


def write_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("[0-9].png")):
            archive.write(file, Path("all") / file.relative_to(folder))


def test_labels_need_a_folder_for_each_image() -> None:
    with pytest.raises(UserError, match="x.png in here lies in no folder of a class"):
        class_numbers(["a/0.png", "x.png"], Path("here"))
    with pytest.raises(UserError, match="lie in one folder, a;"):
        class_numbers(["a/0.png", "a/1.png"], Path("here"))


def test_recursive(tmp_path: Path, folders: Path) -> None:
    with pytest.raises(UserError, match="--recursive looks into subfolders"):
        create(tmp_path / "set", folders)
    create(tmp_path / "set", folders, "--recursive")
    dataset = open_dataset(tmp_path, "set")
    assert (dataset.num_images, dataset.label_size) == (8, 0)


def test_labels_of_what_is_left_out_are_left_out(tmp_path: Path, folders: Path) -> None:
    (folders / "axe" / "0.png").write_bytes(b"")
    create(tmp_path / "set", folders, "--labels=folders", "--skip-bad")
    assert open_dataset(tmp_path, "set").labels.argmax(1).tolist() == [0, 1, 1, 1, 1, 2, 2]


def test_every_kind_of_bad_image_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    good = png(noise(16, 16))
    bomb = bytearray(png(noise(4, 4)))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    contents = {
        "a-good.png": good,
        "b-jpeg.png": jpeg(noise(16, 16)),
        "c-empty.png": b"",
        "d-text.png": b"no image",
        "e-truncated.png": good[:-300],
        "f-bomb.png": bytes(bomb),
        "g-small.png": png(noise(8, 8)),
        "h-wide.png": png(noise(16, 40)),
        "i-grey.png": png(noise(16, 16)[:, :, 0]),
    }
    for name, content in contents.items():
        (source / name).write_bytes(content)
    report = tmp_path / "report.jsonl"
    create(tmp_path / "set", source, "--resolution=16", "--skip-bad", f"--report={report}")
    found = {}
    for line in report.read_text().splitlines():
        fields = json.loads(line)
        found[fields["image"][0]] = (fields["kind"], fields["used"])
    assert found.pop("f")[1] is False
    assert found == {
        "b": ("wrong extension", True),
        "c": ("empty", False),
        "d": ("no image", False),
        "e": ("truncated", False),
        "g": ("too small", False),
        "h": ("not square, cropped", True),
        "i": ("grey made colour", True),
    }
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'set'}: 4 images of 16x16x3, ")
    assert "5 left out: " in out
    assert open_dataset(tmp_path, "set").num_images == 4


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_small_images_are_enlarged_only_when_asked(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "0.png").write_bytes(png(noise(8, 8)))
    with pytest.raises(UserError, match=r"\(1 too small\).*--allow-upscale"):
        create(tmp_path / "set", source, "--resolution=16")
    assert not (tmp_path / "set").exists()
    create(tmp_path / "set", source, "--resolution=16", "--allow-upscale")
    assert open_dataset(tmp_path, "set").resolution == 16


# ----- the layout -----


@pytest.mark.parametrize("channels", [1, 3])
def test_records_give_back_what_was_stored(channels: int) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(16))[:, :, None] * np.ones(channels)
    for image in (noise(16, 16, channels), smooth.astype(np.uint8)):
        compressed = compressed_record(Image.fromarray(image.squeeze()))
        for record in (compressed, published_record(image.transpose(2, 0, 1))):
            back = np.zeros_like(image)
            parse(record).fill(back)
            np.testing.assert_array_equal(back, image)
            with pytest.raises(ValueError, match="no image of shape"):
                parse(record).fill(np.zeros([8, 8, channels], np.uint8))
    assert len(compressed) < len(record) < 16 * 16 * channels + 60


def test_a_compressed_record_with_another_image_in_it() -> None:
    stored = parse(compressed_record(Image.fromarray(noise(16, 16))))
    lie = parse(compressed_record(Image.fromarray(noise(8, 8))))
    wrong = type(stored)(stored.shape, lie.data, True)
    with pytest.raises(ValueError, match="an image of another shape"):
        wrong.fill(np.zeros([16, 16, 3], np.uint8))


def sharded(path: Path, count: int) -> np.ndarray:
    images = np.stack([noise(8, 8) for _ in range(count)])
    with DatasetWriter(path, compress=True, shard_bytes=900) as writer:
        for image in images:
            writer.add(image)
    return images


def test_shards(tmp_path: Path) -> None:
    images = sharded(tmp_path / "set", 10)
    files = sorted((tmp_path / "set").glob("*.tfrecords"))
    assert len(files) == 4
    dataset = open_dataset(tmp_path, "set")
    np.testing.assert_array_equal(list(dataset.images()), images)
    with dataset.batches(10, seed=1) as batches:
        order = np.random.default_rng([1, 0]).permutation(10)
        np.testing.assert_array_equal(next(batches), images[order])
    content = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert [content["version"], content["shape"], content["num_images"]] == [1, [8, 8, 3], 10]
    for path, shard in zip(files, content["shards"], strict=True):
        data = path.read_bytes()
        assert (shard["file"], shard["num_bytes"]) == (path.name, len(data))
        assert int(shard["crc32c"], 16) == google_crc32c.value(data)


def test_a_damaged_or_missing_shard(tmp_path: Path) -> None:
    images = sharded(tmp_path / "set", 10)
    second = sorted((tmp_path / "set").glob("*.tfrecords"))[1]
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"record 2 \(counting from 0\) of .*-00001.tfrecords is"):
        open_dataset(tmp_path, "set")
    dataset = open_dataset(tmp_path, "set", skip_bad_records=True)
    assert dataset.skipped == (5,)
    np.testing.assert_array_equal(list(dataset.images()), np.delete(images, 5, axis=0))
    second.unlink()
    with pytest.raises(UserError, match="cannot read .*-00001.tfrecords"):
        open_dataset(tmp_path, "set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is of version 2, this program knows 1"),
        ({"format": "x"}, "does not describe a data set"),
        ({"num_images": 11}, "contradicts itself"),
        ({"shape": None}, "is not complete"),
        ({"shards": [{"file": "../x"}]}, "is not complete"),
        ({"shape": [8, 8, 1]}, "is not that of its images"),
    ],
)
def test_a_description_that_does_not_fit(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    sharded(tmp_path / "set", 3)
    path = tmp_path / "set" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path, "set")


def test_a_folder_that_is_neither_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"x" * 2000)
    with pytest.raises(UserError, match=r"neither a folder nor a readable .zip or .tar file"):
        ImageFolder(path)
