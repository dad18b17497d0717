"""StyleGAN2-ADA's PyTorch layout, written: what the original code wrote, module by module."""

import collections
import importlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnnlib import safe_pickle, torch_pickle
from dnnlib.errors import UserError
from dnnlib.pickle_values import Inert
from tests.support.adopted import save_adopted
from tests.support.paths import REFERENCE
from training.models.adopting import load_original
from training.models.layouts import export_snapshot
from training.models.snapshot import load_networks, save_snapshot
from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

NAMES = ("plain_skip_16", "plain_resnet_32_labels")
SIZE = {"resolution": 16, "fmap_base": 64, "fmap_max": 8, "num_channels": 1}
WIDTHS = {"dlatent_size": 6, "mapping_fmaps": 7, "mapping_layers": 3, "mapping_lrmul": 0.1}


def read(path: Path) -> dict[str, Any]:
    return safe_pickle.load(path, torch_pickle.names(), str(path))


def export(source: Path, out: Path) -> Path:
    export_snapshot(source, "torch", out)
    return out


def save(path: Path, generator: dict[str, Any], discriminator: dict[str, Any]) -> Path:
    """A snapshot with the seeds of its networks for values."""
    made = [
        StyleGAN2Generator(
            StyleGAN2GeneratorConfig(**{**SIZE, **WIDTHS, "latent_size": 5, **generator}), seed=seed
        )
        for seed in (1, 2)
    ]
    kwargs = StyleGAN2DiscriminatorConfig(**SIZE, **discriminator)
    save_snapshot(path, G=made[0], D=StyleGAN2Discriminator(kwargs, seed=3), Gs=made[1])
    return path


def same(one: Any, other: Any, path: str = "") -> None:
    """Classes, attributes, order and numbers of all modules."""
    assert type(one) is type(other), path
    if isinstance(one, Inert):
        assert one.class_name == other.class_name, path
        same(one.state, other.state, path)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        if path.endswith(("_modules", "_parameters")):
            assert list(one) == list(other), path
        for name, value in one.items():
            same(value, other[name], f"{path}/{name}")
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=path)
        assert (one.dtype, one.strides) == (other.dtype, other.strides), path
    else:
        assert one == other, path


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_those_that_the_original_code_wrote(tmp_path: Path, name: str) -> None:
    source = REFERENCE / f"{name}_torch.pkl"
    theirs, ours = read(source), read(export(source, tmp_path / "x.pkl"))
    assert ours.keys() == theirs.keys()
    for slot in ("G", "D", "G_ema"):
        same(theirs[slot], ours[slot], slot)


def compare(before: Path, after: Path) -> None:
    """Every network, read back. Their style biases are larger by 1, which costs the last bit."""
    first, second = load_networks(before), load_networks(after)
    for slot in ("G", "D", "Gs"):
        one, other = getattr(first, slot), getattr(second, slot)
        unsaid = {"stored_noise"}  # files of this layout always have it so
        if slot == "D" and not one.kwargs["label_size"]:
            unsaid |= {key for key in one.kwargs if key.startswith("mapping") or "dlatent" in key}
        if not one.kwargs["label_size"]:
            unsaid |= {"label_fmaps"}
        for key in one.kwargs.keys() - unsaid:
            assert one.kwargs[key] == other.kwargs[key], (slot, key)
        values = other.named_variables()
        assert values.keys() == one.named_variables().keys()
        for key, value in one.named_variables().items():
            if key.endswith("/mod_bias"):
                np.testing.assert_allclose(value, values[key], rtol=0, atol=1.2e-7)
            else:
                np.testing.assert_array_equal(value, values[key], err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_files_of_tensorflow_are_read_back(tmp_path: Path, name: str) -> None:
    source = REFERENCE / f"{name}_tf.pkl"
    compare(source, export(source, tmp_path / "x.pkl"))


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        ({"architecture": "orig", "conv_clamp": 256.0}, {"architecture": "skip"}),
        (
            {"architecture": "resnet", "label_size": 3, "label_fmaps": 4, "mapping_act": "relu"},
            {"architecture": "orig", "label_size": 3, **WIDTHS, "label_fmaps": 4}
            | {"mbstd_group_size": 2, "conv_clamp": 256.0},
        ),
    ],
)
def test_keywords_are_read_back(
    tmp_path: Path, generator: dict[str, Any], discriminator: dict[str, Any]
) -> None:
    source = save(tmp_path / "ours.pkl", generator, discriminator)
    compare(source, export(source, tmp_path / "x.pkl"))


