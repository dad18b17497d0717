"""Edits in a row: names, what is drawn, and that all ways to run them give the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from training.edits.chain import EDITS, GROUPS, apply_edits, chain, named_chain, parse_edits
from training.edits.edit import Chain, Draws

SEED = tf.constant([1, 2], tf.int64)


@pytest.fixture
def images(pictures: np.ndarray) -> tf.Tensor:
    """float32 [64,32,32,3] around [-1,1], some of it outside, as generators make them."""
    return tf.constant(1.2 * (pictures / 127.5 - 1), tf.float32)


def drawn(edits: Chain, shape: tuple[int, ...], strength: float, seed: tf.Tensor = SEED) -> Draws:
    return edits.draw(shape, seed, tf.constant(strength))


def edited(edits: Chain, images: tf.Tensor, strength: float = 1.0, seed: Any = SEED) -> np.ndarray:
    return edits.apply(images, drawn(edits, images.shape, strength, seed)).numpy()


def touched(before: tf.Tensor, after: np.ndarray) -> np.ndarray:
    """Which pictures have changed: bool [N]."""
    return np.abs(after - np.clip(before, -1, 1)).max((1, 2, 3)) > 1e-5


def test_names() -> None:
    assert parse_edits("none") == ()
    assert parse_edits("full") == tuple(EDITS)
    assert parse_edits("jpeg, flip") == ("flip", "jpeg"), "in the order of the table"
    assert parse_edits("jpeg,jpeg") == ("jpeg",)
    assert parse_edits("light") == ("half", "blur", "noise", "jpeg")
    assert parse_edits("colour,flip,none") == ("flip", *GROUPS["colour"])
    assert set(GROUPS["geometry"] + GROUPS["colour"]) < set(EDITS)
    assert not set(GROUPS) & set(EDITS)
    assert [edit.name for edit in EDITS.values()] == list(EDITS)


@pytest.mark.parametrize("text", ["fog", "jpeg,fog", "fog,full"])
@pytest.mark.parametrize("function", [parse_edits, named_chain])
def test_an_unknown_name_is_one_line(text: str, function: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match="^edit fog: unknown; choose from none, light, .*, jpeg$"):
        function(text)


def test_an_empty_name_is_named() -> None:
    with pytest.raises(UserError, match="^edit '': unknown; choose from none"):
        parse_edits("")


@pytest.mark.parametrize("name", ["none", "light", "full", *EDITS])
def test_strength_0_only_clips(name: str, images: tf.Tensor) -> None:
    expected = np.clip(images, -1, 1)
    assert np.allclose(edited(named_chain(name), images, 0.0), expected, atol=1e-6)
    result = edited(named_chain(name), images)
    assert result.min() >= -1
    assert result.max() <= 1
    assert np.allclose(result, expected, atol=1e-6) == (name == "none")


def test_an_eighth_is_untouched(pictures: np.ndarray) -> None:
    """Also where every edit would happen to every picture."""
    small = tf.constant(np.tile(pictures[:, ::4, ::4] / 127.5 - 1, (64, 1, 1, 1)), tf.float32)
    after = edited(chain([EDITS[name] for name in ("hue", "tint")]), small)
    assert touched(small, after).mean() == pytest.approx(7 / 8, abs=0.02)


def test_a_few_edits_in_a_row() -> None:
    """Three of many on average, less by the eighth that has none."""
    shape = (4096, 4, 4, 3)
    draws = drawn(named_chain("full"), shape, 1.0)
    happens = [
        draws["crop/scale"] != 1,
        draws["half/share"] != 1,
        draws["blur/sigma"] != 0,
        draws["contrast/factor"] != 1,
        draws["hue/turn"] != 0,
        draws["jpeg/on"],
    ]
    shares = [np.mean(values) for values in happens]
    assert shares == pytest.approx([7 / 8 * 3 / len(EDITS)] * len(happens), abs=0.03)
    # Independent of each other, but for the eighth.
    both = np.mean(happens[0] & happens[5])
    assert both == pytest.approx(7 / 8 * (3 / len(EDITS)) ** 2, abs=0.02)


def test_light_has_half_the_ranges() -> None:
    shape = (4096, 4, 4, 3)
    light, full = drawn(named_chain("light"), shape, 1.0), drawn(named_chain("full"), shape, 1.0)
    assert np.max(light["blur/sigma"]) == pytest.approx(0.75, abs=0.01)
    assert np.max(full["blur/sigma"]) == pytest.approx(1.5, abs=0.01)
    # An edit that is named itself has all of them.
    named = drawn(named_chain("light,blur"), shape, 1.0)
    assert np.max(named["blur/sigma"]) == pytest.approx(1.5, abs=0.01)
    assert np.min(named["half/share"]) == pytest.approx(0.75, abs=0.01)


def test_draws_are_those_of_the_seed(images: tf.Tensor) -> None:
    edits, shape = named_chain("full"), (8, 16, 16, 3)
    one, again = drawn(edits, shape, 1.0), drawn(edits, shape, 1.0)
    other = drawn(edits, shape, 1.0, SEED + 1)
    in_graph = tf.function(lambda seed, strength: edits.draw(shape, seed, strength))
    traced = in_graph(SEED, tf.constant(1.0))
    assert one.keys() == again.keys() == traced.keys()
    for name, values in one.items():
        assert np.array_equal(values, again[name]), name
        assert np.allclose(values, traced[name], atol=1e-6), name
    assert any(not np.array_equal(values, other[name]) for name, values in one.items())


def test_pictures_draw_independently(images: tf.Tensor) -> None:
    """Sixteen times the same picture becomes more than a few."""
    same = tf.repeat(images[:1], 16, 0)
    after = edited(named_chain("full"), same)
    assert len({picture.tobytes() for picture in after}) > 10


def gradients(edits: Chain, images: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """Edited images, and the gradient of a weighted sum of them."""
    weights = tf.reshape(tf.sin(tf.range(tf.size(images), dtype=tf.float32)), images.shape)
    with tf.GradientTape() as tape:
        tape.watch(images)
        result = edits.apply(images, draws)
        total = tf.reduce_sum(weights * result)
    return result, tape.gradient(total, images)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "jit"), [(3, True), (3, False), (1, False)])
def test_eager_graph_and_xla_agree(channels: int, jit: bool, images: tf.Tensor) -> None:
    """For all edits, forwards and backwards."""
    edits, some = named_chain("full"), images[:8, 8:24, 8:24, :channels]
    draws = drawn(edits, some.shape, 1.0)
    expected = gradients(edits, some, draws)
    assert touched(some, expected[0].numpy()).sum() >= 5
    function = tf.function(lambda *args: gradients(edits, *args), jit_compile=jit)
    for ours, theirs in zip(function(some, draws), expected, strict=True):
        # A coefficient of JPEG may be rounded the other way, which shows in its block alone.
        assert np.quantile(np.abs(ours - theirs), 0.97) < 1e-4
        assert np.abs(ours - theirs).mean() < 2e-3


@pytest.mark.parametrize("name", ["geometry", "colour", "erase", "noise", "full"])
def test_gradients_are_those_of_differences(name: str, images: tf.Tensor) -> None:
    """All but JPEG is linear where nothing is clipped, so that any step will do."""
    names = [edit for edit in parse_edits(name) if edit != "jpeg"]
    edits = chain([EDITS[edit] for edit in names])
    some = 0.3 * images[:8, ::2, ::2]
    draws = drawn(edits, some.shape, 0.5)
    step = 0.1 * tf.random.stateless_normal(some.shape, SEED)
    before, gradient = gradients(edits, some, draws)
    after, _ = gradients(edits, some + step, draws)
    weights = tf.reshape(tf.sin(tf.range(tf.size(some), dtype=tf.float32)), some.shape)
    inside = tf.reduce_all((tf.abs(before) < 1) & (tf.abs(after) < 1), [1, 2, 3])
    changes = tf.reduce_sum(weights * (after - before), [1, 2, 3])
    expected = tf.reduce_sum(gradient * step, [1, 2, 3])
    assert tf.reduce_sum(tf.cast(inside, tf.int32)) >= 2
    assert np.allclose(changes[inside], expected[inside], atol=1e-3)


def test_gradients_are_finite_and_end_where_pixels_are_clipped(images: tf.Tensor) -> None:
    edits = named_chain("full")
    _, gradient = gradients(edits, images, drawn(edits, images.shape, 1.0))
    assert np.isfinite(gradient).all()
    assert np.all(gradient.numpy()[np.abs(images) > 1] == 0)
    moved = np.abs(gradient).max((1, 2, 3)) > 0
    assert moved.mean() > 0.9


def test_neighbours_put_together_are_one_after_the_other(images: tf.Tensor) -> None:
    edits = [EDITS[name] for name in parse_edits("full")]
    small = 0.3 * images
    draws = [edit.draw(small.shape, SEED, tf.fill([64], 0.3)) for edit in edits]
    expected = small
    for edit, values in zip(edits[:-1], draws[:-1], strict=True):
        expected = apply_edits([edit], expected, [values])
    result = apply_edits(edits[:-1], small, draws[:-1])
    inside = np.abs(expected).max((1, 2, 3)) < 0.999
    assert inside.sum() > 20
    assert np.allclose(result[inside], expected[inside], atol=1e-5)
