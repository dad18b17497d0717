"""dataset_tool: published order and contents, odd source images, every error, other commands."""

import errno
import io
import json
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import dataset_tool
from dnnlib.errors import UserError
from dnnlib.images import UnreadableImageError, read_picture
from gan_fingerprints.work import creators as work
from tests.support.paths import ROOT
from training.data import building
from training.data.dataset import open_dataset
from training.data.encoding import image_levels
from training.data.image_folder import ImageFolder
from training.data.preparing import fit_square
from training.data.records import RecordWriter
from training.data.writer import DatasetWriter


def records(path: Path) -> list[tuple[list[int], bytes]]:
    """Parsed contents of a TFRecord file: (shape, data) of every record."""
    result = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        assert sorted(feature) == ["data", "shape"]
        result.append(
            (list(feature["shape"].int64_list.value), feature["data"].bytes_list.value[0])
        )
    return result


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pattern(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def save_images(folder: Path, count: int, size: int = 8) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(pattern(size, size, index)).save(folder / f"{index:02d}.png")
    return folder


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read_picture(data))


# ----- published order and contents -----


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("emoji12", "create_from_images {out} {src}/emoji12_png --shuffle 0 --lods"),
        ("emoji12_shuffled", "create_from_images {out} {src}/emoji12_png --shuffle 1"
         " --num_images 9 --lods"),
        ("celeba5", "create_celeba {out} {src}/celeba5_png --lods"),
    ],
)  # fmt: skip
def test_equals_published(
    name: str, command: str, tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = reference / "tfrecords"
    out = tmp_path / "sets" / name
    dataset_tool.main([part.format(out=out, src=source) for part in command.split()])
    # Of the crops the reference keeps the largest level alone.
    assert set(names_in(out)) >= set(names_in(source / name))
    for file in (source / name).iterdir():
        assert records(out / file.name) == records(file)
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert printed.out.startswith(f"{out}: {len(records(file))} images of ")


def test_only_one_level_without_lods(tmp_path: Path, reference: Path) -> None:
    source = reference / "tfrecords" / "emoji12_png"
    dataset_tool.main(["create_from_images", str(tmp_path / "a"), str(source), "--shuffle", "0"])
    assert names_in(tmp_path / "a") == ["a-r05-00000.tfrecords", "dataset.json"]
    expected = open_dataset(reference / "tfrecords", "emoji12").images()
    assert np.array_equal(list(open_dataset(tmp_path, "a").images()), list(expected))


def test_levels_are_means_of_unrounded_levels() -> None:
    image = np.zeros([1, 16, 16], np.uint8)
    image[0, :4, :4] = [[1, 1, 3, 3], [0, 0, 3, 3], [2, 2, 0, 0], [3, 3, 0, 0]]
    # The means are 0.5, 3, 2.5, 0 (halves round to even), and theirs is 1.5. The mean of the
    # rounded ones, 0, 3, 2, 0, would be 1.25.
    levels = list(image_levels(image))
    assert levels[1][0, :2, :2].tolist() == [[0, 3], [2, 0]]
    assert levels[2][0, 0, 0] == 2
    assert [level.shape for level in levels] == [(1, 16, 16), (1, 8, 8), (1, 4, 4)]


def test_zip_file_gives_the_same_as_a_folder(tmp_path: Path, reference: Path) -> None:
    source = reference / "tfrecords" / "emoji12_png"
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("README.txt", "not an image")
        archive.writestr("__MACOSX/00.png", "not an image either")
        archive.writestr("sub.png/", "")
        for path in sorted(source.iterdir(), reverse=True):
            archive.write(path, path.name)
    dataset_tool.main(
        ["create_from_images", str(tmp_path / "emoji12"), str(tmp_path / "images.zip")]
        + ["--shuffle=False", "--lods"]
    )
    expected = records(reference / "tfrecords" / "emoji12" / "emoji12-r05.tfrecords")
    assert records(tmp_path / "emoji12" / "emoji12-r05.tfrecords") == expected


def test_more_images_asked_than_there_are(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset_tool.main(
        ["create_celeba", str(tmp_path / "c"), str(reference / "tfrecords" / "celeba5_png")]
        + ["--num_images", "30000", "--num_shifts", "3", "--lods"]
    )
    assert len(records(tmp_path / "c" / "c-r07.tfrecords")) == 5
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert "--num_shifts has no effect" in warnings[0]
    assert "only 5 images" in warnings[1]


def test_celeba_crop_moves_with_cx_cy(tmp_path: Path, reference: Path) -> None:
    source = reference / "tfrecords" / "celeba5_png"
    dataset_tool.main(
        ["create_celeba", str(tmp_path / "c"), str(source), "--num_images", "1"]
        + ["--cx", "70", "--cy", "100", "--lods"]
    )
    shape, data = records(tmp_path / "c" / "c-r07.tfrecords")[0]
    image = np.asarray(Image.open(source / "000001.png"))
    assert np.array_equal(
        np.frombuffer(data, np.uint8).reshape(shape),
        image[100 - 64 : 100 + 64, 70 - 64 : 70 + 64].transpose(2, 0, 1),
    )
    with pytest.raises(UserError, match=r"--cx 20 .*does not fit"):
        dataset_tool.main(["create_celeba", str(tmp_path / "d"), str(source), "--cx", "20"])


# ----- CelebA attributes -----


def write_attributes(folder: Path, stems: list[str]) -> np.ndarray:
    values = np.random.RandomState(1).randint(0, 2, [len(stems), 3])
    lines = [str(len(stems)), "Bald Smiling Young"]
    for stem, row in zip(stems, values, strict=True):
        lines.append(f"{stem}.jpg " + " ".join("1" if value else "-1" for value in row))
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return values


def test_attributes_become_labels_in_record_order(tmp_path: Path, reference: Path) -> None:
    source = tmp_path / "celeba" / "Img" / "img_align_celeba_png"
    (tmp_path / "celeba" / "Anno").mkdir(parents=True)
    source.mkdir(parents=True)
    stems = []
    for path in sorted((reference / "tfrecords" / "celeba5_png").iterdir()):
        (source / path.name).write_bytes(path.read_bytes())
        stems.append(path.stem)
    (source / "000003.png").write_bytes(b"broken")
    values = write_attributes(tmp_path / "celeba" / "Anno", stems)
    dataset_tool.main(["create_celeba", str(tmp_path / "c"), str(source), "--skip-bad"])
    labels = np.load(tmp_path / "c" / "c-rxx.labels")
    order = [i for i in work.published_order(5) if i != 2]
    assert labels.dtype == np.float32
    assert np.array_equal(labels, values[order])
    assert open_dataset(tmp_path, "c").num_images == 4  # labels do not disturb reading

    dataset_tool.main(
        ["create_celeba", str(tmp_path / "n"), str(source), "--skip-bad", "--export_attr", "0"]
    )
    assert names_in(tmp_path / "n") == ["dataset.json", "n-r07-00000.tfrecords"]


def test_attribute_errors(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list_attr_celeba.txt"
    write_attributes(tmp_path, ["000001", "000002"])
    with pytest.raises(UserError, match=r"no line for 000004.png \(1 images"):
        work.read_attributes(path, ["000002.png", "000004.png"])
    path.write_text("1\nBald Young\n000001.jpg 1 0\n")
    with pytest.raises(UserError, match=r"line 3: expected .* 2 values"):
        work.read_attributes(path, ["000001.png"])
    source = str(reference / "tfrecords" / "celeba5_png")
    dataset_tool.main(["create_celeba", str(tmp_path / "c"), source, "--export_attr", "1"])
    assert "no list_attr_celeba.txt near" in capsys.readouterr().err


# ----- odd source images -----


def test_right_sized_rgb_is_bit_exact() -> None:
    image = Image.fromarray(pattern(16, 16))
    decoded = read_picture(encode(image, "PNG"))
    assert np.array_equal(np.asarray(fit_square(decoded, 16)), pattern(16, 16))


def test_grey_palette_and_one_bit() -> None:
    grey = pattern(8, 8)[:, :, 0]
    for image in (Image.fromarray(grey), Image.fromarray(grey).convert("P")):
        assert np.array_equal(pixels(encode(image, "PNG")), np.stack([grey] * 3, axis=2))
    bilevel = Image.fromarray(grey > 127)
    assert bilevel.mode == "1"
    expected = np.stack([np.where(grey > 127, 255, 0)] * 3, axis=2)
    assert np.array_equal(pixels(encode(bilevel, "PNG")), expected)


def test_transparency_is_put_on_white() -> None:
    rgba = np.concatenate([pattern(2, 2), np.zeros([2, 2, 1], np.uint8)], axis=2)
    rgba[0, :, 3] = 255, 128
    decoded = pixels(encode(Image.fromarray(rgba), "PNG"))
    assert np.array_equal(decoded[0, 0], rgba[0, 0, :3])
    assert np.all(decoded[1] == 255)
    blend = rgba[0, 1, :3] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decoded[0, 1] - blend).max() <= 1
    palette = Image.new("P", (2, 1))
    palette.putpixel((1, 0), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    decoded = pixels(encode(palette, "PNG", transparency=1))
    assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    grey_alpha = Image.merge("LA", [Image.new("L", (2, 2), 7), Image.new("L", (2, 2), 0)])
    assert np.all(pixels(encode(grey_alpha, "PNG")) == 255)


def test_sixteen_bits() -> None:
    levels = np.array([[0, 257, 128 * 257, 65535, 385, 386]], np.uint16)  # 385/257 = 1.498
    expected = np.array([[0, 1, 128, 255, 1, 2]])
    for kind in ("PNG", "TIFF", "PPM"):
        decoded = pixels(encode(Image.fromarray(levels), kind))
        assert np.array_equal(decoded, np.stack([expected] * 3, axis=2)), kind


def test_sixteen_bit_colour() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = b"\0" + struct.pack(">6H", 257, 2 * 257, 3 * 257, 65535, 0, 200 * 257)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert pixels(data).tolist() == [[[1, 2, 3], [255, 0, 200]]]


def test_cmyk() -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for data in (encode(image, "TIFF"), encode(image, "JPEG", quality=100)):
        assert np.abs(pixels(data).astype(int) - [0, 255, 255]).max() <= 2


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    image = Image.fromarray(pattern(4, 8))
    decoded = pixels(encode(image, "PNG", exif=exif))
    assert np.array_equal(decoded, np.rot90(pattern(4, 8), k=-1))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "not an image that Pillow can read"),
        (encode(Image.fromarray(pattern(64, 64)), "PNG")[:5000], "truncated"),
        (encode(Image.fromarray(pattern(64, 64)), "JPEG")[:1000], "truncated"),
        (encode(Image.fromarray(np.zeros([4, 4], np.float32)), "TIFF"), r"mode F\) have no"),
        (encode(Image.fromarray(np.zeros([4, 4], np.int32)), "TIFF"), r"mode I\) have no"),
    ],
)
def test_refused_files(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_picture(data)


def test_centre_crop_and_lanczos() -> None:
    image = Image.fromarray(pattern(40, 64))
    expected = image.crop((12, 0, 52, 40)).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(fit_square(image, 16)), np.asarray(expected))
    tall = fit_square(Image.fromarray(pattern(64, 40)), 40)
    assert np.array_equal(np.asarray(tall), pattern(64, 40)[12:52])


