"""Snapshots: round trip, published files, and files that must be refused."""

import copy
import errno
import os
import pickle
import resource
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from training.models import legacy, limits, snapshot
from training.models.snapshot import load_networks, save_snapshot
from training.networks.table import NETWORKS, build

COMMON = {"resolution": 8, "num_channels": 1, "fmap_base": 32, "fmap_max": 8, "fmap_decay": 0.9}
CODES = {"latent_size": 6, "fingerprint_size": 5}
NETWORK_KWARGS = {
    "Generator": {
        **COMMON,
        **CODES,
        "dlatent_size": 7,
        "mapping_fmaps": 9,
        "mapping_layers": 2,
        "mapping_lrmul": 0.5,
        "center_bits": True,
        "architecture": "resnet",
        "modulated_min_log2": 3,
        "modulated_max_log2": 3,
    },
    "PlainGenerator": {**COMMON, **CODES, "architecture": "orig"},
    "Discriminator": {**COMMON, "architecture": "skip", "mbstd_group_size": 2},
    "Decoder": {**COMMON, **CODES, "architecture": "orig"},
    "StyleGAN2Generator": {
        **COMMON,
        "latent_size": 6,
        "dlatent_size": 7,
        "mapping_fmaps": 9,
        "mapping_layers": 2,
        "label_size": 3,
        "label_fmaps": 4,
        "conv_clamp": 256.0,
        "stored_noise": True,
    },
    "AdoptedGenerator": {
        **COMMON,
        **CODES,
        "dlatent_size": 7,
        "mapping_fmaps": 9,
        "mapping_layers": 2,
        "label_size": 3,
        "label_fmaps": 4,
        "fingerprint_biases": True,
    },
    "StyleGAN2Discriminator": {
        **COMMON,
        "dlatent_size": 7,
        "mapping_fmaps": 9,
        "mapping_layers": 2,
        "label_size": 3,
        "label_fmaps": 4,
    },
}
PUBLISHED = ("resnet_skip_16", "skip_resnet_32", "skip_resnet_32_widths")
POSITION = {"kimg": 12.5, "config": "config-tiny", "history": [1, None, True, {"x": 0.25}]}


def networks() -> dict:
    classes = {"E": "Decoder", "G": "Generator", "D": "Discriminator", "Gs": "Generator"}
    return {slot: build(name, NETWORK_KWARGS[name]) for slot, name in classes.items()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "network-snapshot-000012.pkl"
    save_snapshot(path, **networks(), position=POSITION)
    return path


def assert_equal_networks(a, b) -> None:
    assert type(a) is type(b)
    assert a.kwargs == b.kwargs
    theirs = b.named_variables()
    assert list(a.named_variables()) == list(theirs)
    for name, variable in a.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), theirs[name].numpy(), name)


# ---- Our own format.


def test_round_trip(tmp_path):
    path = tmp_path / "a.pkl"
    written = networks()
    save_snapshot(path, **written, position=POSITION)
    read = load_networks(str(path))
    assert read.position == POSITION
    assert read.where == str(path)
    for slot, network in written.items():
        assert_equal_networks(getattr(read, slot), network)
    assert read.generator is read.Gs
    assert read.decoder is read.E
    again = tmp_path / "b.pkl"
    save_snapshot(again, E=read.E, G=read.G, D=read.D, Gs=read.Gs, position=read.position)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pkl", "b.pkl"]


def test_every_class_of_the_table_round_trips(tmp_path):
    assert set(NETWORK_KWARGS) == set(NETWORKS)
    slots = {name: slot for slot, names in snapshot._SLOTS.items() for name in names}
    assert set(slots) == set(NETWORKS)
    for name, slot in slots.items():
        network = build(name, NETWORK_KWARGS[name], seed=3)
        save_snapshot(tmp_path / f"{name}.pkl", **{slot: network})
        read = load_networks(tmp_path / f"{name}.pkl")
        assert_equal_networks(getattr(read, slot), network)
        # The same file from data alone.
        networks, _ = snapshot.read_snapshot(tmp_path / f"{name}.pkl")
        assert networks[slot].class_name == name
        snapshot.save_networks(tmp_path / "again.pkl", {slot: snapshot.network_data(network)})
        assert (tmp_path / "again.pkl").read_bytes() == (tmp_path / f"{name}.pkl").read_bytes()


