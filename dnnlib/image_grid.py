"""PNG files: single images and the grids that show many of them at a glance."""

import io
import math
import os

import numpy as np
from PIL import Image

from dnnlib.atomic import open_atomic


def grid_size(resolution: int, num_images: int | None = None) -> tuple[int, int]:
    """Columns and rows of a grid: what fills 1920x1080 pixels, at least 3x2, at most 32x32.

    Args:
        resolution: height and width of one image in pixels.
        num_images: if given, the grid shrinks to a near-square one that holds that many; at most
            as many as without it.
    """
    width = min(max(1920 // resolution, 3), 32)
    height = min(max(1080 // resolution, 2), 32)
    if num_images is None or num_images >= width * height:
        return width, height
    columns = min(width, max(math.ceil(math.sqrt(num_images)), math.ceil(num_images / height), 1))
    return columns, max(math.ceil(num_images / columns), 1)


def make_grid(images: np.ndarray, grid_size: tuple[int, int]) -> np.ndarray:
    """Lays images out in reading order; cells without an image are black.

    Args:
        images: [N,H,W,C], float in [-1,1], shown as rint(127.5 * (x + 1)) clipped, or uint8. At
            most columns * rows.
        grid_size: columns and rows.

    Returns:
        uint8 [rows * H, columns * W, C].

    Raises:
        ValueError: more images than cells, or not four dimensions.
    """
    columns, rows = grid_size
    images = np.asarray(images)
    if images.ndim != 4 or len(images) > columns * rows:
        raise ValueError(f"images {images.shape} do not fit a grid of {columns}x{rows}")
    if images.dtype != np.uint8:
        images = np.clip(np.rint(127.5 * (images + 1)), 0, 255).astype(np.uint8)
    n, h, w, c = images.shape
    cells = np.zeros([columns * rows, h, w, c], dtype=np.uint8)
    cells[:n] = images
    cells = cells.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4)  # [rows,H,columns,W,C]
    return cells.reshape(rows * h, columns * w, c)


def png_bytes(image: np.ndarray) -> bytes:
    """The content of a PNG file of one uint8 image, see `save_png`."""
    file = io.BytesIO()
    _picture(image).save(file, format="PNG")
    return file.getvalue()


def save_png(image: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes one uint8 image [H,W,C], C = 1 (grey) or 3 (RGB), as a PNG file, atomically.

    Raises:
        ValueError: another shape or type.
        UserError: the file cannot be written.
    """
    picture = _picture(image)
    with open_atomic(path, "wb") as file:
        picture.save(file, format="PNG")


def _picture(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"expected uint8 [H,W,1] or [H,W,3], got {image.dtype} {image.shape}")
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def save_grid(images: np.ndarray, path: str | os.PathLike[str], grid_size: tuple[int, int]) -> None:
    """Writes `make_grid(images, grid_size)` as a PNG file, atomically.

    Raises:
        ValueError: as `make_grid`.
        UserError: the file cannot be written.
    """
    save_png(make_grid(images, grid_size), path)
