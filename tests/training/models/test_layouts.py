"""Snapshots for other programs: what a published loader makes of them, and read back."""

import json
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from tests.support import published_loader
from tests.support.paths import REFERENCE, ROOT
from training.models import arrays_file, legacy
from training.models.hashes import hashes_of
from training.models.layouts import export_snapshot
from training.models.snapshot import load_networks, read_snapshot, save_snapshot
from training.networks.table import build

PUBLISHED = ("resnet_skip_16", "skip_resnet_32", "skip_resnet_32_widths")
SLOTS = ("E", "G", "D", "Gs")
SIZES = {"resolution": 8, "num_channels": 1, "fmap_base": 32, "fmap_max": 8, "fmap_decay": 0.9}
CODES = {"latent_size": 6, "fingerprint_size": 5}
GENERATOR = {
    **SIZES,
    **CODES,
    "dlatent_size": 7,
    "mapping_fmaps": 9,
    "mapping_layers": 2,
    "mapping_lrmul": 0.5,
    "architecture": "resnet",
    "modulated_min_log2": 3,
    "modulated_max_log2": 3,
}


def networks(**generator: Any) -> dict[str, Any]:
    kwargs = GENERATOR | generator
    return {
        "E": build("Decoder", {**SIZES, **CODES, "architecture": "orig"}, seed=1),
        "G": build("Generator", kwargs, seed=2),
        "D": build("Discriminator", {**SIZES, "mbstd_group_size": 2}, seed=3),
        "Gs": build("Generator", kwargs, seed=4),
    }


def snapshot(folder: Path, **generator: Any) -> Path:
    path = folder / "network-final.pkl"
    save_snapshot(path, **networks(**generator), position={"kimg": 12.5, "config": "x"})
    return path


def assert_equal_files(a: Path, b: Path, slots: tuple[str, ...] = SLOTS) -> None:
    """All variables to the bit, all keywords."""
    first, second = load_networks(a), load_networks(b)
    for slot in slots:
        ours, theirs = getattr(first, slot), getattr(second, slot)
        assert ours.kwargs == theirs.kwargs
        other = theirs.named_variables()
        assert set(ours.named_variables()) == set(other)
        for name, variable in ours.named_variables().items():
            assert variable.numpy().tobytes() == other[name].numpy().tobytes(), name


def states(path: Path) -> Any:
    return safe_pickle.load(path, legacy.ALLOW)


# ---- The published layout.


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    """State for state: names, order, values; the keywords are those that it had, and more."""
    source, out = REFERENCE / f"snapshot_{name}.pkl", tmp_path / "out.pkl"
    assert export_snapshot(source, "published", out) == ""
    assert_equal_files(source, out)

    def compare(ours: Any, theirs: Any) -> None:
        assert ours.class_name == theirs.class_name == "dnnlib.tflib.network.Network"
        a, b = ours.state, theirs.state
        assert list(a) == list(b)
        for key in ("version", "name", "build_func_name"):
            assert a[key] == b[key]
        assert [n for n, _ in a["variables"]] == [n for n, _ in b["variables"]]
        for (_, x), (_, y) in zip(a["variables"], b["variables"], strict=True):
            np.testing.assert_array_equal(x, y, strict=isinstance(y, np.ndarray))
            assert type(x) is type(y)
        how_to_run = {"randomize_noise", "fused_modconv"}
        assert {k: v for k, v in b["static_kwargs"].items() if k not in how_to_run}.items() <= a[
            "static_kwargs"
        ].items()
        assert list(a["components"]) == list(b["components"])
        for key, component in a["components"].items():
            compare(component, b["components"][key])

    for ours, theirs in zip(states(out), states(source), strict=True):
        compare(ours, theirs)


def test_only_names_and_operations_of_the_published_files(tmp_path: Path) -> None:
    source, out = REFERENCE / "snapshot_skip_resnet_32.pkl", tmp_path / "out.pkl"
    export_snapshot(snapshot(tmp_path), "published", out)

    def used(path: Path) -> tuple[set[str], int]:
        operations = list(pickletools.genops(path.read_bytes()))
        names = {str(arg) for opcode, arg, _ in operations if opcode.name == "GLOBAL"}
        return names, max(opcode.proto for opcode, _, _ in operations)

    assert used(out) == used(source)