def test_an_instance_is_a_generator_without_fingerprints(tmp_path):
    path = tmp_path / "instance.pkl"
    save_snapshot(path, Gs=build("PlainGenerator", NETWORK_KWARGS["PlainGenerator"]))
    for read in (load_networks(path), load_networks(path, only="generator")):
        assert read.generator is read.Gs
        with pytest.raises(UserError, match=r"instance\.pkl is an instance: .* name the snapshot"):
            _ = read.fingerprinted
    with pytest.raises(UserError, match=r"instance\.pkl holds no decoder"):
        _ = load_networks(path, only="decoder").decoder
    save_snapshot(path, Gs=networks()["Gs"])
    read = load_networks(path)
    assert read.fingerprinted is read.generator
    save_snapshot(path, E=networks()["E"])
    with pytest.raises(UserError, match="holds no generator"):
        _ = load_networks(path).fingerprinted


def test_the_file_is_plain_data(saved):
    """What the module's docstring promises; Python's own reader sees nothing but NumPy."""
    content = pickle.loads(saved.read_bytes())
    assert content["format"] == "gan-fingerprints"
    assert content["version"] == 1
    assert content["position"] == POSITION
    assert set(content["networks"]) == {"E", "G", "D", "Gs"}
    generator = content["networks"]["Gs"]
    assert generator["class"] == "Generator"
    assert NETWORK_KWARGS["Generator"].items() <= generator["kwargs"].items()
    assert {type(array) for array in generator["variables"].values()} == {np.ndarray}
    assert {array.dtype.str for array in generator["variables"].values()} == {"<f4"}
    assert generator["variables"]["G_synthesis/noise2"].shape == (1, 1, 8, 8)


def test_a_file_with_some_networks(tmp_path):
    written = networks()
    save_snapshot(tmp_path / "g.pkl", G=written["G"], position={})
    read = load_networks(tmp_path / "g.pkl")
    assert_equal_networks(read.generator, written["G"])
    assert (read.E, read.D, read.Gs) == (None, None, None)
    with pytest.raises(UserError, match=r"g\.pkl holds no decoder"):
        _ = read.decoder
    save_snapshot(tmp_path / "e.pkl", E=written["E"])
    with pytest.raises(UserError, match=r"e\.pkl holds no generator"):
        _ = load_networks(tmp_path / "e.pkl").generator


def test_only_what_a_command_needs_is_built(tmp_path):
    written = networks()
    save_snapshot(tmp_path / "all.pkl", **written)
    save_snapshot(tmp_path / "g.pkl", G=written["G"], D=written["D"])
    read = load_networks(tmp_path / "all.pkl", only="generator")
    assert_equal_networks(read.generator, written["Gs"])
    assert (read.E, read.G, read.D) == (None, None, None)
    assert_equal_networks(load_networks(tmp_path / "g.pkl", "generator").generator, written["G"])
    read = load_networks(tmp_path / "all.pkl", only="decoder")
    assert_equal_networks(read.decoder, written["E"])
    assert (read.G, read.D, read.Gs) == (None, None, None)
    with pytest.raises(UserError, match=r"g\.pkl holds no decoder"):
        _ = load_networks(tmp_path / "g.pkl", "decoder").decoder


