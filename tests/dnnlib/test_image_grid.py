"""Grids: their size, the place of every image, pixel values, files."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.image_grid import grid_size, make_grid, save_grid, save_png


@pytest.mark.parametrize(
    ("resolution", "size"),
    [(16, (32, 32)), (32, (32, 32)), (64, (30, 16)), (128, (15, 8)), (256, (7, 4)), (1024, (3, 2))],
)
def test_grid_fills_a_screen(resolution, size):
    assert grid_size(resolution) == size


@pytest.mark.parametrize("resolution", [32, 256, 1024])
def test_small_grids_hold_their_images(resolution):
    width, height = grid_size(resolution)
    for num_images in range(1, width * height + 3):
        columns, rows = grid_size(resolution, num_images)
        assert columns <= width
        assert rows <= height
        assert columns * rows >= min(num_images, width * height)
        assert (rows - 1) * columns < num_images  # no empty row
    assert grid_size(32, 64) == (8, 8)


def test_images_stand_in_reading_order():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 3, 3), np.uint8)
    images[4, 1, 2, 0] = 77
    grid = make_grid(images + 10, (3, 2))
    assert grid.shape == (4, 9, 3)
    assert grid[::2, ::3, 1].tolist() == [[10, 11, 12], [13, 14, 0]]
    assert grid[3, 5, 0] == 87  # last row and column of the fifth image


def test_floats_are_rounded_and_clipped():
    values = np.array([-3, -1, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5, 0, 1, 1.5], np.float32)
    grid = make_grid(values[:, None, None, None], (7, 1))
    # 127.5 rounds to even.
    assert grid[0, :, 0].tolist() == [0, 0, 1, 0, 128, 255, 255]


def test_too_many_images_raise():
    with pytest.raises(ValueError, match="do not fit a grid of 2x1"):
        make_grid(np.zeros((3, 4, 4, 3), np.uint8), (2, 1))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_files_hold_the_pixels(tmp_path, channels, mode):
    images = np.random.RandomState(0).randint(0, 256, (4, 8, 8, channels)).astype(np.uint8)
    save_grid(images, tmp_path / "grid.png", (2, 2))
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.mode == mode
        pixels = np.asarray(picture).reshape(16, 16, channels)
    np.testing.assert_array_equal(pixels[8:, :8], images[2])
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        save_png(np.zeros((4, 4, 3), np.uint8), tmp_path / "none" / "grid.png")


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8)])
def test_save_png_takes_uint8_grey_or_rgb(tmp_path, image):
    with pytest.raises(ValueError, match="expected uint8"):
        save_png(image, tmp_path / "x.png")