def test_resolution_and_grey_take_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    Image.fromarray(pattern(20, 30)).save(source / "a.PNG")
    Image.fromarray(pattern(8, 8)).save(source / "b.webp", lossless=True)
    Image.fromarray(pattern(99, 50)).save(source / "c.jpg")
    (source / "notes.txt").write_text("x")
    (source / ".hidden.png").write_text("x")
    dataset_tool.main(
        ["create_from_images", str(tmp_path / "a"), str(source), "--resolution", "16"]
        + ["--grey", "--shuffle", "0", "--allow-upscale"]
    )
    dataset = open_dataset(tmp_path, "a")
    assert (dataset.resolution, dataset.num_channels, dataset.num_images) == (16, 1, 3)
    expected = fit_square(Image.fromarray(pattern(20, 30)), 16).convert("L")
    assert np.array_equal(next(dataset.images())[:, :, 0], np.asarray(expected))
    printed = capsys.readouterr()
    assert "3 images of 16x16x1" in printed.out
    assert "3 colour made grey, 2 not square, cropped, 1 enlarged" in printed.out


# ----- errors -----


def create(tmp_path: Path, source: Path, *options: str) -> None:
    dataset_tool.main(["create_from_images", str(tmp_path / "out"), str(source), *options])


@pytest.mark.parametrize("resolution", ["100", "2", "1"])
def test_resolution_that_is_no_power_of_two(tmp_path: Path, resolution: str) -> None:
    source = save_images(tmp_path / "src", 1)
    with pytest.raises(UserError, match=f"--resolution={resolution} must be a power of two"):
        create(tmp_path, source, "--resolution", resolution)


