"""JPEG against Pillow, on real pictures."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from training.edits import jpeg

FULL, HALVED = 0, 2  # Pillow's numbers of 4:4:4 and 4:2:0


def by_pillow(picture: np.ndarray, quality: int, subsampling: int) -> tuple[np.ndarray, dict]:
    """A picture saved and read back, and the tables of the file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        return np.asarray(image), image.quantization


def ours(pictures: np.ndarray, quality: float, subsampling: int) -> np.ndarray:
    """The same, rounded to whole numbers; [N,H,W,C]."""
    num = len(pictures)
    halved = tf.fill([num], subsampling == HALVED)
    images = tf.constant(pictures, tf.float32)
    return np.rint(jpeg.compress(images, tf.fill([num], float(quality)), halved))


def differences(pictures: np.ndarray, quality: int, subsampling: int) -> np.ndarray:
    """Grey levels from Pillow's, mean of each picture."""
    saved = np.stack([by_pillow(p, quality, subsampling)[0] for p in pictures])
    result = ours(pictures.reshape(*pictures.shape[:3], -1), quality, subsampling)
    return np.abs(result.reshape(saved.shape) - saved).reshape(len(saved), -1).mean(1)


@pytest.mark.parametrize("subsampling", [FULL, HALVED])
@pytest.mark.parametrize("quality", [30, 50, 75, 85, 95])
def test_pictures_are_those_of_pillow(quality: int, subsampling: int, pictures: np.ndarray) -> None:
    found = differences(pictures, quality, subsampling)
    assert found.mean() < 0.8  # 0.53 or 0.62 at most, by the processor
    assert np.quantile(found, 0.9) < 1.2
    assert found.max() < 4  # a coefficient that was rounded the other way shows in all of a block


def test_a_wrong_quality_or_sampling_is_another_picture(pictures: np.ndarray) -> None:
    """So that the comparison above can fail."""
    saved = np.stack([by_pillow(picture, 75, HALVED)[0] for picture in pictures])
    for quality, subsampling in ((70, HALVED), (80, HALVED), (75, FULL)):
        assert np.abs(ours(pictures, quality, subsampling) - saved).mean() > 1.2


def test_tables_are_those_of_pillow(pictures: np.ndarray) -> None:
    for quality in range(1, 101):
        tables = by_pillow(pictures[0], quality, FULL)[1]
        luma, *chroma = jpeg.quantisation_tables(tf.constant([float(quality)])).numpy()[0]
        assert luma.tolist() == tables[0], quality
        assert [steps.tolist() for steps in chroma] == [tables[1]] * 2, quality


@pytest.mark.parametrize("subsampling", [FULL, HALVED])
def test_sizes_between_blocks(subsampling: int, pictures: np.ndarray) -> None:
    """Edges are repeated up to whole blocks."""
    assert differences(pictures[:, :19, :27], 75, subsampling).mean() < 0.8


def test_grey_has_luma_only(pictures: np.ndarray) -> None:
    assert differences(pictures[..., 1], 60, FULL).mean() < 0.6
    assert differences(pictures[:, :27, :20, 1], 60, FULL).mean() < 0.6


def test_every_picture_has_its_own_settings(pictures: np.ndarray) -> None:
    images = tf.constant(pictures[:3], tf.float32)
    quality, halved = [90.0, 40.0, 40.0], [True, True, False]
    together = np.rint(jpeg.compress(images, tf.constant(quality), tf.constant(halved)))
    for index, picture in enumerate(pictures[:3]):
        sampling = HALVED if halved[index] else FULL
        alone = ours(picture[None], quality[index], sampling)[0]
        assert np.abs(together[index] - alone).mean() < 0.01
    assert np.abs(together[1] - ours(pictures[1:2], 90, HALVED)[0]).mean() > 1


def test_gradients_pass_the_rounding() -> None:
    """Where nothing is clipped, they are those of the transform without rounding: its transpose."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(96, 160, [2, 16, 16, 3]), tf.float32)
    weights = tf.constant(rng.standard_normal([2, 16, 16, 3]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        result = jpeg.compress(images, tf.constant([70.0, 70.0]), tf.constant([False, True]))
        total = tf.reduce_sum(result * weights)
    full, halved = tape.gradient(total, images).numpy()
    # Without halved colour the transform is orthonormal and undone again.
    assert np.allclose(full, weights[0], atol=1e-4)
    # With it, grey passes as it is.
    assert np.allclose(halved.sum(-1), weights[1].numpy().sum(-1), atol=1e-4)
    assert not np.allclose(halved, weights[1], atol=0.1)


def test_draws_follow_the_strength(pictures: np.ndarray) -> None:
    seed = tf.constant([1, 2], tf.int64)
    shape = (4096, 32, 32, 3)
    full = jpeg.JPEG.draw(shape, seed, tf.ones([4096]))
    assert full["on"].numpy().all()
    assert set(full["quality"].numpy()) == set(range(30, 97))
    assert full["subsampled"].numpy().mean() == pytest.approx(0.75, abs=0.03)
    half = jpeg.JPEG.draw(shape, seed, tf.fill([4096], 0.5))
    assert half["on"].numpy().mean() == pytest.approx(0.5, abs=0.04)
    assert set(half["quality"].numpy()) == set(range(63, 97))
    none = jpeg.JPEG.draw(shape, seed, tf.zeros([4096]))
    assert not none["on"].numpy().any()
