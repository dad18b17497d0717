"""What a tick looks at: how far fingerprints and latents change the pictures."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib.execution import PLAIN
from metrics.image_difference import IDENTICAL_PSNR
from training.grids import Appearance, Grids
from training.networks.configs import GeneratorConfig
from training.networks.generator import Generator


def make_generator(**kwargs: int) -> Generator:
    config = GeneratorConfig(
        resolution=8, fmap_base=32, fmap_max=8, latent_size=5, fingerprint_size=6,
        dlatent_size=7, mapping_layers=1, mapping_lrmul=1.0, **kwargs,
    )  # fmt: skip
    return Generator(config, seed=1)


@pytest.mark.parametrize("minibatch", [3, 8, 64])
def test_look(minibatch: int) -> None:
    """The figures follow from the pictures, however many are made at a time."""
    generator = make_generator()
    seen = Grids(generator, 0, minibatch, PLAIN).look()
    assert seen.images.dtype == np.uint8
    assert seen.images.shape == (32, 8, 8, 3)
    assert seen.bits.shape == (32, 6)
    assert 0 < seen.psnr_latents < seen.psnr_fingerprints + 20
    again = Grids(generator, 0, 32, PLAIN).look()
    assert np.array_equal(seen.bits, again.bits)
    np.testing.assert_allclose(seen.images.astype(int), again.images, atol=1)
    assert seen.psnr_fingerprints == pytest.approx(again.psnr_fingerprints, abs=0.05)


def test_rows_show_the_classes_one_after_the_other() -> None:
    """Of the five classes that the data set has seven are possible; a grid has 32 rows."""
    labels = np.eye(7, dtype=np.float32)[np.array([6, 0, 3, 2, 5] * 4)]
    generator = make_generator(label_size=7, label_fmaps=4)
    grids = Grids(generator, 0, 8, PLAIN, labels=labels)
    for kind, (latents, codes) in grids._inputs.items():
        bits, shown = codes[:, :6], codes[:, 6:].reshape(32, 32, 7)
        assert (shown == shown[:, :1]).all()
        classes = shown[:, 0].argmax(axis=1)
        assert classes.tolist() == sorted(classes)
        counts = np.bincount(classes, minlength=7)
        assert counts[[1, 4]].tolist() == [0, 0]
        assert set(counts[[0, 2, 3, 5, 6]]) == {6, 7}
        assert (len(np.unique(bits, axis=0)) == 1) == (kind == "fakes-watermarks-same")
        assert (len(np.unique(latents, axis=0)) == 1) == (kind == "fakes-latents-same")


def test_a_tick_looks_at_all_classes_and_changes_bits_alone() -> None:
    labels = np.eye(4, dtype=np.float32)
    # Without styles that reach a layer the class alone is left to tell pictures apart.
    still = make_generator(modulated_min_log2=5, label_size=4, label_fmaps=4)
    weight = still.named_variables()["G_synthesis/4x4/Latent/weight"]
    weight.assign(tf.concat([tf.zeros_like(weight[:5]), weight[5:]], 0))
    seen = Grids(still, 0, 8, PLAIN, labels=labels).look()
    assert seen.bits.shape == (32, 6)
    assert len(np.unique(seen.images, axis=0)) == 4
    assert seen.psnr_fingerprints == IDENTICAL_PSNR
    assert seen.psnr_latents == IDENTICAL_PSNR


def test_rows_of_attributes_have_those_of_some_image() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], np.float32)
    grids = Grids(make_generator(label_size=3), 0, 8, PLAIN, labels=labels)
    shown = grids._inputs["fakes-arbitrary"][1][:, 6:].reshape(32, 32, 3)
    assert (shown == shown[:, :1]).all()
    assert {tuple(row) for row in shown[:, 0]} == {tuple(row) for row in labels}
    first = list(grids._first_by_row(labels))
    assert len(first) == 32 * 32
    np.testing.assert_array_equal(labels[first], shown.reshape(-1, 3))


def test_a_fingerprint_without_effect_is_invisible() -> None:
    seen = Grids(make_generator(modulated_min_log2=5), 0, 8, PLAIN).look()
    assert seen.psnr_fingerprints == IDENTICAL_PSNR
    assert not seen.ignores_latent


def test_a_latent_without_effect_is_noticed() -> None:
    generator = make_generator()
    weight = generator.named_variables()["G_synthesis/4x4/Latent/weight"]
    weight.assign(tf.zeros_like(weight))
    generator.named_variables()["G_synthesis/4x4/Latent/bias"].assign(
        tf.ones_like(generator.named_variables()["G_synthesis/4x4/Latent/bias"])
    )
    seen = Grids(generator, 0, 8, PLAIN).look()
    assert seen.psnr_latents == IDENTICAL_PSNR  # no noise yet: its strengths start at 0
    assert seen.psnr_fingerprints < IDENTICAL_PSNR
    assert seen.ignores_latent


@pytest.mark.parametrize(("latents", "ignores"), [(20.0, False), (23.9, False), (24.1, True)])
def test_twice_as_much_is_6_db(latents: float, ignores: bool) -> None:
    empty = np.zeros(0)
    assert Appearance(30.0, latents, empty, empty).ignores_latent is ignores
