"""Instances: what is baked equals its parent, and the file holds nothing else."""

import errno
import hashlib
import os
import pickle

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from tests.support.instances import inspect_instance
from tests.support.noise import sample_noise
from tests.support.paths import ROOT
from tests.support.processes import run_script
from training.models.baking import Baker, write_instance
from training.models.hashes import hashes_of, network_hash
from training.models.legacy import NetworkData
from training.models.snapshot import (
    build_network,
    load_networks,
    network_data,
    read_snapshot,
    save_networks,
    save_snapshot,
)
from training.networks.configs import DecoderConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.networks.plain_generator import PlainGenerator

COMMON = {"resolution": 16, "latent_size": 5, "fingerprint_size": 6, "fmap_base": 64, "fmap_max": 8}
MAPPING = {"dlatent_size": 7, "mapping_fmaps": 9, "mapping_layers": 2, "mapping_lrmul": 0.5}
LINEAR = {
    "mapping_layers": 1,
    "mapping_lrmul": 1.0,
    "mapping_act": "linear",
    "center_bits": True,
}
PARENTS = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "linear mapping": LINEAR,
    "modulated from 8 on": {"modulated_min_log2": 3},
    "modulated at 4 and 8": {"modulated_max_log2": 3, "architecture": "resnet"},
    "modulated at 8 only": {"modulated_min_log2": 3, "modulated_max_log2": 3},
    "modulated nowhere": {"modulated_min_log2": 5},
    "biases": {"style_biases": True, "modulated_min_log2": 3},
    "maps": {"map_min_log2": 3, "map_max_log2": 4, "num_maps": 2},
    "maps alone": {"map_min_log2": 2, "map_max_log2": 3, "modulated_min_log2": 5},
    "maps and biases": {"map_min_log2": 4, "map_max_log2": 4, "style_biases": True},
    "grey": {"num_channels": 1},
    "smallest": {"resolution": 4},
    "classes": {"label_size": 3, "label_fmaps": 5, "architecture": "resnet"},
}
BITS = np.array([1, 0, 0, 1, 1, 0], np.uint8)


def make_parent(name: str = "skip", seed: int = 3) -> Generator:
    """A generator whose biases, noise strengths and styles are not at their initial values."""
    generator = Generator(GeneratorConfig(**COMMON | MAPPING | PARENTS[name]), seed=seed)
    rng = np.random.default_rng(seed)
    for key, variable in generator.named_trainables().items():
        strength = 1.0 if key.endswith("mod_weight") else 0.3
        variable.assign_add(rng.normal(0, strength, variable.shape) + 0.1)
    return generator


def assert_same_images(parent: Generator, instance: PlainGenerator, bits: np.ndarray) -> None:
    """Given noise and stored noise; the fingerprint has to matter."""
    rng = np.random.default_rng(1)
    latents = tf.constant(rng.standard_normal([3, 5]), tf.float32)
    all_bits = tf.constant(np.tile(bits, (3, 1)), tf.float32)
    labels = tf.eye(3) if parent.label_size else None
    tf.random.set_seed(1)
    for noise in (None, sample_noise(parent, 3)):
        expected = parent(latents, all_bits, noise, labels).numpy()
        made = instance(latents, noise, labels)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)
        other = parent(latents, 1 - all_bits, noise, labels).numpy()
        modulated = any(True for _ in parent.synthesis.style_layers())
        assert (np.abs(other - expected).max() > 1e-2) == modulated


@pytest.mark.parametrize("name", PARENTS)
def test_an_instance_makes_the_images_of_its_parent(name, tmp_path):
    parent = make_parent(name)
    baker = Baker(parent)
    for number, bits in enumerate((BITS, 1 - BITS)):
        path = tmp_path / f"{number}.pkl"
        write_instance(path, baker.bake(bits))
        inspect_instance(path)
        instance = load_networks(path).generator
        assert type(instance) is PlainGenerator
        assert_same_images(parent, instance, bits)