def test_what_was_written_can_be_adopted(tmp_path: Path) -> None:
    """So instances can be made of it: its numbers lie in it as they are."""
    path = export(REFERENCE / "plain_skip_16_tf.pkl", tmp_path / "x.pkl")
    original = load_original(path)
    np.testing.assert_array_equal(original.file, np.fromfile(path, np.uint8))


def test_the_user_hears_of_noise(tmp_path: Path) -> None:
    out = tmp_path / "x.pkl"
    note = export_snapshot(REFERENCE / "plain_skip_16_tf.pkl", "torch", out)
    assert note.startswith("pictures by seed take the noise that is stored")
    assert export_snapshot(out, "torch", tmp_path / "y.pkl") == ""
    assert out.read_bytes() == (tmp_path / "y.pkl").read_bytes()


@pytest.mark.parametrize(
    ("generator", "text"),
    [
        ({"fmap_decay": 0.5}, "has fmap_decay=0.5 and fmap_min=1, which give other channels"),
        ({"mapping_act": "sigmoid"}, "has mapping_act=sigmoid; take --layout=npz"),
    ],
)
def test_what_that_code_has_no_keyword_for(
    tmp_path: Path, generator: dict[str, Any], text: str
) -> None:
    source = save(tmp_path / "ours.pkl", {"fmap_max": 64, **generator}, {})
    with pytest.raises(UserError, match=text):
        export(source, tmp_path / "x.pkl")
    assert not (tmp_path / "x.pkl").exists()


def test_other_networks_are_refused(tmp_path: Path) -> None:
    save_adopted(tmp_path / "adopted.pkl", REFERENCE / "plain_skip_16_tf.pkl")
    with pytest.raises(UserError, match="holds an adopted generator; `issue` writes instances"):
        export(tmp_path / "adopted.pkl", tmp_path / "x.pkl")
    with pytest.raises(UserError, match="only plain StyleGAN2 has this layout, take --layout=npz"):
        export(REFERENCE / "snapshot_resnet_skip_16.pkl", tmp_path / "x.pkl")
    networks = load_networks(REFERENCE / "plain_skip_16_tf.pkl")
    save_snapshot(tmp_path / "alone.pkl", Gs=networks.Gs)
    with pytest.raises(UserError, match="lacks G and D: such a file holds G, D and Gs"):
        export(tmp_path / "alone.pkl", tmp_path / "x.pkl")


def test_the_source_text_is_one_import(tmp_path: Path) -> None:
    """No line of the original code; and what Python's own unpickler is asked for, by name."""
    path = export(REFERENCE / "plain_resnet_32_labels_torch.pkl", tmp_path / "x.pkl")
    sources: dict[str, str] = {}
    names: set[str] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.add(f"{module}.{name}")
            if name == "_reconstruct_persistent_obj":
                return lambda meta: sources.update({meta["class_name"]: meta["module_src"]})
            return {"OrderedDict": collections.OrderedDict, "set": set}.get(
                name, lambda *args: None
            )

    with open(path, "rb") as file:
        content = Unpickler(file).load()
    assert set(content) == {"training_set_kwargs", "augment_pipe", "G", "D", "G_ema"}
    assert len(sources) == 12
    for class_name, source in sources.items():
        *comments, line = source.splitlines()
        assert line == f"from training.networks import {class_name}"
        assert all(comment.startswith("#") for comment in comments)
    assert names == {
        "torch_utils.persistence._reconstruct_persistent_obj",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage._load_from_bytes",
        "collections.OrderedDict",
        "builtins.set",
    }


def test_pytorch_reads_the_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own unpickler, where it is installed."""
    torch = pytest.importorskip("torch", reason="PyTorch is not needed here, and not installed")
    persistence = types.ModuleType("torch_utils.persistence")

    def reconstruct(meta: dict[str, Any]) -> Any:
        made = torch.nn.Module()
        made.__setstate__(meta["state"])
        return made

    persistence._reconstruct_persistent_obj = reconstruct  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", persistence)
    importlib.invalidate_caches()
    source = REFERENCE / "plain_resnet_32_labels_torch.pkl"
    paths = (source, export(source, tmp_path / "x.pkl"))
    first, second = (pickle.loads(path.read_bytes()) for path in paths)
    for slot in ("G", "D", "G_ema"):
        theirs, ours = first[slot].state_dict(), second[slot].state_dict()
        assert list(theirs) == list(ours)
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
