"""Reading whatever users bring: kinds of pixels, damaged and hostile files, lists, batches."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import MAX_PIXELS
from fingerprints.image_files import read_batches, read_image, read_list, source_of

RGB = np.random.RandomState(5).randint(0, 256, (8, 8, 3)).astype(np.uint8)
GREY = RGB[:, :, 0]


def save(path: Path, array: np.ndarray, mode: str | None = None, **kwargs) -> Path:
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path, **kwargs)
    return path


def test_every_kind_of_pixel_becomes_rgb(tmp_path):
    alpha = np.full((8, 8, 1), 51, np.uint8)  # a fifth of the picture, four fifths of white

    def on_white(pixels: np.ndarray) -> np.ndarray:
        return np.rint(pixels * 0.2 + 255 * 0.8).astype(np.uint8)

    three = np.repeat(GREY[:, :, None], 3, axis=2)
    few = RGB // 128 * 255  # eight colours
    cases = {
        "rgb": (save(tmp_path / "rgb.png", RGB), RGB),
        "bmp": (save(tmp_path / "rgb.bmp", RGB), RGB),
        "grey": (save(tmp_path / "grey.png", GREY), three),
        "rgba": (save(tmp_path / "rgba.png", np.concatenate([RGB, alpha], axis=2)), on_white(RGB)),
        "palette": (
            save(tmp_path / "p.png", np.asarray(few), "P"),
            few,
        ),
        "grey alpha": (
            save(tmp_path / "la.png", np.concatenate([GREY[:, :, None], alpha], axis=2)),
            on_white(three),
        ),
        "1 bit": (save(tmp_path / "1.png", GREY // 128 * 255, "1"), three // 128 * 255),
        "16 bit": (save(tmp_path / "16.png", GREY.astype(np.uint16) * 257), three),
        "cmyk": (save(tmp_path / "cmyk.tif", RGB, "CMYK"), RGB),
        "webp": (save(tmp_path / "w.webp", RGB, lossless=True), RGB),
    }
    for name, (path, expected) in cases.items():
        read = read_image(path, 8, 3, resize=False)
        rounding = 1 if "alpha" in name or name == "rgba" else 0
        difference = np.abs(read.astype(int) - expected)
        assert difference.max() <= rounding, name
        assert read.dtype == np.uint8


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    path = save(tmp_path / "turned.png", RGB, exif=exif)
    np.testing.assert_array_equal(read_image(path, 8, 3, resize=False), np.rot90(RGB, -1))


def test_colour_becomes_grey_for_a_grey_network(tmp_path):
    path = save(tmp_path / "rgb.png", RGB)
    image = read_image(path, 8, 1, resize=False)
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    assert image.shape == (8, 8, 1)
    assert np.abs(image[:, :, 0] - luma).max() <= 1


def test_float_pixels_are_refused(tmp_path):
    path = save(tmp_path / "float.tif", np.zeros((8, 8), np.float32))
    with pytest.raises(UserError, match=r"float\.tif: cannot be read as an image: 32-bit pixels"):
        read_image(path, 8, 3, resize=False)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG file that claims a size, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


HOSTILE = {
    "empty.png": b"",
    "text.png": b"no image at all",
    "cut.png": png(64, 64, bytes(64 * 193))[:60],
    "little.png": png(64, 64, b"few pixels"),
    "bomb.png": png(50_000, 50_000),
    "huge.png": png(2**31 - 1, 2**31 - 1),
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) run\n",
    "cut.jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "cut.webp": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
    "cut.gif": b"GIF89a\xff\xff\xff\xff",
    "cut.tif": b"II*\x00\xff\xff\xff\xff",
    "cut.bmp": b"BM" + b"\xff" * 30,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UserError) as error:
        read_image(path, 8, 3, resize=True)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_bomb_is_refused_by_its_claim(tmp_path):
    """Before a pixel is decoded: the file holds none."""
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(UserError, match=f"claims {side}x{side} pixels, more than 100 million"):
        read_image(tmp_path / "bomb.png", 8, 3, resize=True)


def test_the_content_tells_the_format(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "png")
    (tmp_path / "really-a-png.jpg").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(
        read_image(tmp_path / "really-a-png.jpg", 8, 3, resize=False), RGB
    )


def test_batches_go_on_after_bad_files(tmp_path):
    good = [save(tmp_path / f"{i}.png", np.roll(RGB, i, axis=0)) for i in range(3)]
    (tmp_path / "bad.png").write_bytes(b"")
    paths = [good[0], tmp_path / "bad.png", good[1], good[2]]
    batches = list(read_batches(paths, 8, 3, resize=False, minibatch=3))
    outcomes = [outcome for found, _ in batches for outcome in found]
    assert outcomes[0] == good[0]
    assert isinstance(outcomes[1], UserError)
    assert outcomes[2:] == good[1:]
    assert [images.shape for _, images in batches] == [(2, 8, 8, 3), (1, 8, 8, 3)]
    np.testing.assert_array_equal(batches[1][1][0], np.roll(RGB, 2, axis=0))
    (_, none) = next(read_batches([tmp_path / "bad.png"], 8, 3, resize=False, minibatch=4))
    assert none.shape == (0, 8, 8, 3)


def test_batches_of_a_faster_way(tmp_path):
    """It gets what is in the files, and what it leaves, or cannot be read, is read one by one."""
    given = []

    def decode_many(contents):
        given.append([len(content) for content in contents])
        return None if b"" in contents else np.full([len(contents), 8, 8, 3], 7, np.uint8)

    good = [save(tmp_path / f"{i}.png", np.roll(RGB, i, axis=0)) for i in range(3)]
    (tmp_path / "bad.png").write_bytes(b"")
    paths = [*good, tmp_path / "bad.png", tmp_path / "missing.png"]
    first, second, third = read_batches(
        paths, 8, 3, resize=False, minibatch=2, threads=1, decode_many=decode_many
    )
    assert given == [[path.stat().st_size for path in good[:2]], [good[2].stat().st_size, 0]]
    assert first.outcomes == good[:2]
    assert (first.images == 7).all()
    assert second.outcomes[0] == good[2]
    np.testing.assert_array_equal(second.images, np.roll(RGB, 2, axis=0)[None])
    assert [str(error) for error in (*second.outcomes[1:], *third.outcomes)] == [
        f"{tmp_path / 'bad.png'}: cannot be read as an image: the file is empty",
        f"{tmp_path / 'missing.png'}: cannot be read as an image: [Errno 2] No such file or "
        f"directory: '{tmp_path / 'missing.png'}'",
    ]


def test_lists(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("a b.png\n\nc.png\n")
    assert read_list(str(tmp_path / "list.txt")) == ["a b.png", "c.png"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"d.png\n")))
    assert read_list("-") == ["d.png"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"the list .*empty\.txt names no file"):
        read_list(str(tmp_path / "empty.txt"))


def test_crops_share_their_source():
    assert source_of(Path("a/photo-crop07.png")) == source_of(Path("a/photo-crop12.png"))
    assert source_of(Path("a/photo-crop07.png")) != source_of(Path("b/photo-crop07.png"))
    assert source_of(Path("a/photo-crops.png")) == "a/photo-crops"