@pytest.mark.parametrize(("height", "width"), [(16, 8), (12, 12), (2, 2)])
def test_first_image_of_unusable_size(tmp_path: Path, height: int, width: int) -> None:
    (tmp_path / "src").mkdir()
    Image.fromarray(pattern(height, width)).save(tmp_path / "src" / "odd.png")
    with pytest.raises(UserError, match=f"odd.png: {width}x{height}.*--resolution R"):
        create(tmp_path, tmp_path / "src")
    assert names_in(tmp_path) == ["out-report.jsonl", "src"]


def test_images_of_two_sizes(tmp_path: Path) -> None:
    source = save_images(tmp_path / "src", 3)
    for name in ("01b.png", "zz.png"):
        Image.fromarray(pattern(16, 16)).save(source / name)
    with pytest.raises(UserError, match=r"2 of 5 .*01b.png: 16x16, .* 8x8; --resolution R"):
        create(tmp_path, source, "--shuffle", "0")
    assert names_in(tmp_path) == ["out-report.jsonl", "src"]
    create(tmp_path, source, "--shuffle", "0", "--skip-bad")
    assert open_dataset(tmp_path, "out").num_images == 3


def test_flags_that_do_not_fit_end_it_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "HOPELESS", 3)
    (tmp_path / "src").mkdir()
    for number in range(5):
        Image.fromarray(pattern(8, 9)).save(tmp_path / "src" / f"{number}.png")
    with pytest.raises(UserError, match=r"3 of the first 3 of 5 files .*\(3 size that cannot"):
        create(tmp_path, tmp_path / "src")
    assert names_in(tmp_path) == ["out-report.jsonl", "src"]
    with pytest.raises(UserError, match=r"5 of 5 files .*, the first one, .*resizes them$"):
        create(tmp_path, tmp_path / "src", "--skip-bad")


