"""Pictures as text, for files of results and for reports."""

import base64

import numpy as np

from dnnlib.image_grid import png_bytes


def encoded(image: np.ndarray) -> str:
    """uint8 [H,W,C] as a PNG file in base64."""
    return base64.b64encode(png_bytes(image)).decode()
