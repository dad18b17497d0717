"""Snapshots for the published code and for NumPy alone, and back."""

import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import run_generator
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE, ROOT
from tests.support.tiny_networks import tiny_generator
from training.models.published import save_published
from training.models.snapshot import build_networks, load_networks, read_snapshot, save_snapshot

SNAPSHOTS = sorted(REFERENCE.glob("snapshot_*.pkl"))


def export(tmp_path: Path, source: Path, layout: str) -> Path:
    out = tmp_path / f"out.{'pkl' if layout == 'published' else 'npz'}"
    run_generator.main(["export", f"--network={source}", f"--layout={layout}", f"--out={out}"])
    return out


class Network:
    """Does what the published loader does with a state, but for building a graph."""

    static_kwargs: dict[str, Any]
    variables: dict[str, np.ndarray]
    components: dict[str, "Network"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        assert state["version"] in (2, 3, 4)
        self.name = state["name"]
        self.static_kwargs = state["static_kwargs"]
        self.components = state.get("components", {})
        # It runs the text in a new module and takes the function from it by name.
        module = types.ModuleType("_tflib_network_import")
        module.__dict__["__builtins__"] = {"__import__": _import_published}
        exec(state["build_module_src"], module.__dict__)
        assert module.__dict__[state["build_func_name"]] == state["build_func_name"]
        self.variables = dict(state["variables"])


FUNCTIONS = (
    "G_main_watermark", "G_mapping_watermark", "G_synthesis_stylegan2", "D_stylegan2",
    "E_stylegan2_watermark",
)  # fmt: skip


def _import_published(name: str, *_: Any) -> types.ModuleType:
    assert name == "training.networks_stylegan2"
    module = types.ModuleType(name)
    module.__dict__.update({function: function for function in FUNCTIONS})
    return module


class Unpickler(pickle.Unpickler):
    """Finds what a Python with the published code and NumPy 1 finds, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dnnlib.tflib.network", "Network"):
            return Network
        assert not module.startswith("numpy._core"), "NumPy 1 has no numpy._core"
        assert module.split(".")[0] in ("numpy", "_codecs"), (module, name)
        return super().find_class(module, name)


@pytest.mark.parametrize("source", SNAPSHOTS, ids=lambda path: path.stem)
def test_the_published_loader_reads_it(tmp_path: Path, source: Path) -> None:
    """All four networks, with the keywords and variables of the file that we have read."""
    path = export(tmp_path, source, "published")
    assert path.read_bytes()[:2] == b"\x80\x03"  # a protocol that old Pythons read
    with open(path, "rb") as file:
        ours = Unpickler(file).load()
    with open(source, "rb") as file:
        theirs = _Lenient(file).load()
    assert isinstance(ours, tuple)
    assert [network.name for network in ours] == ["E", "G", "D", "Gs"]
    for mine, published in zip(ours, theirs, strict=True):
        pairs = [(mine, published)]
        assert mine.components.keys() == published.components.keys()
        pairs += [(mine.components[key], published.components[key]) for key in mine.components]
        for one, other in pairs:
            assert one.name == other.name
            assert one.variables.keys() == other.variables.keys()
            for name, value in one.variables.items():
                assert value.dtype == np.float32
                if name != "dlatent_avg":  # which nothing uses
                    np.testing.assert_array_equal(value, np.asarray(other.variables[name]))
            common = one.static_kwargs.keys() & other.static_kwargs.keys()
            assert {k: one.static_kwargs[k] for k in common} == {
                k: other.static_kwargs[k] for k in common
            }
            # What the file has left out has to be what the published code takes for it.
            assert other.static_kwargs.keys() - common <= {"randomize_noise", "fused_modconv"}


class _Lenient(Unpickler):
    """For files of the reference, whose source text is a comment."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        return _Published if found is Network else found


class _Published(Network):
    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.variables = dict(state["variables"])


@pytest.mark.parametrize("layout", ["published", "npz"])
@pytest.mark.parametrize("source", SNAPSHOTS, ids=lambda path: path.stem)
def test_it_comes_back_equal(tmp_path: Path, source: Path, layout: str) -> None:
    before, _ = read_snapshot(source)
    after, position = read_snapshot(export(tmp_path, source, layout))
    assert position == {}
    assert before.keys() == after.keys()
    for slot, data in before.items():
        assert data.class_name == after[slot].class_name
        assert data.kwargs == after[slot].kwargs
        assert data.variables.keys() == after[slot].variables.keys()
        for name, value in data.variables.items():
            np.testing.assert_array_equal(value, after[slot].variables[name])
    build_networks(after, {}, "it")


def test_a_model_of_ours_as_arrays(tmp_path: Path) -> None:
    """With the linear mapping, which the published code does not know; pictures are the same."""
    source = ROOT / "models" / "emoji-32.pkl"
    found, _ = read_snapshot(source)
    four = {"E": found["E"], "G": found["Gs"], "D": found["E"], "Gs": found["Gs"]}
    with pytest.raises(UserError, match="--mapping=linear.*use --layout=npz"):
        save_published(tmp_path / "out.pkl", four, "x.pkl")
    assert not (tmp_path / "out.pkl").exists()
    path = export(tmp_path, source, "npz")
    folders = []
    for network in (source, path):
        run_generator.main(
            ["generate-images", f"--network={network}", f"--result-dir={tmp_path}", "--seeds=0-1"]
        )
        folders.append(sorted(tmp_path.glob("*-generate-images"))[-1])
    for name in ("seed0000.png", "seed0001.png", "fingerprints.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "a.pkl", Gs=tiny_generator(1))
    with pytest.raises(UserError, match="a.pkl lacks E, G, D: the published layout holds all"):
        export(tmp_path, tmp_path / "a.pkl", "published")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"PK\x03\x04"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="a.npz is no .npz file of networks"):
        load_networks(tmp_path / "a.npz")


def test_run_as_the_published_code_calls_it() -> None:
    """NCHW floats in minibatches; a transform; the noise stored or fresh."""
    source = SNAPSHOTS[1]
    gs = load_networks(source).fingerprinted
    rnd = np.random.RandomState(0)
    z = rnd.randn(5, gs.latent_size).astype(np.float32)
    bits = rnd.randint(0, 2, [5, gs.fingerprint_size])
    images = gs.run(z, bits, minibatch_size=2, randomize_noise=False)
    assert images.shape == (5, 3, gs.resolution, gs.resolution)
    expected = gs(tf.constant(z), tf.constant(bits, tf.float32)).numpy().transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images, expected, atol=1e-5)
    assert np.abs(gs.run(z, bits) - images).max() > 1e-3  # fresh noise
    doubled = gs.run(z, bits, randomize_noise=False, output_transform=lambda x: 2 * x)
    np.testing.assert_allclose(doubled, 2 * images, atol=1e-5)
    with pytest.raises(ValueError, match=r"fingerprints .*: expected \[5, 16\]"):
        gs.run(z, bits[:, :3])
    with pytest.raises(TypeError):
        gs.run(z, bits, truncation=1)  # type: ignore[call-arg]