def test_bad_files_are_all_listed_or_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save_images(tmp_path / "src", 4)
    (source / "01.png").write_bytes(b"")
    (source / "03.png").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"2 of 4 files .*--skip-bad"):
        create(tmp_path, source)
    errors = capsys.readouterr().err
    assert "01.png: the file is empty" in errors
    assert "03.png: not an image that Pillow can read" in errors
    report = (tmp_path / "out-report.jsonl").read_text()
    lines = [json.loads(line) for line in report.splitlines()]
    assert sorted((line["image"], line["kind"], line["used"]) for line in lines) == [
        ("01.png", "empty", False),
        ("03.png", "no image", False),
    ]
    assert names_in(tmp_path) == ["out-report.jsonl", "src"]

    create(tmp_path, source, "--skip-bad", "--shuffle", "0")
    printed = capsys.readouterr()
    assert "2 images of 8x8x3" in printed.out
    assert "2 left out: 1 empty, 1 no image; listed in " in printed.out
    assert "skipped 03.png" in printed.err
    images = list(open_dataset(tmp_path, "out").images())
    assert np.array_equal(images, [pattern(8, 8, 0), pattern(8, 8, 2)])

    for name in ("00.png", "02.png"):
        (source / name).write_bytes(b"garbage")
    with pytest.raises(UserError, match="4 of 4 files"):
        dataset_tool.main(["create_from_images", str(tmp_path / "none"), str(source), "--skip-bad"])


def test_unusable_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        create(tmp_path, tmp_path / "nowhere")
    (tmp_path / "src").mkdir()
    with pytest.raises(UserError, match="no images in .*src; files must end in .png"):
        create(tmp_path, tmp_path / "src")
    (tmp_path / "x.zip").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"x.zip is neither a folder nor a readable .zip"):
        create(tmp_path, tmp_path / "x.zip")


