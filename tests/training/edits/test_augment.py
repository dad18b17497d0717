"""What the discriminator's images go through, against NumPy; and R1 through it."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from training.edits.augment import AUGMENTATIONS
from training.edits.edit import Draws

SEED = tf.constant([3, 4], tf.int64)
SIZE = 16


@pytest.fixture
def images(pictures: np.ndarray) -> np.ndarray:
    """float32 [8,16,16,3] in [-1,1]."""
    return np.float32(pictures[:8, ::2, ::2] / 127.5 - 1)


def drawn(name: str, num: int, strength: float) -> dict[str, np.ndarray]:
    draws = AUGMENTATIONS[name].draw((num, SIZE, SIZE, 3), SEED, tf.constant(strength))
    return {key: value.numpy() for key, value in draws.items()}


def augmented(name: str, images: np.ndarray, **draws: object) -> np.ndarray:
    """With the draws of strength 0 but for those given."""
    values = drawn(name, len(images), 0.0)
    assert set(draws) <= set(values)
    given: Draws = {
        key: tf.constant(np.broadcast_to(draws.get(key, value), value.shape), value.dtype)
        for key, value in values.items()
    }
    return AUGMENTATIONS[name].apply(tf.constant(images), given).numpy()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_0_leaves_images_alone(name: str, images: np.ndarray) -> None:
    """Those outside of [-1,1], too: nothing is clipped."""
    assert np.allclose(augmented(name, 1.3 * images), 1.3 * images, atol=1e-6)
    draws = AUGMENTATIONS[name].draw(images.shape, SEED, tf.constant(1.0))
    result = AUGMENTATIONS[name].apply(tf.constant(images), draws)
    assert np.all(np.abs(result - images).max((1, 2, 3)) > 0.1)


def test_diff_colour(images: np.ndarray) -> None:
    expected = images + np.float32(0.3)
    grey = expected.mean(-1, keepdims=True)
    expected = grey + 1.8 * (expected - grey)
    mean = expected.mean((1, 2, 3), keepdims=True)
    expected = mean + 0.6 * (expected - mean)
    result = augmented("diff", images, brightness=0.3, saturation=1.8, contrast=0.6)
    assert np.allclose(result, expected, atol=1e-5)


def test_diff_translation_and_cutout(images: np.ndarray) -> None:
    expected = np.zeros_like(images)
    expected[:, :-2, 1:] = images[:, 2:, :-1]
    assert np.allclose(augmented("diff", images, dy=2.0, dx=-1.0), expected, atol=1e-6)
    expected = images.copy()
    expected[:, 3:11, 12:] = 0
    assert np.allclose(augmented("diff", images, box=[3.0, 11.0, 12.0, 20.0]), expected, atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_diff_ranges(strength: float) -> None:
    """Those of the paper, times the strength."""
    draws = drawn("diff", 8192, strength)
    for key, middle, reach in (
        ("brightness", 0, 0.5),
        ("saturation", 1, 1),
        ("contrast", 1, 0.5),
    ):
        assert draws[key].min() == pytest.approx(middle - reach * strength, abs=0.01)
        assert draws[key].max() == pytest.approx(middle + reach * strength, abs=0.01)
    moves, counts = np.unique(draws["dy"], return_counts=True)
    assert moves.tolist() == list(range(-round(2 * strength), round(2 * strength) + 1))
    assert strength < 1 or np.all(np.abs(counts / 8192 - 0.2) < 0.02)
    top, bottom, left, right = draws["box"].T
    assert np.all(bottom - top == SIZE * strength / 2)
    assert np.all(right - left == SIZE * strength / 2)
    middles = np.unique((top + bottom) / 2)
    assert middles.tolist() == list(range(SIZE + 1))


def test_ada_turns(images: np.ndarray) -> None:
    for turns, (transposed, upside_down, mirrored) in enumerate(
        [(False, False, False), (True, True, False), (False, True, True), (True, False, True)]
    ):
        result = augmented(
            "ada", images, transposed=transposed, upside_down=upside_down, mirrored=mirrored
        )
        assert np.allclose(result, np.rot90(images, turns, (1, 2)), atol=1e-6)
    assert np.allclose(augmented("ada", images, mirrored=True), images[:, :, ::-1], atol=1e-6)


def test_ada_moves_turned_pictures(images: np.ndarray) -> None:
    """Beyond the edges a picture is mirrored."""
    turned = np.rot90(images, 1, (1, 2))
    padded = np.pad(turned, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="symmetric")
    result = augmented(
        "ada", images, transposed=True, upside_down=True, offset_y=2.0, offset_x=-3.0
    )
    assert np.allclose(result, padded[:, 6 : 6 + SIZE, 1 : 1 + SIZE], atol=1e-6)


def test_ada_scales_each_side(images: np.ndarray) -> None:
    """By a half, where the triangle's weights are known; the other side stays as it is."""
    result = augmented("ada", images, scale_y=2.0)
    padded = np.pad(images, ((0, 0), (9, 9), (0, 0), (0, 0)), mode="symmetric")
    rows = [padded[:, first : first + 2 * SIZE : 2] for first in range(4)]
    expected = (rows[0] + 3 * rows[1] + 3 * rows[2] + rows[3]) / 8
    assert np.allclose(result, expected, atol=1e-6)