@pytest.mark.parametrize(
    "name", ["resnet_skip_16", "skip_resnet_32", "skip_resnet_32_widths", "portraits-32"]
)
def test_instances_of_real_snapshots(name, reference):
    path = reference / f"snapshot_{name}.pkl"
    parent = load_networks(path if path.exists() else ROOT / "models" / f"{name}.pkl").generator
    bits = np.random.default_rng(2).integers(0, 2, parent.fingerprint_size, np.uint8)
    instance = build_network(Baker(parent).bake(bits), "the instance")
    latents = tf.random.stateless_normal([4, parent.latent_size], [1, 2])
    all_bits = tf.constant(np.tile(bits, (4, 1)), tf.float32)
    for noise in (None, sample_noise(parent, 4)):
        expected = parent(latents, all_bits, noise)
        np.testing.assert_allclose(instance(latents, noise), expected, rtol=0, atol=1e-4)


def test_weights_are_those_of_the_paper():
    """Equations 1 to 3 in float64, weight by weight, from the styles of the mapping network."""
    parent = make_parent("modulated from 8 on")
    variables = {name: v.numpy().astype(np.float64) for name, v in parent.named_variables().items()}
    style = parent.map_fingerprints(tf.constant(BITS[None], tf.float32)).numpy()[0, 0]
    baked = Baker(parent).bake(BITS).variables
    modulated = 0
    for name, value in baked.items():
        expected = variables[name]
        scope = name.removesuffix("/weight")
        if f"{scope}/mod_weight" in variables:
            modulated += 1
            affine = variables[f"{scope}/mod_weight"] / np.sqrt(7)
            s = style @ affine + variables[f"{scope}/mod_bias"] + 1
            expected = expected * s[:, None]
            if not scope.endswith("ToRGB"):
                scale = 1 / np.sqrt(np.prod(expected.shape[:3]))
                power = np.sum((expected * scale) ** 2, axis=(0, 1, 2)) + 1e-8
                expected = expected / np.sqrt(power)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7, err_msg=name)
    assert modulated == 6
    assert np.array_equal(
        baked["G_synthesis/4x4/Conv/weight"], variables["G_synthesis/4x4/Conv/weight"]
    )


def test_the_parent_may_change_afterwards():
    """The affine layers and weights are read once; the mapping network is not part of that."""
    parent = make_parent()
    baker = Baker(parent)
    before = baker.bake(BITS)
    for name, variable in parent.named_variables().items():
        if not name.startswith("G_mapping/"):
            variable.assign(tf.zeros_like(variable))
    after = baker.bake(BITS)
    for name, value in before.variables.items():
        assert np.array_equal(after.variables[name], value)


def test_shared_values_take_no_memory():
    baker = Baker(make_parent("modulated from 8 on"))
    first, second = baker.bake(BITS).variables, baker.bake(1 - BITS).variables
    different = {name for name in first if first[name] is not second[name]}
    assert different == {
        f"G_synthesis/{layer}/weight"
        for layer in ("8x8/Conv0_up", "8x8/Conv1", "8x8/ToRGB")
        + ("16x16/Conv0_up", "16x16/Conv1", "16x16/ToRGB")
    }


@pytest.mark.parametrize("bits", [BITS[:5], BITS[None], BITS * 2, np.zeros(0)])
def test_bits_that_are_no_fingerprint(bits):
    with pytest.raises(ValueError, match="expected 6 bits of 0 and 1"):
        Baker(make_parent()).bake(bits)


# ---- The file.


