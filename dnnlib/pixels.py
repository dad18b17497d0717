"""From pixels to what networks see."""

from typing import Any


def centred(pixels: Any) -> Any:
    """Float32 values 0 to 255, an array or a tensor, to [-1,1]: x / 127.5 - 1."""
    return pixels / 127.5 - 1.0