@pytest.mark.parametrize("name", ["ours", "mapping_act", *PUBLISHED])
def test_the_published_loader_reads_it(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.pkl"
    if name in PUBLISHED:
        source = REFERENCE / f"snapshot_{name}.pkl"
    else:
        source = snapshot(tmp_path, mapping_act="lrelu" if name == "ours" else "linear")
    export_snapshot(source, "published", out)
    read = published_loader.load(out.read_bytes())
    assert isinstance(read, tuple)
    assert [network.name for network in read] == list(SLOTS)
    wanted = load_networks(source)
    for slot, network in zip(SLOTS, read, strict=True):
        ours = getattr(wanted, slot)
        values = network.all_variables()
        if slot in ("G", "Gs"):
            assert values.pop("lod") == 0
            assert values.pop("dlatent_avg").shape == (ours.config.dlatent_size,)
            mapping = network.components.mapping
            assert mapping.build_function == "G_mapping_watermark"
            assert mapping.static_kwargs.dlatent_broadcast == ours.synthesis.num_slots
            assert mapping.static_kwargs.watermark_size == ours.fingerprint_size
            assert network.components.synthesis.build_function == "G_synthesis_stylegan2"
            act = network.static_kwargs.get("mapping_nonlinearity", "lrelu")
            assert act == ours.config.mapping_act
        variables = ours.named_variables()
        assert set(values) == set(variables)
        for key, value in values.items():
            np.testing.assert_array_equal(value, variables[key].numpy(), key)
        assert network.static_kwargs.resolution == ours.resolution
        assert network.static_kwargs.label_size == 0
    functions = [network.build_function for network in read]
    generator = "G_main_watermark"
    assert functions == ["E_stylegan2_watermark", generator, "D_stylegan2", generator]


def test_the_source_text_is_one_import_of_ours(tmp_path: Path) -> None:
    out = tmp_path / "out.pkl"
    export_snapshot(snapshot(tmp_path), "published", out)
    for network in states(out):
        lines = network.state["build_module_src"].splitlines()
        function = network.state["build_func_name"]
        assert lines[0].startswith("#")
        assert lines[1:] == [f"from training.networks_stylegan2 import {function}"]


@pytest.mark.parametrize("act", ["lrelu", "linear"])
def test_ours_is_read_back_equal(act: str, tmp_path: Path) -> None:
    source = snapshot(tmp_path, mapping_act=act)
    for layout in ("published", "npz"):
        out = tmp_path / f"out.{layout}"
        assert export_snapshot(source, layout, out) == ""
        assert_equal_files(source, out)
        # A registry knows it as the same model.
        assert hashes_of(read_snapshot(out)[0]) == hashes_of(read_snapshot(source)[0])


def test_an_average_of_styles_that_a_file_has_is_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pkl", tmp_path / "second.pkl"
    export_snapshot(snapshot(tmp_path), "published", first)
    data = first.read_bytes()
    average = np.arange(1, 8, dtype=np.float32)
    changed = data.replace(b"\x1c\x00\x00\x00" + bytes(28), b"\x1c\x00\x00\x00" + average.tobytes())
    assert changed != data
    first.write_bytes(changed)
    export_snapshot(first, "published", second)
    assert second.read_bytes() == changed
    export_snapshot(first, "npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["Gs/dlatent_avg"], average)


@pytest.mark.parametrize("act", ["lrelu", "linear"])
def test_centred_bits_become_a_part_of_the_weights(act: str, tmp_path: Path) -> None:
    out = tmp_path / "out.pkl"
    source = snapshot(tmp_path, center_bits=True, mapping_act=act)
    assert "centred bits" in export_snapshot(source, "published", out)
    before, after = load_networks(source).Gs, load_networks(out).Gs
    assert before is not None
    assert after is not None
    assert before.kwargs == after.kwargs | {"center_bits": True}
    rnd = np.random.default_rng(0)
    latents = tf.constant(rnd.standard_normal([4, 6]), tf.float32)
    bits = tf.constant(rnd.integers(0, 2, [4, 5]), tf.float32)
    np.testing.assert_allclose(
        after.map_fingerprints(bits), before.map_fingerprints(bits), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(after(latents, bits), before(latents, bits), rtol=0, atol=1e-4)
    # As it is in the other layout.
    export_snapshot(source, "npz", tmp_path / "out.npz")
    assert_equal_files(source, tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("slots", "missing"),
    [
        (("E", "G", "Gs"), "lacks D:"),
        (("G", "D", "Gs"), "lacks E:"),
        (("Gs",), "lacks E and G and D:"),
    ],
)
def test_what_is_missing_is_said(slots: tuple[str, ...], missing: str, tmp_path: Path) -> None:
    source, out = tmp_path / "some.pkl", tmp_path / "out.pkl"
    save_snapshot(source, **{slot: networks()[slot] for slot in slots})
    with pytest.raises(UserError) as caught:
        export_snapshot(source, "published", out)
    assert str(caught.value).startswith(f"{source} {missing} a published snapshot is E, G, D and")
    assert "\n" not in str(caught.value)
    assert not out.exists()
    export_snapshot(source, "npz", out)
    assert_equal_files(source, out, slots)


def test_an_instance_has_no_published_form(tmp_path: Path) -> None:
    source = tmp_path / "some.pkl"
    instance = build("PlainGenerator", {**SIZES, **CODES}, seed=1)
    save_snapshot(source, **networks() | {"Gs": instance})
    with pytest.raises(UserError, match=r"Gs is an instance, which the published code cannot"):
        export_snapshot(source, "published", tmp_path / "out.pkl")
    save_snapshot(source, Gs=instance)
    export_snapshot(source, "npz", tmp_path / "out.npz")
    assert_equal_files(source, tmp_path / "out.npz", ("Gs",))


# ---- Plain arrays.


def test_the_archive_is_arrays_and_one_text(tmp_path: Path) -> None:
    source, out = snapshot(tmp_path), tmp_path / "out.npz"
    export_snapshot(source, "npz", out)
    written = networks()
    with np.load(out, allow_pickle=False) as archive:
        wanted = {f"{slot}/{name}" for slot in SLOTS for name in written[slot].named_variables()}
        assert set(archive.files) == {"configurations", *wanted}
        for slot, network in written.items():
            for name, variable in network.named_variables().items():
                value = archive[f"{slot}/{name}"]
                np.testing.assert_array_equal(value, variable.numpy(), strict=True)
        described = json.loads(str(archive["configurations"]))
    assert described["position"] == {"kimg": 12.5, "config": "x"}
    assert described["networks"]["D"] == {
        "class": "Discriminator",
        "kwargs": written["D"].kwargs,
    }
    again = tmp_path / "again.npz"
    export_snapshot(out, "npz", again)  # an archive is a snapshot like any other
    assert again.read_bytes() == out.read_bytes()
    assert read_snapshot(out)[1] == {"kimg": 12.5, "config": "x"}


def test_archives_that_numpy_compressed_are_read(tmp_path: Path) -> None:
    source, out = snapshot(tmp_path), tmp_path / "out.npz"
    export_snapshot(source, "npz", out)
    with np.load(out) as archive:
        arrays = {name: np.array(archive[name], order="F") for name in archive.files}
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    assert_equal_files(source, tmp_path / "small.npz")


def load_failure(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_networks(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"configurations": None}, "archive without the text configurations"),
    "no JSON": ({"configurations": np.array("{")}, "is no JSON text"),
    "deep": ({"configurations": np.array("[" * 100_000)}, "is no JSON text"),
    "a list": ({"configurations": np.array("[]")}, "names no networks"),
    "numbers": ({"configurations": np.zeros(2)}, "archive without the text configurations"),
    "other slot": ({"F/x": np.zeros(2)}, "has the array F/x, which is of no network"),
    "more": ({"E/x": np.zeros(2)}, "E has the variable x"),
    "less": ({"E/Output/bias": None}, "E lacks the variable Output/bias"),
    "shape": ({"E/Output/bias": np.zeros(2)}, "the variable Output/bias has shape (2,)"),
    "integers": ({"E/Output/bias": np.zeros(11, int)}, "an array of type int64"),
    "objects": ({"E/Output/bias": np.array([{}], object)}, "an array of type object"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_archives_that_do_not_fit(name: str, tmp_path: Path) -> None:
    changes, wanted = CHANGES[name]
    out = tmp_path / "out.npz"
    export_snapshot(snapshot(tmp_path), "npz", out)
    with np.load(out) as archive:
        arrays = dict(archive) | changes
    np.savez(out, **{key: value for key, value in arrays.items() if value is not None})
    assert wanted in load_failure(out)


def test_archives_that_are_damaged_or_claim_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npz"
    export_snapshot(snapshot(tmp_path), "npz", out)
    whole = out.read_bytes()
    bad = tmp_path / "bad.npz"
    for data in (whole[:-50], whole[:4], whole.replace(b"'fortran_order'", b"'fortran_ord(r'")):
        bad.write_bytes(data)
        assert "is not a complete .npz snapshot" in load_failure(bad)
    monkeypatch.setattr(arrays_file, "MAX_BYTES", 1000)
    assert "is larger than" in load_failure(out)


def test_the_sample_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"portraits-32\.pkl lacks G and D"):
        export_snapshot(ROOT / "models" / "portraits-32.pkl", "published", tmp_path / "out.pkl")