def test_the_file_holds_a_plain_generator_and_nothing_else(tmp_path):
    """Python's own reader, and a look at the bytes, whatever `inspect_instance` says."""
    parent = make_parent()
    digest = write_instance(tmp_path / "a.pkl", Baker(parent).bake(BITS))
    data = (tmp_path / "a.pkl").read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    content = pickle.loads(data)
    assert content.keys() == {"format", "version", "position", "networks", "checksums"}
    assert content["position"] == {}
    assert content["networks"].keys() == {"Gs"}
    network = content["networks"]["Gs"]
    assert network.keys() == {"class", "kwargs", "variables"}
    assert network["class"] == "PlainGenerator"
    layers = ("weight", "bias", "noise_strength")
    wanted = {
        name
        for name in parent.named_variables()
        if name.startswith("G_synthesis/noise")
        or (name.startswith("G_synthesis/") and name.rpartition("/")[2] in layers)
    }
    assert network["variables"].keys() == wanted
    assert {array.dtype.str for array in network["variables"].values()} == {"<f4"}
    # The only trace of fingerprints is how many bits a seed draws.
    assert [key for key in network["kwargs"] if "fingerprint" in key] == ["fingerprint_size"]
    for word in (b"mapping", b"mod_", b"affine", b"style", b"ecoder", b"Discr", b"Dense", b"avg"):
        assert word not in data
    assert data.count(b"fingerprint") == 2  # the name of the format, and the number of bits
    for bits in (BITS, BITS.astype(np.float32)):
        assert bits.tobytes() not in data


@pytest.mark.slow
def test_the_same_bits_give_the_same_bytes(tmp_path):
    """In one process and in another one, whose hashes of texts differ."""
    path = tmp_path / "parent.pkl"
    save_snapshot(path, Gs=make_parent())
    script = (
        "import sys, numpy as np\n"
        "from training.models.baking import Baker, write_instance\n"
        "from training.models.snapshot import load_networks\n"
        "baker = Baker(load_networks(sys.argv[1]).generator)\n"
        "print(write_instance(sys.argv[2], baker.bake(np.array([1, 0, 0, 1, 1, 0]))))\n"
    )
    printed = run_script(script, path, tmp_path / "theirs.pkl", hash_seed=17)
    baker = Baker(make_parent())
    digests = {write_instance(tmp_path / f"{i}.pkl", baker.bake(BITS)) for i in range(2)}
    assert digests == {printed.strip()}
    assert write_instance(tmp_path / "other.pkl", baker.bake(1 - BITS)) not in digests


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    data = Baker(make_parent()).bake(BITS)
    path = tmp_path / "a.pkl"
    path.write_bytes(b"old")

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(UserError, match=r"cannot write .*a\.pkl: No space left on device; free"):
        write_instance(path, data)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def change_position(content):
    content["position"]["kimg"] = 1.0


def change_note(content):
    content["note"] = "for ACME"


def change_network_note(content):
    content["networks"]["Gs"]["bits"] = [1, 0]


def change_extra_variable(content):
    content["networks"]["Gs"]["variables"]["G_mapping/Dense0/weight"] = np.zeros(3, np.float32)


def change_affine(content):
    variables = content["networks"]["Gs"]["variables"]
    variables["G_synthesis/4x4/Conv/mod_bias"] = np.zeros(8, np.float32)


def change_precision(content):
    variables = content["networks"]["Gs"]["variables"]
    variables["G_synthesis/4x4/Conv/bias"] = np.zeros(8, np.float64)


def change_argument(content):
    content["networks"]["Gs"]["kwargs"]["fingerprint"] = "cafe"


