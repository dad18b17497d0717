"""Many PNG files at once: Pillow's pixels, or none."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dnnlib.images import read_picture
from dnnlib.tflib.png import make_png_decoder

RGB = np.random.default_rng(0).integers(0, 256, [6, 8, 8, 3], np.uint8)


def png(image: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def with_chunk(content: bytes, kind: bytes, data: bytes) -> bytes:
    """With one more chunk behind the header."""
    return content[:33] + chunk(kind, data) + content[33:]


@pytest.mark.parametrize("num_channels", [1, 3])
def test_pixels_of_pillow(num_channels: int) -> None:
    """RGB and grey files, whatever filters their rows have and whatever is said beside them."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "made up")
    flat = np.zeros([8, 8, 3], np.uint8)
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None], 8, 1).repeat(3, 2)
    images = [*RGB, flat, ramp]
    contents = [png(image[..., 0]) for image in images]
    if num_channels == 3:
        contents += [png(image, pnginfo=text, dpi=(72, 72)) for image in images]
        contents.append(with_chunk(png(RGB[0]), b"gAMA", (45455).to_bytes(4, "big")))
    found = make_png_decoder(8, num_channels)(contents)
    assert found is not None
    assert found.dtype == np.uint8
    mode = "L" if num_channels == 1 else "RGB"
    expected = [np.asarray(read_picture(content).convert(mode)) for content in contents]
    np.testing.assert_array_equal(found, np.reshape(expected, [-1, 8, 8, num_channels]))


ORIENTATION = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + (
    b"\x00\x00\x00\x00"
)
OTHERS = {
    "of another size": png(RGB[0][:4]),
    "with a transparent colour": with_chunk(png(RGB[0]), b"tRNS", bytes(6)),
    "turned": with_chunk(png(RGB[0]), b"eXIf", ORIENTATION),
    "with alpha": png(np.zeros([8, 8, 4], np.uint8)),
    "16 bits deep": png(np.zeros([8, 8], np.uint16)),
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "empty": b"",
    "cut off": png(RGB[0])[:-20],
    "damaged": png(RGB[0]).replace(b"IDATx", b"IDATy"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left_to_pillow(name: str) -> None:
    """One such file among good ones."""
    decode = make_png_decoder(8, 3)
    assert decode([png(RGB[0]), OTHERS[name]]) is None
    assert decode([png(RGB[0])]) is not None
