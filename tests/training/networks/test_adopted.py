"""Generators that were adopted: the original's pictures at first, its weights always."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from tests.support.paths import REFERENCE
from training.models.adopting import adopt, load_original
from training.models.snapshot import load_networks, save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder

FILES = ("plain_skip_16_tf", "plain_skip_16_torch", "plain_resnet_32_labels_tf")
BITS = 6


def inputs(generator, num=2):
    rng = np.random.default_rng(3)
    latents = tf.constant(rng.standard_normal([num, generator.latent_size]), tf.float32)
    bits = tf.constant(rng.integers(0, 2, [num, BITS]), tf.float32)
    labels = None
    if generator.label_size:
        labels = tf.one_hot(rng.integers(generator.label_size, size=num), generator.label_size)
    return latents, bits, labels


def trained(adopted, seed=5, size=1.0):
    """With values as training could have given them to what it changes."""
    rng = np.random.default_rng(seed)
    for variable in adopted.named_trainables().values():
        variable.assign(rng.normal(0, size, variable.shape))
    return adopted


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_first_pictures_are_the_originals(name, biases):
    original = load_original(REFERENCE / f"{name}.pkl")
    adopted = adopt(original, BITS, biases=biases)
    latents, bits, labels = inputs(adopted)
    expected = original.generator(latents, labels, truncation_psi=0.7)
    images = adopted(latents, bits, labels, truncation_psi=0.7)
    np.testing.assert_array_equal(images, expected)
    trained(adopted)
    assert np.abs(adopted(latents, bits, labels) - original.generator(latents, labels)).max() > 0.01
    teacher = adopted.original(latents, labels)
    np.testing.assert_array_equal(teacher, original.generator(latents, labels))


def test_training_changes_nothing_but_what_fingerprints_add():
    adopted = adopt(load_original(REFERENCE / "plain_skip_16_tf.pkl"), BITS, biases=True)
    names = adopted.named_trainables()
    assert all(name.startswith("G_fingerprint/") for name in names)
    layers = [layer for _, layer in adopted.synthesis.style_layers()]
    assert len(names) == 2 * len(layers)
    latents, bits, _ = inputs(adopted)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(adopted(latents, bits)))
    gradients = tape.gradient(loss, list(names.values()))
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_pictures_follow_the_bits_linearly_in_style():
    adopted = trained(adopt(load_original(REFERENCE / "plain_skip_16_tf.pkl"), BITS))
    _, bits, _ = inputs(adopted)
    for scope, shift in adopted.shifts(bits).items():
        weight = adopted.named_variables()[f"G_fingerprint/{scope[12:]}/style_weight"].numpy()
        expected = (2 * bits.numpy() - 1) @ weight / np.sqrt(BITS)
        np.testing.assert_allclose(shift.style, expected, rtol=0, atol=1e-5)
        assert shift.bias is None


def test_snapshot_keeps_the_file_that_it_came_in(tmp_path):
    source = REFERENCE / "plain_skip_16_torch.pkl"
    adopted = trained(adopt(load_original(source), BITS))
    size = {"resolution": adopted.resolution, "fmap_base": 32, "fmap_max": 4}
    config = Decoder.Config(**size, latent_size=adopted.latent_size, fingerprint_size=BITS)
    save_snapshot(tmp_path / "adopted.pkl", Gs=adopted, E=Decoder(config, seed=1))
    again = load_networks(tmp_path / "adopted.pkl").fingerprinted
    assert type(again) is AdoptedGenerator
    assert again.config == adopted.config
    assert again.original_file.tobytes() == source.read_bytes()
    latents, bits, _ = inputs(adopted)
    np.testing.assert_array_equal(again(latents, bits), adopted(latents, bits))


def test_damage_of_the_file_within_is_found(tmp_path):
    adopted = adopt(load_original(REFERENCE / "plain_skip_16_torch.pkl"), BITS)
    path = Path(tmp_path / "adopted.pkl")
    save_snapshot(path, Gs=adopted)
    data = bytearray(path.read_bytes())
    data[data.index(b"_reconstruct_persistent_obj")] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="its original_file is not what was saved"):
        load_networks(path)


def test_ours_has_no_file_of_its_own_layout(tmp_path):
    networks = load_networks(REFERENCE / "plain_skip_16_tf.pkl")
    save_snapshot(tmp_path / "ours.pkl", Gs=networks.Gs, D=networks.D)
    original = load_original(tmp_path / "ours.pkl")
    assert original.file is None
    assert original.discriminator is not None


def test_fingerprinted_models_are_not_adopted(tmp_path):
    with pytest.raises(UserError, match=r"is not plain StyleGAN2.*name a generator without them"):
        load_original(REFERENCE / "snapshot_skip_resnet_32.pkl")
