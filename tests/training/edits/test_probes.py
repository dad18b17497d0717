"""Probes against what Pillow and NumPy do to 8-bit pictures."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from training.edits.probes import PROBES

Edit = Callable[[Image.Image], Image.Image]


def saved(quality: int) -> Edit:
    def edit(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=quality)
        return Image.open(file).convert("RGB")

    return edit


def halved(picture: Image.Image) -> Image.Image:
    small = picture.resize((16, 16), Image.Resampling.BILINEAR)
    return small.resize((32, 32), Image.Resampling.BILINEAR)


def cut(picture: Image.Image) -> Image.Image:
    return picture.resize((32, 32), Image.Resampling.BILINEAR, box=(1.6, 1.6, 30.4, 30.4))


BY_PILLOW: dict[str, Edit] = {
    "jpeg75": saved(75),
    "jpeg50": saved(50),
    "flip": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "crop90": cut,
    "half": halved,
    "bright08": lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
    "bright12": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "contrast08": lambda picture: ImageEnhance.Contrast(picture).enhance(0.8),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}
OTHERS = {"blur1", "noise10"}  # Pillow's blur is no Gaussian, and noise is noise


def edited(name: str, pictures: np.ndarray, seed: int = 0, strength: float = 1.0) -> np.ndarray:
    """In 0..255, not rounded."""
    images = tf.constant(pictures / 127.5 - 1, tf.float32)
    probe = PROBES[name]
    draws = probe.draw(images.shape, tf.constant([seed, 1], tf.int64), tf.constant(strength))
    return 127.5 * (probe.apply(images, draws).numpy() + 1)


@pytest.mark.parametrize("name", BY_PILLOW)
def test_like_pillow(name: str, pictures: np.ndarray) -> None:
    expected = np.stack([np.asarray(BY_PILLOW[name](Image.fromarray(p))) for p in pictures])
    # Pillow rounds, in contrast even the mean; coefficients of JPEG may be rounded the other way.
    assert np.abs(edited(name, pictures) - expected).mean() < 0.7
    assert np.abs(expected - pictures.astype(np.float32)).mean() > 2


def test_every_probe_is_compared() -> None:
    assert set(BY_PILLOW) | OTHERS == set(PROBES)


def test_blur_spreads_a_point() -> None:
    point = np.zeros([1, 32, 32, 3], np.uint8)
    point[0, 16, 16] = 255
    result = edited("blur1", point)[0, :, :, 0] / 255
    assert result[16, 16] == pytest.approx(1 / (2 * np.pi), abs=2e-3)
    y = np.arange(32)[:, None] - 16.0
    assert np.sqrt(np.sum(y**2 * result)) == pytest.approx(1, abs=1e-2)


def test_noise_has_its_deviation() -> None:
    grey = np.full([16, 32, 32, 3], 128, np.uint8)
    noise = edited("noise10", grey) - grey
    assert noise.std() == pytest.approx(25.5, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("name", PROBES)
def test_always_the_same(name: str, pictures: np.ndarray) -> None:
    """Whatever the seed and the strength: figures of a run can be compared with each other."""
    expected = edited(name, pictures[:4])
    assert np.array_equal(edited(name, pictures[:4], seed=5, strength=0.2), expected)