def test_replicated_variables_are_saved_and_restored(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        written = networks()["E"]
        save_snapshot(tmp_path / "e.pkl", E=written)
        read = load_networks(tmp_path / "e.pkl").E
        assert_equal_networks(read, written)


def test_numbers_of_numpy_in_the_position_become_plain(tmp_path):
    save_snapshot(tmp_path / "e.pkl", E=networks()["E"], position={"kimg": np.float64(1.5)})
    assert load_networks(tmp_path / "e.pkl").position == {"kimg": 1.5}
    with pytest.raises(ValueError, match="plain data only, not PosixPath"):
        save_snapshot(tmp_path / "e.pkl", E=networks()["E"], position={"path": tmp_path})


# ---- No space.


def test_no_space_is_one_line_and_keeps_the_old_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "network-final.pkl"
    shutil.copy(saved, path)

    class Full:
        """A file on a full disk."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            with open("/dev/full", "wb", buffering=0) as full:
                return full.write(data)

    dump = pickle.dump
    monkeypatch.setattr(pickle, "dump", lambda content, file, **k: dump(content, Full(file), **k))
    with pytest.raises(UserError) as caught:
        save_snapshot(path, **networks())
    assert str(caught.value).startswith(f"cannot write {path}: {os.strerror(errno.ENOSPC)}; free")
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_size_limit_is_one_line(tmp_path):
    """The kernel itself refuses to let the file grow, in the middle of it."""
    path = tmp_path / "network-final.pkl"
    decoder = networks()["E"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(UserError) as caught:
            save_snapshot(path, E=decoder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"cannot write {path}: {os.strerror(errno.EFBIG)}; ")
    assert "ulimit" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    save_snapshot(path, E=decoder)
    assert path.stat().st_size > 5000


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*/missing/a\.pkl: No such file"):
        save_snapshot(tmp_path / "missing" / "a.pkl", E=networks()["E"])


# ---- Files of our format that do not fit.


def change_version(content):
    content["version"] = 2


def change_class(content):
    content["networks"]["E"]["class"] = "Discriminator"


def change_to_an_average_discriminator(content):
    content["networks"]["Gs"]["class"] = "Discriminator"


def change_to_a_plain_generator(content):
    content["networks"]["G"]["class"] = "PlainGenerator"


def change_class_name(content):
    content["networks"]["E"]["class"] = "os.system\n"


def change_slot(content):
    content["networks"]["F"] = content["networks"]["E"]


def change_to_no_kwargs(content):
    del content["networks"]["E"]["kwargs"]


def change_to_no_networks(content):
    content["networks"] = {}


def change_to_an_array_as_networks(content):
    content["networks"] = np.zeros(3)


def change_to_an_array_as_format(content):
    content["format"] = np.zeros(3)


def change_to_no_position(content):
    content["position"] = None


def change_name(content):
    variables = content["networks"]["D"]["variables"]
    variables["4x4/Conv/wait"] = variables.pop("4x4/Conv/weight")


def change_to_one_more(content):
    content["networks"]["D"]["variables"]["extra\x1b"] = np.zeros(3, np.float32)


def change_shape(content):
    variables = content["networks"]["Gs"]["variables"]
    variables["G_synthesis/4x4/Latent/bias"] = variables["G_synthesis/4x4/Latent/bias"][None]


def change_type(content):
    content["networks"]["E"]["variables"]["Output/bias"] = np.arange(11)


def change_to_a_list(content):
    content["networks"]["E"]["variables"]["Output/bias"] = [0.0] * 11


def kwargs_changer(slot, **values):
    def change(content):
        content["networks"][slot]["kwargs"].update(values)

    return change


def change_fingerprint_size(content):
    decoder = content["networks"]["E"]
    decoder["kwargs"].update(fingerprint_size=4, latent_size=7)


CHANGES = {
    "newer version": (change_version, "was written by a newer version of this project (format 2"),
    "class of another slot": (change_class, "E is a Discriminator, expected a Decoder"),
    "class of no generator": (
        change_to_an_average_discriminator,
        "Gs is a Discriminator, expected a Generator or a PlainGenerator",
    ),
    "instance as what is trained": (
        change_to_a_plain_generator,
        "G is a PlainGenerator, expected a Generator",
    ),
    "unknown class": (change_class_name, r"E is a 'os.system\n', expected a Decoder"),
    "unknown slot": (change_slot, "holds an unknown network F; known: E, G, D, Gs"),
    "no kwargs": (change_to_no_kwargs, "E lacks class, kwargs or variables"),
    "no networks": (change_to_no_networks, "without networks"),
    "array as networks": (change_to_an_array_as_networks, "without networks"),
    "array as format": (change_to_an_array_as_format, "is no snapshot of networks"),
    "no position": (change_to_no_position, "without networks or position"),
    "unknown argument": (kwargs_changer("G", dropout=0.1), "unknown argument dropout"),
    "seed": (kwargs_changer("G", seed=1), "unknown argument seed"),
    "text as number": (kwargs_changer("G", resolution="8"), "G: resolution=8 is not possible"),
    "bool as number": (kwargs_changer("G", resolution=True), "resolution=True is not possible"),
    "negative": (kwargs_changer("D", fmap_max=-1), "fmap_max=-1 is not possible"),
    "NaN": (kwargs_changer("D", fmap_decay=float("nan")), "fmap_decay=nan is not possible"),
    "zero multiplier": (kwargs_changer("Gs", mapping_lrmul=0.0), "cannot be built: float division"),
    "overflowing": (kwargs_changer("D", fmap_decay=1e6), "cannot be built"),
    "not a power of two": (kwargs_changer("D", resolution=7), "expected a power of two"),
    "architecture": (kwargs_changer("E", architecture="dense"), "architecture='dense'"),
    "activation": (kwargs_changer("G", mapping_act="exec"), "mapping_act=exec is not possible"),
    "missing variable": (change_name, "D lacks the variable 4x4/Conv/weight"),
    "one more variable": (change_to_one_more, r"D has the variable 'extra\x1b'"),
    "shape": (
        change_shape,
        "Gs: the variable G_synthesis/4x4/Latent/bias has shape (1, 128), expected (128,)",
    ),
    "integers": (change_type, "E: the variable Output/bias is not an array of floats"),
    "list": (change_to_a_list, "E: the variable Output/bias is not an array of floats"),
    "other fingerprint size": (
        change_fingerprint_size,
        "its networks differ in latent_size (E 7, G 6, Gs 6)",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_do_not_fit(name, saved, tmp_path):
    change, wanted = CHANGES[name]
    content = pickle.loads(saved.read_bytes())
    change(content)
    path = tmp_path / "changed.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    message = load_failure(path)
    assert message.startswith(f"{path}")
    assert wanted in message


def load_failure(path) -> str:
    with pytest.raises(UserError) as caught:
        load_networks(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "values",
    [
        {"resolution": 1 << 20},
        {"resolution": 8192},
        {"fmap_base": 1 << 20, "fmap_max": 1 << 20},
        {"mapping_layers": 1 << 20},
        {"mapping_layers": 100, "mapping_fmaps": 4096},
        {"latent_size": 1 << 20},
        {"fingerprint_size": 1 << 20},
        {"dlatent_size": 1 << 20},
    ],
)
def test_a_small_file_cannot_claim_a_large_network(values, saved, tmp_path):
    content = pickle.loads(saved.read_bytes())
    kwargs_changer("Gs", **values)(content)
    path = tmp_path / "claims.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    tracemalloc.start()
    message = load_failure(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "Gs describes a network of at least" in message
    assert peak < 16 << 20


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_claim_is_below_every_real_size(name, architecture):
    """Otherwise a good file would be refused; and within a factor, or it would not protect."""
    for extra in ({}, {"fmap_max": 32}, {"fmap_base": 512, "fmap_decay": 2.0}):
        kwargs = {"resolution": 32, "architecture": architecture, "fmap_base": 1024}
        kwargs |= {"mapping_fmaps": 128} if name == "Generator" else {}
        ranges: list[dict[str, int]] = [{}]
        if name == "Generator":
            ranges = [
                {"modulated_min_log2": 4, "modulated_max_log2": 5, "mapping_layers": 1},
                {"modulated_min_log2": 8, "modulated_max_log2": 2, "mapping_layers": 2},
            ]
        for more in ranges:
            network = build(name, kwargs | extra | more)
            size = sum(np.prod(v.shape) for v in network.named_variables().values())
            least = limits._least_values(network.config)
            assert size / 3 < least <= size


def test_other_pickles_are_not_snapshots(tmp_path):
    for index, content in enumerate([{}, [], {"format": "x"}, (1, 2, 3, 4), "text", np.zeros(4)]):
        path = tmp_path / f"{index}.pkl"
        path.write_bytes(pickle.dumps(content, 4))
        assert "is no snapshot of networks" in load_failure(path)


# ---- Published snapshots.


@pytest.fixture(scope="module")
def published(reference):
    return {name: load_networks(reference / f"snapshot_{name}.pkl") for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_variables(name, published, reference):
    data = np.load(reference / f"networks_{name}.npz")
    for slot in ("E", "G", "D"):
        wanted = {key[2:]: data[key] for key in data.files if key.startswith(f"{slot}/")}
        for unused in ("lod", "dlatent_avg"):
            wanted.pop(unused, None)
        found = getattr(published[name], slot).named_variables()
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key].numpy(), value, key)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_outputs(name, published, reference):
    data = np.load(reference / f"networks_{name}.npz")
    networks = published[name]
    images = networks.G(tf.constant(data["latents"]), tf.constant(data["fingerprints"])).numpy()
    reals = tf.constant(data["reals"].transpose(0, 2, 3, 1))
    latents, logits = networks.E(tf.constant(data["out/images"].transpose(0, 2, 3, 1)))
    for key, value in {
        "out/images": images.transpose(0, 3, 1, 2),
        "out/scores_reals": networks.D(reals).numpy(),
        "out/decoded_latents": latents.numpy(),
        "out/decoded_logits": logits.numpy(),
    }.items():
        np.testing.assert_allclose(value, data[key], rtol=0, atol=1e-4, err_msg=key)


def generated_files() -> list[str]:
    return [
        "resnet_skip_16_identical_latent",
        "skip_resnet_32",
        "skip_resnet_32_widths_identical_watermark",
    ]


@pytest.mark.parametrize("name", generated_files())
def test_published_pictures(name, published, reference):
    """The pictures that `generate-images` of the published code made, from the same seeds."""
    data = np.load(reference / f"generated_{name}.npz")
    generator = published[name.partition("_identical")[0]].generator
    shared = np.random.RandomState(data["seeds"][0])
    shared_latent = shared.randn(1, generator.latent_size)
    shared_bits = shared.randint(0, 2, (1, generator.fingerprint_size))
    for seed, bits, image in zip(data["seeds"], data["fingerprints"], data["images"], strict=True):
        rnd = np.random.RandomState(seed)
        latent, drawn = shared_latent, shared_bits
        if not data["identical_latent"]:
            latent = rnd.randn(1, generator.latent_size)
        if not data["identical_watermark"]:
            drawn = rnd.randint(0, 2, (1, generator.fingerprint_size))
        np.testing.assert_array_equal(drawn[0], bits)
        noise = [rnd.randn(1, 1, h, w).transpose(0, 2, 3, 1) for h, w in generator.noise_shapes]
        made = generator(
            tf.constant(latent, tf.float32),
            tf.constant(drawn, tf.float32),
            [tf.constant(values, tf.float32) for values in noise],
        )[0].numpy()
        pixels = np.clip(127.5 * made + 128, 0, 255).astype(np.uint8)
        assert np.abs(pixels.astype(int) - image).max() <= 1


def test_a_published_snapshot_saved_in_our_format(published, tmp_path):
    networks = published["skip_resnet_32_widths"]
    save_snapshot(tmp_path / "a.pkl", E=networks.E, G=networks.G, D=networks.D, Gs=networks.Gs)
    read = load_networks(tmp_path / "a.pkl")
    for slot in ("E", "G", "D", "Gs"):
        assert_equal_networks(getattr(read, slot), getattr(networks, slot))


def states(reference, name="resnet_skip_16") -> tuple:
    return safe_pickle.load(reference / f"snapshot_{name}.pkl", legacy.ALLOW)


@pytest.mark.parametrize(("index", "slot"), [(0, "E"), (1, "Gs"), (2, "D"), (3, "Gs")])
def test_a_single_published_network(index, slot, reference, published):
    data = legacy.convert(states(reference)[index], "one.pkl")
    assert list(data) == [slot]
    original = ("E", "G", "D", "Gs")[index]
    network = snapshot.build_network(data[slot], "one.pkl")
    assert_equal_networks(network, getattr(published["resnet_skip_16"], original))


def test_published_defaults_stand_in_for_absent_keywords(reference):
    """Published files store only the keywords that were passed."""
    everything = states(reference)
    for state in everything:
        state.state["static_kwargs"] = {}
    data = legacy.convert(everything, "x.pkl")
    common = {
        "resolution": 1024,
        "num_channels": 3,
        "fmap_base": 16384,
        "fmap_decay": 1.0,
        "fmap_min": 1,
        "fmap_max": 512,
    }
    assert data["D"].kwargs == {**common, "architecture": "resnet", "mbstd_group_size": 4}
    codes = {"latent_size": 512, "fingerprint_size": 32}
    assert data["E"].kwargs == {**common, **codes, "architecture": "resnet"}
    assert data["Gs"].kwargs == data["G"].kwargs
    assert data["G"].kwargs == {
        **common,
        **codes,
        "dlatent_size": 512,
        "mapping_fmaps": 512,
        "mapping_layers": 8,
        "mapping_lrmul": 0.01,
        "architecture": "skip",
        "modulated_min_log2": 2,
        "modulated_max_log2": 7,
    }


def state_changer(**values):
    return lambda state: state.update(values)


def keyword_changer(**values):
    return lambda state: state["static_kwargs"].update(values)


def break_component(state):
    state["components"]["mapping"] = 5


def change_component(state):
    state["components"]["mapping"].state["build_func_name"] = "G_mapping"


def add_component(state):
    state["components"]["evil"] = state["components"]["mapping"]


def nest_component(state):
    mapping = state["components"]["mapping"]
    mapping.state["components"] = {"mapping": copy.copy(mapping)}


STATE_CHANGES = {
    "function": (state_changer(build_func_name="G_main"), "Gs was built by G_main; only networks"),
    "version": (state_changer(version=6), "Gs has version 6 of the published layout"),
    "no version": (state_changer(version=None), "without a proper version"),
    "variables": (state_changer(variables=None), "without a proper variables"),
    "unnamed variable": (state_changer(variables=[np.zeros(2)]), "a variable without a name"),
    "labels": (keyword_changer(label_size=10), "was made with label_size=10; only 0"),
    "filter": (keyword_changer(resample_kernel=(1, 2, 1)), "was made with resample_kernel="),
    "unknown keyword": (keyword_changer(attention=True), "unknown keyword attention"),
    "component": (break_component, "Gs: mapping is not a network"),
    "component function": (change_component, "mapping was built by G_mapping; only G_mapping_w"),
    "another component": (add_component, "unknown component evil"),
    "nested component": (nest_component, "unknown component mapping"),
}


@pytest.mark.parametrize("name", STATE_CHANGES)
def test_published_networks_of_another_kind(name, reference):
    change, wanted = STATE_CHANGES[name]
    everything = states(reference)
    change(everything[3].state)
    with pytest.raises(UserError) as caught:
        legacy.convert(everything, "x.pkl")
    assert str(caught.value).startswith("x.pkl: Gs")
    assert wanted in str(caught.value)


def test_keywords_that_change_nothing_are_accepted(reference):
    everything = states(reference)
    for item in everything:
        item.state["static_kwargs"].update(
            resample_kernel=(1, 3, 3, 1), truncation_psi=0.5, dtype="float32"
        )
    assert legacy.convert(everything, "x.pkl").keys() == {"E", "G", "D", "Gs"}


def test_another_number_of_networks(reference):
    with pytest.raises(UserError, match=r"x\.pkl holds 3 networks; .* holds E, G, D, Gs"):
        legacy.convert(states(reference)[:3], "x.pkl")


def test_a_published_snapshot_that_carries_a_call(reference, tmp_path):
    """The call stands where the published files have their source text."""
    marker = tmp_path / "marker"
    data = (reference / "snapshot_resnet_skip_16.pkl").read_bytes()
    key = b"X\x10\x00\x00\x00build_module_src"
    command = f"touch {marker}".encode()
    call = b"cos\nsystem\n(X" + len(command).to_bytes(4, "little") + command + b"tR"
    at = data.index(key) + len(key) + 2  # behind the key and its BINPUT
    path = tmp_path / "hostile.pkl"
    path.write_bytes(data[:at] + call + data[at:])
    assert load_failure(path) == (
        f"{path} asks for os.system, which no snapshot needs; refused, nothing was run"
    )
    assert not marker.exists()


def test_source_text_is_not_run(reference, tmp_path):
    marker = tmp_path / "marker"
    data = (reference / "snapshot_resnet_skip_16.pkl").read_bytes()
    old = b"# source text removed\n"
    new = f"open({str(marker)!r}, 'w')\n".encode()
    prefix = b"X"
    changed = data.replace(
        prefix + len(old).to_bytes(4, "little") + old, prefix + len(new).to_bytes(4, "little") + new
    )
    assert changed != data
    path = tmp_path / "source.pkl"
    path.write_bytes(changed)
    assert load_networks(path).generator.resolution == 16
    assert not marker.exists()
