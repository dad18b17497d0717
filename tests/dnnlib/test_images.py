"""The one image reader: a file has the same pixels in data sets, decoding and foreign images."""

import io
import struct
import subprocess
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from dnnlib import images
from dnnlib.errors import UserError
from dnnlib.images import SUFFIXES, UnreadableImageError, is_image_name
from fingerprints.image_files import find_images, read_image
from tools.foreign_images import Collection
from training.data.image_folder import ImageFolder

SIZE = 16
RNG = np.random.default_rng(3)
RGB = Image.fromarray(RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
GREY = RGB.convert("L")
ALPHA = Image.fromarray(np.linspace(0, 255, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint8))
LEVELS = np.asarray(GREY).astype(np.uint16) * 257 + 100


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def with_alpha(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(ALPHA)
    return picture


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(RGB, "JPEG", exif=exif, quality=95)


def sixteen_bit_colour() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    values = np.asarray(RGB).astype(">u2") * 256 + 77
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


# Name of the file -> its content.
FILES: dict[str, bytes] = {
    "rgb.png": saved(RGB, "PNG"),
    "rgba.png": saved(with_alpha(RGB), "PNG"),
    "grey-alpha.png": saved(with_alpha(GREY), "PNG"),
    "palette.png": saved(RGB.quantize(16), "PNG"),
    "palette-transparent.png": saved(RGB.quantize(16), "PNG", transparency=3),
    "rgb-transparent.png": saved(RGB, "PNG", transparency=RGB.getpixel((3, 3))),
    "grey.png": saved(GREY, "PNG"),
    "bilevel.png": saved(GREY.convert("1"), "PNG"),
    "grey16.png": saved(Image.fromarray(LEVELS), "PNG"),
    "grey16.tif": saved(Image.fromarray(LEVELS), "TIFF"),
    "grey16.pgm": saved(Image.fromarray(LEVELS), "PPM"),
    "colour16.png": sixteen_bit_colour(),
    "cmyk.jpg": saved(RGB.convert("CMYK"), "JPEG", quality=95),
    "cmyk.tif": saved(RGB.convert("CMYK"), "TIFF"),
    "turned.jpg": turned(),
    "progressive.jpeg": saved(RGB, "JPEG", progressive=True, subsampling=2),
    "animated.gif": saved(RGB, "GIF", save_all=True, append_images=[GREY.convert("RGB")]),
    "lossy.webp": saved(with_alpha(RGB), "WEBP", quality=80),
    "rgba.tga": saved(with_alpha(RGB), "TGA"),
    "rgb.bmp": saved(RGB, "BMP"),
    "rgb.ppm": saved(RGB, "PPM"),
    "rgb.jp2": saved(RGB, "JPEG2000"),
}
if features.check("avif"):
    FILES["rgb.avif"] = saved(RGB, "AVIF", quality=90)

# Three ways to the pixels of a file: uint8 [R,R,3].
Reader = Callable[[Path], np.ndarray]


def for_a_data_set(path: Path) -> np.ndarray:
    with ImageFolder(path.parent) as folder:
        return np.asarray(folder.read(path.name))


def for_a_zipped_data_set(path: Path) -> np.ndarray:
    archive = path.parent / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, path.name)
    with ImageFolder(archive) as folder:
        return np.asarray(folder.read(path.name))


def for_the_decoder(path: Path) -> np.ndarray:
    (found,) = find_images([str(path.parent)])
    return read_image(found, SIZE, 3, resize=False)


def as_foreign(path: Path) -> np.ndarray:
    out = path.parent / "foreign"
    out.mkdir()
    collection = Collection(out, size=SIZE, crop_side=SIZE, leave_out="nothing")
    collection.add("source", [(path.name, path.read_bytes())])
    if collection.counts["source"].left_out:
        raise UnreadableImageError(str(collection.counts["source"].left_out))
    (written,) = (out / "source").iterdir()
    return np.asarray(Image.open(written))


READERS: list[Reader] = [for_a_data_set, for_a_zipped_data_set, for_the_decoder, as_foreign]


@pytest.mark.parametrize("name", FILES)
def test_the_same_pixels_everywhere(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    first = for_a_data_set(tmp_path / name)
    assert (first.shape, first.dtype) == ((SIZE, SIZE, 3), np.uint8)
    for reader in READERS[1:]:
        np.testing.assert_array_equal(reader(tmp_path / name), first, err_msg=reader.__name__)


def test_what_the_pixels_are(tmp_path: Path) -> None:
    """Of those whose rule somebody could doubt."""

    def pixels(name: str) -> np.ndarray:
        return np.asarray(images.read_picture(FILES[name])).astype(int)

    rgb, alpha = np.asarray(RGB).astype(int), np.asarray(ALPHA)[:, :, None] / 255
    assert np.abs(pixels("rgba.png") - (rgb * alpha + 255 * (1 - alpha))).max() <= 1
    rounded = np.rint(LEVELS / 257)[:, :, None]
    for name in ("grey16.png", "grey16.tif", "grey16.pgm"):
        assert np.array_equal(pixels(name), np.repeat(rounded, 3, axis=2)), name
    assert np.array_equal(pixels("colour16.png"), rgb)
    transparent = np.all(rgb == RGB.getpixel((3, 3)), axis=2)
    assert np.all(pixels("rgb-transparent.png")[transparent] == 255)
    upright = np.rot90(np.asarray(images.read_picture(saved(RGB, "JPEG", quality=95))), -1)
    assert np.array_equal(pixels("turned.jpg"), upright)


def test_a_transparent_level_is_white_at_16_bits_as_at_8() -> None:
    """A tRNS chunk of a grey PNG names one level."""
    level = int(LEVELS[3, 5])
    found = {}
    for values, key in ((LEVELS, level), (np.asarray(GREY), level // 257)):
        content = saved(Image.fromarray(values), "PNG", transparency=key)
        found[values.dtype] = np.asarray(images.read_picture(content))[:, :, 0]
        assert (found[values.dtype][values == key] == 255).all()
    plain = np.asarray(images.read_picture(saved(Image.fromarray(LEVELS), "PNG")))[:, :, 0]
    assert np.array_equal(found[LEVELS.dtype], np.where(level == LEVELS, 255, plain))


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for source in (b"", tmp_path / "a.png"):
        with pytest.raises(UnreadableImageError, match="^the file is empty$"):
            images.read_picture(source)


def test_threads_leave_the_filters_of_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that read at once: the second begins within the first and ends behind it."""
    before = list(warnings.filters)
    gates = [threading.Event() for _ in range(2)]
    order: list[str] = []

    def wait(size: tuple[int, int], max_pixels: int) -> None:
        order.append(threading.current_thread().name)
        if len(order) == 1:
            gates[0].wait(30)
        else:
            gates[1].wait(30)

    monkeypatch.setattr(images, "_check_size", wait)
    threads = [
        threading.Thread(target=images.read_picture, args=(FILES["rgb.png"],)) for _ in range(2)
    ]
    for number, thread in enumerate(threads):
        thread.start()
        while len(order) <= number and thread.is_alive():
            time.sleep(0.01)
    assert len(order) == 2
    for gate, thread in zip(gates, threads, strict=True):
        gate.set()
        thread.join()
    assert warnings.filters == before


def test_grey_for_a_network_with_one_channel(tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(FILES["grey.png"])
    found = read_image(tmp_path / "grey.png", SIZE, 1, resize=False)
    assert np.array_equal(found[:, :, 0], np.asarray(GREY))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
REFUSED = {
    "x.png": EPS,  # Pillow's reader of it would start Ghostscript
    "cut.png": FILES["rgb.png"][:200],
    "cut.jpg": FILES["progressive.jpeg"][:300],
    "empty.png": b"",
    "float.tif": saved(Image.fromarray(np.zeros((SIZE, SIZE), np.float32)), "TIFF"),
}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reader: Reader
) -> None:
    def start(*arguments: object, **options: object) -> None:
        raise AssertionError("a reader of images starts a program")

    monkeypatch.setattr(subprocess, "Popen", start)
    (tmp_path / name).write_bytes(REFUSED[name])
    with pytest.raises((UnreadableImageError, UserError)) as error:
        reader(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_one_limit_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Reader
) -> None:
    (tmp_path / "a.png").write_bytes(FILES["rgb.png"])
    monkeypatch.setattr(images, "MAX_PIXELS", SIZE * SIZE)
    reader(tmp_path / "a.png")
    (tmp_path / "images.zip").unlink(missing_ok=True)
    monkeypatch.setattr(images, "MAX_PIXELS", SIZE * SIZE - 1)
    if reader is as_foreign:
        (tmp_path / "foreign").rename(tmp_path / "before")
    with pytest.raises((UnreadableImageError, UserError)):
        reader(tmp_path / "a.png")


def test_names_of_images() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"} < {*SUFFIXES}
    assert {".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".avif"} < {*SUFFIXES}
    assert is_image_name("A.PNG")
    assert not is_image_name("a.eps")
    assert not is_image_name("png")
