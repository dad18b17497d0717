"""Spread instances: other numbers everywhere, the same pictures, and nothing that two share."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from tests.support.adopted import make_adopted
from tests.support.paths import REFERENCE
from training.models.adopted_baking import AdoptedBaker, make_baker
from training.models.baking import write_instance
from training.models.functions import to_uint8
from training.models.rewriting import read_foreign
from training.models.snapshot import build_network, load_networks, network_data
from training.models.spread import names_of, spread, units_of
from training.networks.configs import StyleGAN2GeneratorConfig
from training.networks.stylegan2 import StyleGAN2Generator

BITS = np.array([1, 0, 0, 1, 1, 0], np.uint8)
FILES = ["plain_skip_16_tf", "plain_resnet_32_labels_torch"]
SEED = b"model"


def make_generator(**changes) -> StyleGAN2Generator:
    """With a value of its own in every place."""
    sizes = {"resolution": 16, "fmap_base": 64, "fmap_max": 8, "latent_size": 5}
    widths = {"dlatent_size": 6, "mapping_fmaps": 7, "mapping_layers": 3, "label_fmaps": 4}
    config = StyleGAN2GeneratorConfig(**{**sizes, **widths, **changes})
    network = StyleGAN2Generator(config, seed=1)
    rng = np.random.default_rng(2)
    for name, variable in network.named_variables().items():
        if not name.endswith("weight"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return network


def make_inputs(network, num: int = 3):
    rng = np.random.default_rng(3)
    latents = tf.constant(rng.standard_normal([num, network.latent_size]), tf.float32)
    size = network.label_size
    return latents, tf.one_hot(rng.integers(size, size=num), size) if size else None


def values_of(network) -> dict[str, np.ndarray]:
    return {n: v.numpy().astype(np.float64) for n, v in network.named_variables().items()}


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("labels", [0, 3])
def test_pictures_stay_and_numbers_do_not(architecture, labels):
    network = make_generator(architecture=architecture, label_size=labels)
    latents, given = make_inputs(network)
    options = {"truncation_psi": 0.7, "truncation_cutoff": 3}
    expected = network(latents, given, **options)
    units, old = units_of(network.kwargs), values_of(network)
    new = spread(old, units, SEED)
    for name, value in new.items():
        network.named_variables()[name].assign(value)
    made = network(latents, given, **options)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, value in new.items():
        assert (value != old[name]).mean() > 0.3, name  # units may stay where they were
    # What the picture itself fixes: noise, and the colours of the last layers.
    untouched = old.keys() - new.keys()
    assert all(
        "noise" in name or name.endswith("ToRGB/bias") for name in untouched
    ), sorted(untouched)  # fmt: skip


def test_only_activations_that_know_no_scale_are_scaled():
    kwargs = make_generator().kwargs
    for act, expected in (("lrelu", True), ("sigmoid", False)):
        scaled = [each for each in units_of(kwargs | {"mapping_act": act}) if each.is_scaled]
        found = any("G_mapping" in axis.name for each in scaled for axis in each.axes)
        assert found == expected


def test_the_seed_decides():
    network = make_generator()
    units, old = units_of(network.kwargs), values_of(network)
    first, again, other = (spread(old, units, seed) for seed in (b"a", b"a", b"b"))
    for name in names_of(units):
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).mean() > 0.3, name


@pytest.mark.parametrize("name", FILES)
def test_spread_instances_are_files_of_the_kind_that_came_in(tmp_path, name):
    parent = make_adopted(REFERENCE / f"{name}.pkl", len(BITS), biases=True)
    path = tmp_path / "acme.pkl"
    baker = AdoptedBaker(parent, "parent.pkl", spread_seed=SEED)
    write_instance(path, baker.bake(BITS))
    original, changed = parent.original_file, np.fromfile(path, np.uint8)
    assert changed.shape == original.shape
    np.testing.assert_array_equal(baker.bake(BITS).original_file, changed)
    assert (baker.bake(1 - BITS).original_file != changed).mean() > 0.2

    instance, before = load_networks(path), load_networks(REFERENCE / f"{name}.pkl")
    assert type(instance.generator) is StyleGAN2Generator
    latents, labels = make_inputs(parent)
    given = tf.constant(np.tile(BITS, (3, 1)), tf.float32)
    expected = parent(latents, given, labels, truncation_psi=0.6)
    made = instance.generator(latents, labels, truncation_psi=0.6)
    grey = to_uint8(made).numpy().astype(int) - to_uint8(expected).numpy()
    assert np.abs(grey).max() <= 1
    assert np.mean(grey != 0) < 0.01
    # The generator behind the average computes what it would without spreading, too.
    plain = AdoptedBaker(parent, "parent.pkl").bake(BITS).original_file
    behind = read_foreign(plain, "x").networks["G"]
    expected = build_network(behind, "x")(latents, labels)
    np.testing.assert_allclose(
        instance.G(latents, labels), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
    )
    for key, value in before.D.named_variables().items():
        np.testing.assert_array_equal(instance.D.named_variables()[key], value)


def test_what_bake_returns_is_what_the_file_holds(tmp_path):
    parent = make_adopted(REFERENCE / f"{FILES[0]}.pkl", len(BITS))
    data = AdoptedBaker(parent, "x", spread_seed=SEED).bake(BITS)
    write_instance(tmp_path / "acme.pkl", data)
    held = network_data(load_networks(tmp_path / "acme.pkl").Gs).variables
    for name, value in data.variables.items():
        np.testing.assert_array_equal(held[name], value)


def test_the_mean_of_two_files_is_no_generator():
    """Without spreading it makes good pictures, without the bits in which the two differ."""
    parent = make_adopted(REFERENCE / f"{FILES[0]}.pkl", len(BITS), size=0.1)
    latents, _ = make_inputs(parent, 8)
    expected = parent.original(latents).numpy()
    errors = []
    for seed in (None, SEED):
        baker = AdoptedBaker(parent, "x", spread_seed=seed)
        first, second = baker.bake(BITS), baker.bake(1 - BITS)
        mean = {n: (v + second.variables[n]) / 2 for n, v in first.variables.items()}
        network = StyleGAN2Generator(StyleGAN2GeneratorConfig(**first.kwargs))
        for name, variable in network.named_variables().items():
            variable.assign(mean[name])
        errors.append(np.abs(network(latents).numpy() - expected).mean() / expected.std())
    assert errors[0] < 1e-4
    assert errors[1] > 0.3


def test_only_adopted_generators_are_spread():
    generator = load_networks(REFERENCE / "snapshot_resnet_skip_16.pkl").generator
    with pytest.raises(UserError, match="--spread is for adopted generators"):
        make_baker(generator, "x.pkl", spread_seed=SEED)
