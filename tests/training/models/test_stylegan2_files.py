"""Snapshots of StyleGAN2 in TensorFlow's and PyTorch's layout: what is read, what is refused."""

import copy

import numpy as np
import pytest

from dnnlib import safe_pickle, torch_pickle
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE
from tests.support.stylegan2 import FILES, NAMES
from training.models import legacy, snapshot, torch_layout
from training.models.snapshot import load_networks, read_snapshot, save_snapshot

ALLOW = {**legacy.ALLOW, **torch_pickle.names()}
TORCH = REFERENCE / "plain_resnet_32_labels_torch.pkl"
TF = REFERENCE / "plain_resnet_32_labels_tf.pkl"


def content(path):
    return copy.deepcopy(safe_pickle.load(path, {**legacy.ALLOW, **torch_pickle.names()}))


@pytest.mark.parametrize("name", NAMES)
def test_both_layouts_hold_the_same(name):
    tf_file, _ = read_snapshot(REFERENCE / f"{name}_tf.pkl")
    torch_file, _ = read_snapshot(REFERENCE / f"{name}_torch.pkl")
    assert list(tf_file) == list(torch_file) == ["G", "D", "Gs"]
    for slot, ours in tf_file.items():
        theirs = torch_file[slot]
        assert ours.variables.keys() == theirs.variables.keys()
        for key, value in ours.variables.items():
            tolerance = 1e-6 if key.endswith("mod_bias") else 0
            np.testing.assert_allclose(theirs.variables[key], value, rtol=0, atol=tolerance)
        differ = {k for k, v in ours.kwargs.items() if theirs.kwargs.get(k, v) != v}
        assert differ <= {"stored_noise", "label_fmaps"}
    assert torch_file["Gs"].kwargs["stored_noise"]
    assert "stored_noise" not in tf_file["Gs"].kwargs


@pytest.mark.parametrize(("name", "ending"), FILES)
def test_a_snapshot_of_ours_is_the_same(name, ending, tmp_path):
    found = load_networks(REFERENCE / f"{name}_{ending}")
    save_snapshot(tmp_path / "x.pkl", G=found.G, D=found.D, Gs=found.Gs)
    again = load_networks(tmp_path / "x.pkl")
    for slot in ("G", "D", "Gs"):
        ours, theirs = getattr(again, slot), getattr(found, slot)
        assert ours.config == theirs.config
        for key, variable in ours.named_variables().items():
            np.testing.assert_array_equal(variable, theirs.named_variables()[key])
    with pytest.raises(UserError, match=r"x\.pkl is plain StyleGAN2, .* fingerprinted model"):
        _ = again.fingerprinted
    with pytest.raises(UserError, match=r"x\.pkl holds no decoder"):
        _ = again.decoder


@pytest.mark.parametrize(("name", "ending"), FILES)
def test_where_in_the_file_every_array_lies(name, ending):
    path = REFERENCE / f"{name}_{ending}"
    data = path.read_bytes()
    networks, _ = read_snapshot(path)
    changed = {"mod_bias"} if ending == "torch.pkl" else set()
    found = 0
    for key, value in networks["Gs"].variables.items():
        position = safe_pickle.position_in_file(np.asarray(value))
        if key.rpartition("/")[2] in changed:
            assert position is None
        elif value.flags.c_contiguous:
            assert position is not None
            assert data[position : position + value.nbytes] == value.tobytes()
            found += 1
    assert found > 20


def test_the_tensors_of_a_file_as_they_are():
    data = TORCH.read_bytes()
    tensors = dict(torch_layout.tensors(content_of_views()["G_ema"], "x"))
    biases = {path: value for path, value in tensors.items() if path.endswith("affine.bias")}
    assert len(biases) == 8
    for value in biases.values():
        position = safe_pickle.position_in_file(value)
        assert data[position : position + value.nbytes] == value.tobytes()