def test_damaged_member_of_a_zip_file(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encode(Image.fromarray(pattern(8, 8)), "PNG"))
    data = bytearray(path.read_bytes())
    data[80] ^= 255  # within the stored file
    path.write_bytes(data)
    with ImageFolder(path) as folder:
        assert folder.names == ["a.png"]
        with pytest.raises(UnreadableImageError, match="CRC"):
            folder.read("a.png")


def test_existing_target_is_kept(tmp_path: Path) -> None:
    source = save_images(tmp_path / "src", 1)
    (tmp_path / "out").mkdir()
    create(tmp_path, source, "--lods")  # an empty folder is fine
    before = (tmp_path / "out" / "out-r03.tfrecords").read_bytes()
    with pytest.raises(UserError, match="out exists already; remove it"):
        create(tmp_path, save_images(tmp_path / "src2", 2))
    assert (tmp_path / "out" / "out-r03.tfrecords").read_bytes() == before
    assert names_in(tmp_path) == ["out", "src", "src2"]


def write(path: Path, images: list[np.ndarray], **options: bool) -> None:
    with DatasetWriter(path, **options) as writer:
        for image in images:
            writer.add(image)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with DatasetWriter(tmp_path / "out", lods=True) as writer:
            writer.add(pattern(8, 8))
            assert len(names_in(tmp_path)) == 1  # the temporary folder
            raise error

    with pytest.raises(error):
        interrupted()
    assert names_in(tmp_path) == []