CHANGES = {
    "position": (change_position, "is no instance: it holds a training position"),
    "note": (change_note, "is no instance: it holds note"),
    "note of the network": (change_network_note, "is no instance: it holds bits"),
    "mapping": (change_extra_variable, "Gs has the variable G_mapping/Dense0/weight"),
    "affine": (change_affine, "Gs has the variable G_synthesis/4x4/Conv/mod_bias"),
    "precision": (change_precision, "G_synthesis/4x4/Conv/bias of Gs is not what was saved"),
    "argument": (change_argument, "Gs has the unknown argument fingerprint"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_carry_more_are_found(name, tmp_path):
    change, wanted = CHANGES[name]
    path = tmp_path / "a.pkl"
    write_instance(path, Baker(make_parent()).bake(BITS))
    inspect_instance(path)
    content = pickle.loads(path.read_bytes())
    change(content)
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(UserError) as caught:
        inspect_instance(path)
    assert str(caught.value).startswith(str(path))
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_snapshots_are_no_instances(tmp_path):
    parent = make_parent()
    decoder = Decoder(DecoderConfig(**COMMON), seed=1)
    path = tmp_path / "a.pkl"
    save_snapshot(path, Gs=parent)
    with pytest.raises(UserError, match="is no instance: it holds a Generator; issue it again"):
        inspect_instance(path)
    save_networks(path, {"Gs": Baker(parent).bake(BITS), "E": network_data(decoder)})
    with pytest.raises(UserError, match="is no instance: it holds a Decoder; issue it again"):
        inspect_instance(path)
    with pytest.raises(UserError, match="does not exist"):
        inspect_instance(tmp_path / "missing.pkl")


# ---- Hashes.


def test_hash_does_not_depend_on_the_file(reference, tmp_path):
    """A published snapshot and the same networks in our format, with G and D or without."""
    path = reference / "snapshot_skip_resnet_32_widths.pkl"
    networks = load_networks(path)
    both = hashes_of(read_snapshot(path)[0])
    assert both[0] is not None
    assert both[1] is not None
    assert both[0] != both[1]
    parts = {"E": networks.E, "G": networks.G, "D": networks.D, "Gs": networks.Gs}
    for slots, expected in (
        (("E", "G", "D", "Gs"), both),
        (("Gs", "E"), both),
        (("E",), (None, both[1])),
        (("Gs", "D"), (None, None)),
    ):
        save_snapshot(tmp_path / "a.pkl", **{slot: parts[slot] for slot in slots})
        assert hashes_of(read_snapshot(tmp_path / "a.pkl")[0]) == expected
    only_g = hashes_of({"G": network_data(networks.Gs), "E": network_data(networks.E)})
    assert only_g == both


def test_hash_follows_what_is_computed():
    data = network_data(Decoder(DecoderConfig(**COMMON), seed=1))
    original = network_hash(data)
    name = "Output/bias"
    backwards = dict(reversed(data.variables.items()))
    kwargs = dict(reversed(data.kwargs.items()))
    assert network_hash(NetworkData("Decoder", kwargs, backwards)) == original
    # Defaults left out, as in files that an earlier version wrote; an integer for a float.
    assert network_hash(NetworkData("Decoder", COMMON | {"fmap_decay": 1}, backwards)) == (original)
    # 64 bits on disk become 32 in the network.
    wide = data.variables | {name: data.variables[name].astype(np.float64)}
    assert network_hash(NetworkData("Decoder", data.kwargs, wide)) == original
    changes = [
        NetworkData("Decoder", data.kwargs | {"architecture": "skip"}, data.variables),
        NetworkData("Decoder", data.kwargs | {"fmap_decay": 0.5}, data.variables),
        NetworkData("Decoder", data.kwargs, data.variables | {name: data.variables[name] + 1}),
        NetworkData("Decoder", data.kwargs, data.variables | {name: data.variables[name][None]}),
        NetworkData("Decoder", data.kwargs, data.variables | {"Output/more": np.zeros(1)}),
    ]
    assert len({original, *map(network_hash, changes)}) == 1 + len(changes)


def test_hash_of_an_architecture_is_not_that_of_another():
    generator, decoder = (
        network_data(make_parent()),
        network_data(Decoder(DecoderConfig(**COMMON), seed=1)),
    )
    baked = Baker(make_parent()).bake(BITS)
    assert network_hash(generator) != network_hash(baked)
    assert (
        hashes_of({"Gs": baked, "E": decoder})[0] != hashes_of({"Gs": generator, "E": decoder})[0]
    )


@pytest.mark.parametrize(
    ("kwargs", "variables", "message"),
    [
        ({"dropout": 1}, {}, r"x\.pkl: E has the unknown argument dropout"),
        ({"resolution": "16"}, {}, "E: resolution=16 is not possible"),
        ({}, {"Output/bias": [0.0]}, "E: the variable Output/bias is not an array of floats"),
        ({}, {"Output/bias": np.zeros(11, int)}, "Output/bias is not an array of floats"),
    ],
)
def test_networks_that_cannot_be_hashed(kwargs, variables, message):
    data = network_data(Decoder(DecoderConfig(**COMMON), seed=1))
    changed = NetworkData("Decoder", data.kwargs | kwargs, data.variables | variables)
    with pytest.raises(UserError, match=message):
        hashes_of({"E": changed}, "x.pkl")
