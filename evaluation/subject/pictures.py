"""Pictures as text, for files of results and for reports; real ones."""

import base64

import numpy as np

from dnnlib.image_grid import png_bytes
from metrics.context import RealImages


def encoded(image: np.ndarray) -> str:
    """uint8 [H,W,C] as a PNG file in base64."""
    return base64.b64encode(png_bytes(image)).decode()


def real_pictures(dataset: RealImages, most: int) -> np.ndarray:
    """The first pictures of a data set, uint8 [N,H,W,C]; N is `most` or all that there are."""
    return np.stack([*dataset.images(limit=min(most, dataset.num_images))])
