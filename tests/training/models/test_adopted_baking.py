"""Instances of adopted generators: the original's file, with other bytes where biases lie."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import pickle_writer
from dnnlib.errors import UserError
from tests.support.adopted import make_adopted
from tests.support.paths import REFERENCE
from training.models import export
from training.models.adopted_baking import AdoptedBaker
from training.models.adopting import adopt, load_original
from training.models.baking import write_instance
from training.models.functions import to_uint8
from training.models.layouts import export_snapshot
from training.models.rewriting import read_foreign
from training.models.snapshot import load_networks, save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.stylegan2 import StyleGAN2Generator

FILES = [
    f"{name}_{layout}"
    for name in ("plain_skip_16", "plain_resnet_32_labels")
    for layout in ("tf", "torch")
]
BITS = np.array([1, 0, 0, 1, 1, 0], np.uint8)


def make_parent(name: str, biases: bool = True) -> AdoptedGenerator:
    return make_adopted(REFERENCE / f"{name}.pkl", len(BITS), biases=biases)


def make_inputs(network: AdoptedGenerator, num: int = 3):
    rng = np.random.default_rng(3)
    latents = tf.constant(rng.standard_normal([num, network.latent_size]), tf.float32)
    size = network.label_size
    return latents, tf.one_hot(rng.integers(size, size=num), size) if size else None


def images_of(parent: AdoptedGenerator, bits, latents, labels, **options) -> np.ndarray:
    given = tf.constant(np.tile(bits, (len(latents), 1)), tf.float32)
    return parent(latents, given, labels, **options).numpy()


def places(file, kinds: tuple[str, ...], parent: AdoptedGenerator) -> np.ndarray:
    """Which bytes of a file hold biases of these kinds, of any generator in it."""
    found = np.zeros(len(parent.original_file), bool)
    for slot in file.slots:
        for _, layer in parent.synthesis.style_layers():
            for kind in kinds:
                position, values = file.place(slot, f"{layer.scope}/{kind}")
                found[position : position + values.nbytes] = True
    return found


@pytest.mark.parametrize(("name", "biases"), [(FILES[0], False), *((n, True) for n in FILES)])
def test_an_instance_is_the_file_with_other_biases(tmp_path, name, biases):
    parent = make_parent(name, biases)
    baker = AdoptedBaker(parent, "parent.pkl")
    path = tmp_path / "acme.pkl"
    write_instance(path, baker.bake(BITS))
    original = parent.original_file
    changed = np.fromfile(path, np.uint8)
    assert changed.shape == original.shape
    file = read_foreign(original, "original.pkl")
    assert set(file.slots) == {"G", "Gs"}
    allowed = places(file, ("mod_bias", "bias") if biases else ("mod_bias",), parent)
    differs = changed != original
    assert not (differs & ~allowed).any()
    # Each float of them changes, and with it one of its bytes at least.
    assert differs.sum() > allowed.sum() / 4

    instance = load_networks(path)
    assert type(instance.generator) is StyleGAN2Generator
    assert type(instance.G) is StyleGAN2Generator
    latents, labels = make_inputs(parent)
    for options in ({}, {"truncation_psi": 0.6}):
        expected = images_of(parent, BITS, latents, labels, **options)
        made = instance.generator(latents, labels, **options).numpy()
        np.testing.assert_allclose(made, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
        grey = to_uint8(made).numpy().astype(int) - to_uint8(expected).numpy()
        assert np.abs(grey).max() <= 1
    plain = load_networks(REFERENCE / f"{name}.pkl").generator(latents, labels)
    assert np.abs(to_uint8(plain).numpy().astype(int) - to_uint8(expected).numpy()).max() > 10


@pytest.mark.parametrize("name", FILES[:2])
def test_every_generator_of_the_file_carries_the_fingerprint(tmp_path, name):
    parent = make_parent(name)
    write_instance(tmp_path / "acme.pkl", AdoptedBaker(parent, "x").bake(BITS))
    before, after = load_networks(REFERENCE / f"{name}.pkl"), load_networks(tmp_path / "acme.pkl")
    for slot in ("G", "Gs"):
        for scope, shift in parent.style_shifts.items():
            added = shift(tf.constant(BITS[None], tf.float32))[0]
            theirs, ours = (
                getattr(n, slot).named_variables()[f"{scope}/mod_bias"] for n in (before, after)
            )
            np.testing.assert_allclose(ours - theirs, added, rtol=0, atol=1e-6)
    for name, value in before.D.named_variables().items():
        np.testing.assert_array_equal(after.D.named_variables()[name], value)


def test_fingerprints_give_files_of_their_own():
    baker = AdoptedBaker(make_parent(FILES[0]), "x")
    first, second = baker.bake(BITS).original_file, baker.bake(1 - BITS).original_file
    assert (first != second).any()
    np.testing.assert_array_equal(baker.bake(BITS).original_file, first)


def test_other_layouts_give_a_snapshot(tmp_path):
    networks = load_networks(REFERENCE / f"{FILES[0]}.pkl")
    save_snapshot(tmp_path / "ours.pkl", Gs=networks.Gs)
    parent = adopt(load_original(tmp_path / "ours.pkl"), len(BITS))
    for variable in parent.named_trainables().values():
        variable.assign(np.random.default_rng(5).normal(0, 0.3, variable.shape))
    write_instance(tmp_path / "acme.pkl", AdoptedBaker(parent, "x").bake(BITS))
    latents, labels = make_inputs(parent)
    made = load_networks(tmp_path / "acme.pkl").generator(latents, labels)
    np.testing.assert_allclose(made, images_of(parent, BITS, latents, labels), rtol=0, atol=1e-4)


def test_the_file_must_be_the_generators():
    parent, other = make_parent(FILES[0]), make_parent(FILES[1])
    parent.named_variables()["G_synthesis/4x4/Conv/weight"].assign(tf.zeros([3, 3, 32, 32]))
    with pytest.raises(UserError, match="its original_file is not the file of its generator"):
        AdoptedBaker(parent, "x.pkl")
    other.original_file = np.frombuffer(pickle.dumps({"a": 1}, 4), np.uint8)
    with pytest.raises(UserError, match="its original_file holds no generator"):
        AdoptedBaker(other, "x.pkl")


def test_hostile_files_within_are_refused():
    parent = make_parent(FILES[0])
    parent.original_file = np.frombuffer(pickle.dumps(os.system, 4), np.uint8)
    with pytest.raises(UserError, match=r"original_file asks for .*system.*refused"):
        AdoptedBaker(parent, "x.pkl")


def test_files_that_store_text_cannot_be_adopted(tmp_path, monkeypatch):
    """Pickles of protocol 2 hold arrays as text, whose length depends on the values."""
    path = tmp_path / "old.pkl"
    with monkeypatch.context() as patch:
        patch.setattr(
            pickle_writer,
            "_write_array",
            lambda value, file: file.write(pickle.dumps(value, 2)[2:-1]),
        )
        export_snapshot(REFERENCE / f"{FILES[0]}.pkl", "published", path)
    with pytest.raises(UserError, match=r"old\.pkl holds .* cannot be written over.*--layout"):
        load_original(path)
    again = tmp_path / "new.pkl"  # the cure that the text names
    export_snapshot(path, "published", again)
    parent = adopt(load_original(again), len(BITS))
    assert (AdoptedBaker(parent, "x").bake(BITS).original_file == parent.original_file).all()


@pytest.mark.parametrize("bits", [BITS[:3], np.full(6, 2)])
def test_other_bits_are_refused(bits):
    with pytest.raises(ValueError, match="expected 6 bits of 0 and 1"):
        AdoptedBaker(make_parent(FILES[0]), "x").bake(bits)


def run_saved_model(path: Path, given: dict[str, np.ndarray], noise) -> np.ndarray:
    run = tf.saved_model.load(os.fspath(path)).signatures["with_noise"]
    maps = {f"noise{index}": tf.constant(values) for index, values in enumerate(noise)}
    return run(**{k: tf.constant(v) for k, v in given.items()}, **maps)["images"].numpy()


def run_onnx(path: Path, given: dict[str, np.ndarray], noise) -> np.ndarray:
    import onnxruntime  # noqa: PLC0415 - optional

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    maps = {f"noise{index}": values for index, values in enumerate(noise)}
    return session.run(["images"], {**given, **maps})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exporter", "run", "name"),
    [
        (export.SavedModelExporter, run_saved_model, "plain_resnet_32_labels_tf"),
        (export.OnnxExporter, run_onnx, "plain_resnet_32_labels_tf"),
        (export.OnnxExporter, run_onnx, "plain_skip_16_torch"),
    ],
)
def test_other_programs_make_the_parents_pictures(tmp_path, exporter, run, name):
    parent = make_parent(name)
    baker = AdoptedBaker(parent, "x")
    writer = exporter(baker.bake(BITS))
    latents, labels = make_inputs(parent)
    given = {"latents": latents.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
    rng = np.random.default_rng(1)
    noise = [rng.standard_normal([3, h, w, 1]).astype(np.float32) for h, w in parent.noise_shapes]
    for bits in (1 - BITS, BITS):
        path = tmp_path / f"{bits[0]}.model"
        writer.write(baker.bake(bits), path)
        expected = images_of(parent, bits, latents, labels, noise=noise)
        np.testing.assert_allclose(run(path, given, noise), expected, rtol=0, atol=1e-3)


def test_the_mean_of_instances_is_the_generator_of_the_mean_of_their_bits():
    """What the page says of averaging: bits that differ are gone, the others are whole."""
    parent = make_parent(FILES[0])
    baker = AdoptedBaker(parent, "x")
    other = BITS.copy()
    other[:3] ^= 1
    first, second = baker.bake(BITS).variables, baker.bake(other).variables
    original = {name: v.numpy() for name, v in parent.named_variables().items()}
    for scope, shift in parent.style_shifts.items():
        name = f"{scope}/mod_bias"
        mean = (first[name] + second[name]) / 2 - original[name]
        signs = np.where(other == BITS, 2.0 * BITS - 1, 0)
        np.testing.assert_allclose(mean, signs @ shift.weight.numpy() * shift.scale, atol=1e-6)
        # With the opposite fingerprint nothing is left.
        opposite = baker.bake(1 - BITS).variables[name]
        np.testing.assert_allclose((first[name] + opposite) / 2, original[name], atol=1e-6)