def content_of_views():
    return safe_pickle.load(TORCH, ALLOW)


def refusal(path):
    with pytest.raises(UserError) as caught:
        load_networks(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", [TF, TORCH])
def test_truncated_files(path, tmp_path):
    data = path.read_bytes()
    cut = tmp_path / "cut.pkl"
    for size in (0, 1, 100, len(data) // 3, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:size])
        assert "cut.pkl is not a complete snapshot" in refusal(cut)


# ---- Modules that are no StyleGAN2.


def generator():
    return content(TORCH)["G_ema"]


def convert(module):
    return torch_layout.convert({"G_ema": module}, "x.pkl")


def build(read, content):
    """Reads networks and builds the average."""
    return snapshot.build_network(read(content)["Gs"], "x.pkl: Gs")


def changed(change):
    module = generator()
    change(module.state)
    with pytest.raises(UserError) as caught:
        build(convert, module)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def synthesis(state):
    return state["_modules"]["synthesis"].state


def block(state, name="b8"):
    return synthesis(state)["_modules"][name].state


def conv0(state):
    return block(state)["_modules"]["conv0"].state


CHANGES = {
    "StyleGAN3": (
        lambda s: synthesis(s)["_modules"].update(
            input=safe_pickle.Inert("SynthesisInput", {"_modules": {}})
        ),
        "is a StyleGAN3 network",
    ),
    "positional": (lambda s: s.update(_init_args=(512,)), "keywords that have no names"),
    "unknown keyword": (lambda s: s["_init_kwargs"].update(x=1), "the unknown keyword x"),
    "no dict of keywords": (lambda s: s.update(_init_kwargs=[1]), "proper _init_kwargs"),
    "nested no dict": (lambda s: s["_init_kwargs"].update(mapping_kwargs=3), "mapping_kwargs"),
    "another activation": (
        lambda s: s["_init_kwargs"]["synthesis_kwargs"].update(activation="relu"),
        "activation=relu; only 'lrelu' is supported",
    ),
    "another filter": (
        lambda s: s["_init_kwargs"]["synthesis_kwargs"].update(resample_filter=[1, 2, 1]),
        "resample_filter=",
    ),
    "filter tensor": (
        lambda s: conv0(s)["_buffers"].update(resample_filter=np.ones([4, 4], np.float32)),
        "synthesis.b8.conv0.resample_filter is not [1, 3, 3, 1]",
    ),
    "unknown tensor": (
        lambda s: conv0(s)["_buffers"].update(magnitude_ema=np.ones([], np.float32)),
        "tensor synthesis.b8.conv0.magnitude_ema",
    ),
    "missing tensor": (
        lambda s: conv0(s)["_parameters"].pop("bias"),
        "lacks the variable G_synthesis/8x8/Conv0_up/bias",
    ),
    "no tensor": (lambda s: conv0(s)["_parameters"].update(bias=[1.0]), "bias is no tensor"),
    "integers": (
        lambda s: conv0(s)["_parameters"].update(bias=np.ones([24], np.int64)),
        "Conv0_up/bias is not an array of floats",
    ),
    "another shape": (
        lambda s: conv0(s)["_parameters"].update(weight=np.ones([24], np.float32)),
        "Conv0_up/weight has shape (24,)",
    ),
    "no module": (lambda s: s["_modules"].update(synthesis=[]), "is not a network"),
    "no modules": (lambda s: s.update(_modules=3), "without proper _modules"),
    "resolution": (lambda s: s["_init_kwargs"].update(img_resolution="32"), "resolution=32"),
    "huge": (lambda s: s["_init_kwargs"].update(img_resolution=1 << 14), "of at least"),
    "absurd": (lambda s: s["_init_kwargs"].update(img_resolution=1 << 40), "resolution="),
    "width": (
        lambda s: s["_init_kwargs"]["synthesis_kwargs"].update(channel_base=None),
        "fmap_base=None",
    ),
    "layers": (
        lambda s: s["_init_kwargs"]["mapping_kwargs"].update(num_layers=0),
        "mapping_layers=0",
    ),
    "classes": (lambda s: s["_init_kwargs"].update(c_dim=-1), "label_size=-1"),
    "clamp": (
        lambda s: block(s, "b4")["_modules"]["conv1"].state.update(conv_clamp=float("nan")),
        "conv_clamp=nan",
    ),
    "many tensors": (
        lambda s: synthesis(s)["_modules"].update(
            {f"b{2**20 + n}": synthesis(s)["_modules"]["b8"] for n in range(200)}
        ),
        "more or larger tensors than any network",
    ),
    "large bias": (
        lambda s: (
            conv0(s)["_modules"]["affine"]
            .state["_parameters"]
            .update(bias=np.broadcast_to(np.float32(0), [1 << 30]))
        ),
        "more or larger tensors than any network",
    ),
    "long name": (
        lambda s: conv0(s)["_buffers"].update({"a" * 5000: np.ones([], np.float32)}),
        "aaa...",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_modules_of_another_kind_are_refused(name):
    change, wanted = CHANGES[name]
    assert wanted in changed(change)


def test_the_unchanged_module_is_read():
    assert build(convert, generator()).resolution == 32


def test_a_clamp_is_that_of_the_layers():
    module = generator()
    block(module.state, "b4")["_modules"]["conv1"].state["conv_clamp"] = 256
    assert convert(module)["Gs"].kwargs["conv_clamp"] == 256


def test_another_class_is_refused():
    module = generator()
    module.class_name = "AugmentPipe"
    with pytest.raises(UserError, match=r"G_ema is a AugmentPipe; only StyleGAN2's"):
        convert(module)


@pytest.mark.parametrize(
    ("function", "kind"), [("G_style", "StyleGAN1"), ("G_paper", "Progressive GAN")]
)
def test_older_networks_are_refused_by_name(function, kind):
    networks = content(TF)
    networks[0].state["build_func_name"] = function
    with pytest.raises(UserError, match=rf"x\.pkl: G is a {kind} network; only StyleGAN2's"):
        legacy.convert(networks, "x.pkl")


TF_CHANGES = {
    "unknown keyword": (lambda s: s["static_kwargs"].update(x=1), "the unknown keyword x"),
    "no normalisation": (
        lambda s: s["static_kwargs"].update(normalize_latents=False),
        "normalize_latents=False; only True",
    ),
    "no noise": (lambda s: s["static_kwargs"].update(use_noise=False), "use_noise=False"),
    "no average": (lambda s: s["variables"].clear(), "lacks the variable dlatent_avg"),
    "another component": (
        lambda s: s["components"]["mapping"].state.update(build_func_name="G_mapping_watermark"),
        "only G_mapping can be read",
    ),
    "labels as at first": (
        lambda s: (
            s["components"]["mapping"]
            .state["variables"]
            .append(("LabelConcat/weight", np.zeros([5, 16], np.float32)))
        ),
        "takes labels as StyleGAN2's first code did (LabelConcat)",
    ),
    "clamp": (lambda s: s["static_kwargs"].update(conv_clamp="x"), "conv_clamp=x is not possible"),
}


@pytest.mark.parametrize("name", TF_CHANGES)
def test_tensorflow_networks_of_another_kind(name):
    change, wanted = TF_CHANGES[name]
    networks = content(TF)
    change(networks[2].state)
    with pytest.raises(UserError) as caught:
        build(lambda content: legacy.convert(content, "x.pkl"), networks)
    assert wanted in str(caught.value)


def test_one_network_alone():
    networks = content(TF)
    assert list(legacy.convert(networks[2], "x.pkl")) == ["Gs"]
    assert legacy.convert(networks[2], "x.pkl")["Gs"].class_name == "StyleGAN2Generator"