def test_ada_colour(images: np.ndarray) -> None:
    assert np.allclose(augmented("ada", images, brightness=0.2), images + 0.2, atol=1e-5)
    assert np.allclose(augmented("ada", images, contrast=1.4), 1.4 * images, atol=1e-5)
    grey = images.mean(-1, keepdims=True)
    assert np.allclose(augmented("ada", images, inverted=True), images - 2 * grey, atol=1e-5)
    expected = grey + 0.3 * (images - grey)
    assert np.allclose(augmented("ada", images, saturation=0.3), expected, atol=1e-5)
    # A third of the circle makes red of green, and so on.
    third = augmented("ada", images, hue=1 / 3)
    assert any(np.allclose(third, np.roll(images, k, -1), atol=1e-5) for k in (1, 2))


def test_ada_colours_in_their_order(images: np.ndarray) -> None:
    settings = {"brightness": 0.2, "contrast": 0.7, "inverted": True, "saturation": 1.5}
    expected = images
    for name, value in settings.items():
        expected = augmented("ada", expected, **{name: value})
    assert np.allclose(augmented("ada", images, **settings), expected, atol=1e-5)


@pytest.mark.parametrize("p", [1.0, 0.3])
def test_ada_transforms_happen_with_probability_p(p: float) -> None:
    num = 8192
    draws = drawn("ada", num, p)
    near = pytest.approx
    log2 = np.log2
    assert draws["transposed"].mean() == near(p / 2, abs=0.02)
    assert draws["inverted"].mean() == near(p / 2, abs=0.02)
    for key, same in (("brightness", 0), ("contrast", 1), ("hue", 0), ("saturation", 1)):
        assert np.mean(draws[key] != same) == near(p, abs=0.02), key
    # Variances of what happens with probability p.
    assert draws["brightness"].var() == near(p * 0.2**2, rel=0.1)
    assert log2(draws["contrast"]).var() == near(p * 0.5**2, rel=0.1)
    assert log2(draws["saturation"]).var() == near(p, rel=0.1)
    assert draws["hue"].var() == near(p / 12, rel=0.1)
    isotropic = log2(draws["scale_y"] * draws["scale_x"]) / 2
    stretched = log2(draws["scale_y"] / draws["scale_x"]) / 2
    assert isotropic.var() == near(p * 0.2**2, rel=0.1)
    assert stretched.var() == near(p * 0.2**2, rel=0.1)
    # Whole pixels up to 1/8 of the side, and a normal deviation of 1/8 of it.
    whole = np.var([-2, -1, -1, 0, 0, 1, 1, 2])
    scales = np.mean(draws["scale_y"] ** 2)
    assert draws["offset_y"].var() == near(p * (whole + scales * 2**2), rel=0.15)


def test_ada_makes_all_eight_positions() -> None:
    draws = drawn("ada", 8192, 1.0)
    number = 4 * draws["transposed"] + 2 * draws["upside_down"] + draws["mirrored"]
    assert np.bincount(number, minlength=8) / 8192 == pytest.approx(np.full(8, 1 / 8), abs=0.02)


def test_extreme_draws_leave_no_holes(images: np.ndarray) -> None:
    """At the limits of scale and place there is still a picture everywhere."""
    ones = np.ones_like(images)
    for scale in (0.5, 2.0):
        for offset in (-SIZE / 2, SIZE / 2):
            result = augmented("ada", ones, scale_y=scale, offset_y=offset, offset_x=offset)
            assert np.allclose(result, 1, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_one_channel(name: str, images: np.ndarray) -> None:
    grey = tf.constant(images[..., :1])
    draws = AUGMENTATIONS[name].draw(grey.shape, SEED, tf.constant(1.0))
    result = AUGMENTATIONS[name].apply(grey, draws)
    in_colour = AUGMENTATIONS[name].apply(tf.repeat(grey, 3, -1), draws)
    assert result.shape == grey.shape
    assert np.allclose(result, in_colour[..., :1], atol=1e-5)


def r1(
    apply: Callable[[tf.Tensor, Draws], tf.Tensor], images: tf.Tensor, w: tf.Tensor, draws: Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """R1 of a small discriminator tanh(x w)^2 behind an augmentation, and its gradient for w."""
    with tf.GradientTape() as tape:
        tape.watch(w)
        with tf.GradientTape() as inner:
            inner.watch(images)
            x = tf.reshape(apply(images, draws), [images.shape[0], -1])
            scores = tf.reduce_sum(tf.tanh(tf.matmul(x, w)) ** 2)
        penalty = tf.reduce_sum(inner.gradient(scores, images) ** 2)
    return penalty, tape.gradient(penalty, w)


@pytest.mark.slow
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_r1_is_differentiated_through_it(name: str, images: np.ndarray) -> None:
    """Against differences, in eager mode and under XLA."""
    apply = AUGMENTATIONS[name].apply
    some = tf.constant(images[:4, ::2, ::2])
    draws = AUGMENTATIONS[name].draw(some.shape, SEED, tf.constant(1.0))
    w = 0.1 * tf.random.stateless_normal([8 * 8 * 3, 4], SEED)
    direction = tf.random.stateless_normal(w.shape, SEED + 1)
    _, gradient = r1(apply, some, w, draws)
    ends = [r1(apply, some, w + step * direction, draws)[0] for step in (-1e-3, 1e-3)]
    slope = (ends[1] - ends[0]) / 2e-3
    assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(float(slope), rel=1e-2)
    compiled = tf.function(lambda *args: r1(apply, *args), jit_compile=True)
    assert np.allclose(compiled(some, w, draws)[1], gradient, rtol=1e-3, atol=1e-3)