def test_failing_disk_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(UserError, match="cannot write .*out: File too large; .* raise it$"):
            write(tmp_path / "out", [pattern(64, 64)] * 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert names_in(tmp_path) == []


def test_no_space_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, record: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", fail)
    with pytest.raises(UserError, match="No space left on device; free some space"):
        write(tmp_path / "out", [pattern(8, 8)])


def test_writer_refuses_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for shape in ((8, 16, 3), (12, 12, 3), (8, 8, 4)):
        with pytest.raises(ValueError, match="cannot be stored"):
            write(path, [np.zeros(shape, np.uint8)])
    with pytest.raises(ValueError, match="expected uint8"):
        write(path, [pattern(8, 8), pattern(16, 16)])
    with pytest.raises(ValueError, match="no images"):
        write(path, [])
    with pytest.raises(ValueError, match=r"labels of shape \(2, 3\) for 0 images"):  # noqa: SIM117
        with DatasetWriter(path) as writer:
            writer.add_labels(np.zeros([2, 3]))
    assert names_in(tmp_path) == []


# ----- killed commands -----


def start_writing(source: Path, out: Path) -> tuple[subprocess.Popen[str], Path]:
    """Starts to make a data set of very many images; waits until part of it is on the disk."""
    command = [sys.executable, str(ROOT / "dataset_tool.py"), "create_from_images"]
    process = subprocess.Popen(
        [*command, str(out), str(source), "--shuffle", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        for path in out.parent.glob("out.incomplete-*/*.tfrecords"):
            if path.stat().st_size > 0:
                return process, path.parent
        time.sleep(0.05)
    pytest.fail(f"ended too early: {process.communicate()}")


def many_images(folder: Path) -> Path:
    """Seconds of work."""
    folder.mkdir()
    Image.fromarray(pattern(256, 256)).save(folder / "00000.png")
    for index in range(1, 5000):
        (folder / f"{index:05d}.png").hardlink_to(folder / "00000.png")
    return folder


@pytest.mark.slow
def test_killed_command_leaves_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = many_images(tmp_path / "src")
    process, left = start_writing(source, tmp_path / "out")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert names_in(tmp_path) == [left.name, "src"]
    for command in (["display", str(left)], ["extract", str(left), str(tmp_path / "e")],
                    ["compare", str(left), str(left)]):  # fmt: skip
        with pytest.raises(UserError, match=f"{left.name} is incomplete: .* run it again$"):
            dataset_tool.main(command)

    create(tmp_path, source, "--num_images", "3")
    assert f"removed {left}, which an interrupted command had left\n" in capsys.readouterr().err
    assert names_in(tmp_path) == ["out", "src"]
    assert names_in(tmp_path / "out") == ["dataset.json", "out-r08-00000.tfrecords"]
    assert open_dataset(tmp_path, "out").num_images == 3


@pytest.mark.slow
def test_data_set_that_another_command_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process, live = start_writing(many_images(tmp_path / "src"), tmp_path / "out")
    process.send_signal(signal.SIGSTOP)  # alive, however long this takes
    try:
        create(tmp_path, save_images(tmp_path / "src2", 2))
        assert "removed" not in capsys.readouterr().err
        assert names_in(tmp_path) == ["out", live.name, "src", "src2"]
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith(f"the same command goes on with {live}\ninterrupted\n")
    assert names_in(tmp_path) == ["out", live.name, "src", "src2"]
    assert open_dataset(tmp_path, "out").num_images == 2


# ----- display, extract, compare -----


def test_display(
    tmp_path: Path,
    reference: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append(self))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    source, out = reference / "tfrecords" / "emoji12", tmp_path / "sheet.png"
    dataset_tool.main(["display", str(source), "--out", str(out), "--count", "5"])
    assert "5 of 12 images" in capsys.readouterr().out
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * 32, 3 * 32, 3)
    fifth = np.asarray(Image.open(reference / "tfrecords" / "emoji12_png" / "04.png"))
    assert np.array_equal(sheet[32:, 32:64], fifth)
    assert np.all(sheet[32:, 64:] == 255)
    assert shown == []
    monkeypatch.setenv("DISPLAY", ":0")
    dataset_tool.main(["display", str(source), "--out", str(out), "--resolution", "8"])
    assert [image.size for image in shown] == [(32, 24)]


def test_extract_gives_back_the_sources(tmp_path: Path, reference: Path) -> None:
    dataset_tool.main(["extract", str(reference / "tfrecords" / "emoji12"), str(tmp_path / "e")])
    sources = sorted((reference / "tfrecords" / "emoji12_png").iterdir())
    assert names_in(tmp_path / "e") == [f"img{i:08d}.png" for i in range(12)]
    for index, path in enumerate(sources):
        image = np.asarray(Image.open(tmp_path / "e" / f"img{index:08d}.png"))
        assert np.array_equal(image, np.asarray(Image.open(path)))
    with pytest.raises(UserError, match="e exists already"):
        dataset_tool.main(
            ["extract", str(reference / "tfrecords" / "emoji12"), str(tmp_path / "e")]
        )


def test_extract_and_display_grey(tmp_path: Path) -> None:
    create(tmp_path, save_images(tmp_path / "src", 2), "--grey", "--shuffle", "0")
    dataset_tool.main(["extract", str(tmp_path / "out"), str(tmp_path / "e")])
    image = Image.open(tmp_path / "e" / "img00000001.png")
    expected = Image.fromarray(pattern(8, 8, 1)).convert("L")
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    dataset_tool.main(["display", str(tmp_path / "out"), "--out", str(tmp_path / "s.png")])
    assert Image.open(tmp_path / "s.png").mode == "L"


def test_compare(tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = str(reference / "tfrecords" / "emoji12")
    b = str(reference / "tfrecords" / "emoji12_shuffled")
    dataset_tool.main(["compare", a, a])
    assert capsys.readouterr().out.startswith("12 identical, 0 different, 0 only")
    with pytest.raises(SystemExit) as ended:
        dataset_tool.main(["compare", a, b])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert " different, " in out
    assert f"3 only in {a}, 0 only in {b}" in out
    with pytest.raises(UserError, match="32x32x3 images, .* 128x128x3"):
        dataset_tool.main(["compare", a, str(reference / "tfrecords" / "celeba5")])


def test_commands_need_no_tensorflow(tmp_path: Path) -> None:
    """Whose import takes longer than most of them; `stats` alone needs it."""
    source = save_images(tmp_path / "src", 2)
    commands = [
        ["create_from_images", str(tmp_path / "a"), str(source)],
        ["info", str(tmp_path / "a")],
        ["verify", str(tmp_path / "a")],
        ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--layout=published"],
        ["compare", str(tmp_path / "a"), str(tmp_path / "b")],
    ]
    script = (
        "import json, sys\nsys.modules['tensorflow'] = None\nimport dataset_tool\n"
        "for command in json.loads(sys.argv[1]):\n    dataset_tool.main(command)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 identical, 0 different" in done.stdout


# ----- What published scripts pass -----


def test_celeba_in_the_order_of_its_names(tmp_path: Path, reference: Path) -> None:
    source = reference / "tfrecords" / "celeba5_png"
    for name, flags in (("a", ["--shuffle", "0"]), ("b", ["--shuffle", "1"]), ("c", [])):
        dataset_tool.main(
            ["create_celeba", str(tmp_path / name), str(source), "--num_images", "0", "--lods"]
            + flags
        )
    plain, shuffled, default = (
        records(tmp_path / name / f"{name}-r07.tfrecords") for name in "abc"
    )
    assert len(plain) == 5  # 0: all
    assert shuffled == default != plain
    assert [plain[i] for i in work.published_order(5)] == shuffled


def labelled(folder: Path, labels: np.ndarray | None) -> Path:
    rng = np.random.default_rng(0)
    with DatasetWriter(folder) as writer:
        for _ in range(3):
            writer.add(rng.integers(0, 256, [4, 4, 3], np.uint8))
        if labels is not None:
            writer.add_labels(labels)
    return folder


def test_compare_looks_at_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ones = np.ones([3, 2], np.float32)
    other = ones.copy()
    other[1, 0] = 0
    a, b, none = (
        labelled(tmp_path / name, labels)
        for name, labels in (("a", ones), ("b", other), ("none", None))
    )
    cases = [(a, a, 0), (a, b, 1), (a, none, 1), (none, none, 0)]
    for one, two, status in cases:
        command = ["compare", str(one), str(two)]
        if status:
            with pytest.raises(SystemExit, match="1"):
                dataset_tool.main(command)
        else:
            dataset_tool.main(command)
        dataset_tool.main([*command, "--ignore_labels", "1"])
    out = capsys.readouterr().out
    assert "2 identical labels, 1 different" in out
    assert f"labels only in {a}" in out
    (a / "a-rxx.labels").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot read the labels .*a-rxx.labels"):
        dataset_tool.main(["compare", str(a), str(b)])


# ----- Faults -----


def test_two_files_of_one_resolution_are_refused(tmp_path: Path) -> None:
    """The last by name used to be read: perhaps the validation set."""
    folder = labelled(tmp_path / "a", None)
    shutil.copy(folder / "a-r02.tfrecords", folder / "b-r02.tfrecords")
    with pytest.raises(UserError, match="two files of 4x4 images, a-r02.tfrecords and b-r02.tfr"):
        open_dataset(tmp_path, "a")


def test_hidden_companions_are_no_part_of_a_data_set(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "a", None)
    for name in ("._a-r02.tfrecords", ".DS_Store", "Thumbs.db", "._a-r05.tfrecords"):
        (folder / name).write_bytes(b"x")
    assert open_dataset(tmp_path, "a").num_images == 3


def test_subfolders_of_images_are_mentioned(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "images"
    shutil.copytree(reference / "tfrecords" / "emoji12_png", source)
    (source / "more").mkdir()
    (source / "._x.png").write_bytes(b"x")
    dataset_tool.main(["create_from_images", str(tmp_path / "a"), str(source)])
    captured = capsys.readouterr()
    assert "its 1 subfolders are not looked into (more)" in captured.err
    assert "12 images" in captured.out


def test_bad_records_are_left_out_by_all_commands(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "a", None)
    path = folder / "a-r02.tfrecords"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    commands = [
        ["extract", str(folder), str(tmp_path / "out")],
        ["display", str(folder), "--out", str(tmp_path / "sheet.png")],
        ["compare", str(folder), str(folder)],
    ]
    for command in commands:
        with pytest.raises(UserError, match="record 1 .*damaged"):
            dataset_tool.main(command)
        dataset_tool.main([*command, "--skip-bad-records"])
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("resolution", ["1099511627776", "16384", "6"])
def test_sizes_are_checked_before_images_are_made(
    tmp_path: Path, reference: Path, resolution: str
) -> None:
    source = str(reference / "tfrecords" / "emoji12_png")
    with pytest.raises((UserError, SystemExit)):
        dataset_tool.main(
            ["create_from_images", str(tmp_path / "a"), source, "--resolution", resolution]
        )
    assert not (tmp_path / "a").exists()
