"""StyleGAN2 without fingerprints: outputs of the original code, truncation, shifts, clamping."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.paths import REFERENCE
from tests.support.stylegan2 import FILES, load_reference
from training.models.snapshot import load_networks
from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.networks.layers import Shift
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

TOLERANCE = 1e-4


def nchw(images):
    return np.transpose(images, [0, 3, 1, 2])


@pytest.fixture(scope="module", params=FILES)
def found(request):
    """Networks of a file, its reference outputs, and the labels as the networks take them."""
    name, _ = request.param
    reference = load_reference(name)
    labels = tf.constant(reference["labels"]) if reference["labels"].size else None
    return load_networks(REFERENCE / "_".join(request.param)), reference, labels


def assert_near(actual, expected):
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_styles_of_the_original_code(found):
    networks, reference, labels = found
    z = tf.constant(reference["z"])
    assert_near(networks.Gs.map_latents(z, labels), reference["ws"])
    truncated = networks.Gs.map_latents(z, labels, truncation_psi=0.6)
    assert_near(truncated, reference["ws_psi06"])
    assert np.abs(reference["ws"] - reference["ws_psi06"]).max() > 100 * TOLERANCE


def test_images_of_the_original_code(found):
    networks, reference, labels = found
    generator, z = networks.Gs, tf.constant(reference["z"])
    assert_near(nchw(generator(z, labels)), reference["image_const_noise"])
    nothing = [tf.zeros([1, h, w, 1]) for h, w in generator.noise_shapes]
    assert_near(nchw(generator(z, labels, nothing)), reference["image_no_noise"])
    truncated = generator(z, labels, truncation_psi=0.6)
    assert_near(nchw(truncated), reference["image_psi06_const_noise"])
    assert np.abs(reference["image_no_noise"] - reference["image_const_noise"]).max() > 0.1


def test_scores_of_the_original_code(found):
    networks, reference, labels = found
    images = tf.constant(np.transpose(reference["d_in"], [0, 2, 3, 1]))
    assert_near(networks.D(images, labels), reference["d_out"])


def test_run_takes_arrays_as_published(found):
    networks, reference, labels = found
    labels = None if labels is None else labels.numpy()
    images = networks.Gs.run(
        reference["z"], labels, minibatch_size=3, randomize_noise=False, truncation_psi=0.6
    )
    assert_near(images, reference["image_psi06_const_noise"])


def tiny(**options):
    config = {"resolution": 8, "fmap_base": 32, "fmap_max": 4, "latent_size": 4, "dlatent_size": 4}
    config |= {"mapping_fmaps": 4, "mapping_layers": 2}
    generator = StyleGAN2Generator(StyleGAN2GeneratorConfig(**config | options), seed=3)
    rng = np.random.default_rng(0)
    for variable in generator.named_variables().values():
        variable.assign_add(rng.normal(0, 0.2, variable.shape))
    return generator


LATENTS = tf.constant(np.random.default_rng(1).standard_normal([3, 4]), tf.float32)


def test_truncation_draws_the_first_slots_to_the_mean():
    generator = tiny()
    styles = generator.map_latents(LATENTS).numpy()
    mean = generator.dlatent_avg.numpy()
    cut = generator.map_latents(LATENTS, truncation_psi=0.25, truncation_cutoff=2).numpy()
    np.testing.assert_allclose(cut[:, :2], mean + 0.25 * (styles[:, :2] - mean), atol=1e-6)
    np.testing.assert_allclose(cut[:, 2:], styles[:, 2:], atol=1e-6)  # mean + (s - mean) rounds
    assert styles.shape == (3, 4, 4)


def test_labels_decide_and_are_asked_for():
    generator = tiny(label_size=3, label_fmaps=2)
    images = [generator(LATENTS, tf.repeat(tf.eye(3)[c : c + 1], 3, axis=0)) for c in range(3)]
    assert not np.allclose(images[0], images[1], atol=1e-3)
    with pytest.raises(ValueError, match="labels: expected those of a network with classes"):
        generator(LATENTS)


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_a_shift_is_another_bias(architecture):
    """What an adopted generator adds for a fingerprint can be written into its biases."""
    generator = tiny(architecture=architecture)
    rng = np.random.default_rng(5)
    variables = generator.named_variables()
    styles = generator.map_latents(LATENTS)
    before = generator.synthesize(styles)
    shifts = {}
    for _, layer in generator.synthesis.style_layers():
        style = rng.normal(0, 0.3, [1, *layer.affine.bias.shape]).astype(np.float32)
        bias = rng.normal(0, 0.3, [1, *layer.bias.shape]).astype(np.float32)
        shifts[layer.scope] = Shift(tf.constant(style), tf.constant(bias))
    assert {f"{scope}/mod_bias" for scope in shifts} == {
        name for name in variables if name.endswith("mod_bias")
    }
    shifted = generator.synthesize(styles, None, shifts)
    assert np.abs(shifted - before).max() > 0.01
    for scope, shift in shifts.items():
        variables[f"{scope}/mod_bias"].assign_add(shift.style[0])
        variables[f"{scope}/bias"].assign_add(shift.bias[0])
    np.testing.assert_allclose(generator.synthesize(styles), shifted, atol=1e-5)


def test_clamping_bounds_what_leaves_a_convolution():
    loose, tight = tiny(), tiny(conv_clamp=0.1, architecture="orig")
    assert np.abs(loose(LATENTS)).max() > 0.11
    assert np.abs(tight(LATENTS)).max() <= 0.1
    kwargs = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}
    images = tf.random.stateless_normal([4, 8, 8, 3], [1, 2])
    scores = [
        StyleGAN2Discriminator(StyleGAN2DiscriminatorConfig(**kwargs, conv_clamp=c), seed=1)(images)
        for c in (0.0, 0.05, 1000.0)
    ]
    np.testing.assert_array_equal(scores[0], scores[2])
    assert not np.allclose(scores[0], scores[1], atol=1e-3)
