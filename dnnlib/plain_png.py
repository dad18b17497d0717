"""Which PNG files hold their pixels as they are, so that any decoder gives the same ones.

Of others the rules of `dnnlib.images` decide: transparency, palettes, 16 bits, orientation.
"""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types of IHDR (PNG specification, section 11.2.2)
# Chunks that change no pixel of a picture whose values are taken as they are.
_HARMLESS = frozenset(
    (b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"tIME", b"tEXt", b"caBX")
)


def is_plain_png(content: bytes, size: tuple[int, int], colour_types: frozenset[int]) -> bool:
    """Whether it is a PNG of this size, 8 bits deep, with nothing in it but pixels.

    Args:
        content: of a file.
        size: width and height.
        colour_types: those that are meant.

    Returns:
        False as well for one that is cut off. Checksums are not looked at.
    """
    if content[:8] != SIGNATURE or content[12:16] != b"IHDR":
        return False
    header = content[16:26]
    found = (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"))
    if found != size or header[8:9] != b"\x08" or header[9] not in colour_types:
        return False
    position = 8
    while position + 12 <= len(content):
        kind = content[position + 4 : position + 8]
        if kind not in _HARMLESS:
            return False
        position += 12 + int.from_bytes(content[position : position + 4], "big")
        if kind == b"IEND":
            return position <= len(content)
    return False
