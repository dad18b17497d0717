"""Settings of a run: every preset, every option, every refusal."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from dnnlib.config import complete, from_dict, load_json, save_json, to_dict
from dnnlib.errors import UserError
from training.channels import CHANNELS
from training.config import (
    PRESETS,
    CheckpointConfig,
    LossConfig,
    ScheduleConfig,
    TickConfig,
    TrainConfig,
    find_preset,
    parse_modulated_range,
    setup_training_config,
)
from training.networks.configs import DecoderConfig, DiscriminatorConfig, GeneratorConfig
from training.networks.table import NETWORKS
from training.options import TrainOptions
from training.setup import make_networks

ARCHITECTURES = ("skip", "resnet", "orig")
# Name -> fmap_base, gamma, architecture of G, architecture of D and E.
PUBLISHED = {
    "config-e": (8192, 100.0, "skip", "resnet"),
    "config-f": (16384, 10.0, "skip", "resnet"),
    **{
        f"config-e-G{g}-D{d}": (8192, 100.0, g, d)
        for g, d in itertools.product(ARCHITECTURES, ARCHITECTURES)
    },
}


def setup(
    resolution: int = 128, num_channels: int = 3, dataset: str = "data", **options: Any
) -> TrainConfig:
    return setup_training_config(TrainOptions(dataset=dataset, **options), resolution, num_channels)


def test_the_command_line_starts_from_the_published_default() -> None:
    assert setup() == setup(config="config-e-Gskip-Dresnet")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_preset(name: str) -> None:
    fmap_base, gamma, g_architecture, d_architecture = PUBLISHED[name]
    images = {"resolution": 128, "num_channels": 3}
    fmaps = {"fmap_base": fmap_base, "fmap_max": 512}
    sizes = {"latent_size": 512, "fingerprint_size": 128}
    assert setup(config=name) == TrainConfig(
        config=name,
        dataset="data",
        data_dir="datasets",
        num_bits=128,
        modulated_log2=(2, 7),
        total_kimg=88000.0,
        minibatch=8,
        minibatch_gpu=8,
        num_gpus=1,
        seed=1000,
        mirror_augment=False,
        metrics=(),
        G=GeneratorConfig(
            **images,
            **sizes,
            **fmaps,
            dlatent_size=512,
            mapping_fmaps=512,
            architecture=g_architecture,
            modulated_min_log2=2,
            modulated_max_log2=7,
        ),
        D=DiscriminatorConfig(**images, **fmaps, architecture=d_architecture),
        E=DecoderConfig(**images, **sizes, **fmaps, architecture=d_architecture),
        loss=LossConfig(decouple=2.0, latent=1.0, bits=2.0, gamma=gamma),
        schedule=ScheduleConfig(
            g_lr=0.002,
            e_lr=0.002,
            d_lr=0.002,
            decay_kimg=0.0,
            ema_kimg=10.0,
            g_reg_interval=4,
            d_reg_interval=16,
        ),
        ticks=TickConfig(kimg=1.0, image_ticks=30, snapshot_ticks=150),
        resume_pkl=None,
        channel="identity",
        augment="identity",
        inception=None,
        ops="auto",
        precision="fp32",
    )


def test_defaults_of_published_networks() -> None:
    """What a published preset leaves to the classes, which the test above does not see."""
    defaults = {
        name: {field.name: field.default for field in dataclasses.fields(cls.Config)}
        for name, cls in NETWORKS.items()
    }
    published = {"fmap_decay": 1.0, "fmap_min": 1}
    mapping = {"mapping_layers": 8, "mapping_lrmul": 0.01, "center_bits": False}
    assert published.items() <= defaults["Decoder"].items()
    assert {**published, "mbstd_group_size": 4}.items() <= defaults["Discriminator"].items()
    assert {**published, **mapping}.items() <= defaults["Generator"].items()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str, tmp_path: Path) -> None:
    """It fits its networks, survives JSON, leaves room for the other options and is pure."""
    config = setup(config=name)
    assert config == setup(config=name)
    for network in (config.G, config.D, config.E):
        assert (network.resolution, network.num_channels) == (128, 3)
    assert config.num_bits == config.G.fingerprint_size == config.E.fingerprint_size
    assert config.G.latent_size == config.E.latent_size
    assert {config.channel, config.augment} <= CHANNELS.keys()
    assert config.minibatch_gpu == config.minibatch
    assert config.minibatch_gpu % 4 == 0
    assert config.config == name
    save_json(config, tmp_path / "config.json")
    assert load_json(TrainConfig, tmp_path / "config.json") == config


def test_all_published_presets_are_there() -> None:
    assert PUBLISHED.keys() <= PRESETS.keys()
    assert "config-tiny" in PRESETS


def test_every_field_survives_json(tmp_path: Path) -> None:
    """No field has its default here, so that none can be lost."""
    config = TrainConfig(
        config="c",
        dataset="d",
        data_dir="e",
        num_bits=1,
        modulated_log2=(3, 4),
        total_kimg=0.5,
        minibatch=2,
        minibatch_gpu=1,
        num_gpus=3,
        learn="fingerprint",
        gan_loss="rpgan",
        distinct_fingerprints=9,
        seed=4,
        mirror_augment=True,
        metrics=("fid1k", "swd1k"),
        G=GeneratorConfig(resolution=4, center_bits=True),
        D=DiscriminatorConfig(resolution=8, fmap_base=5),
        E=DecoderConfig(resolution=16, architecture="orig"),
        loss=LossConfig("0.1@1,0.2@2", 0.2, 0.3, 0.4, 0.5, 0.6),
        schedule=ScheduleConfig(
            0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, "0@1,1@2", 0.9, 10.0, 11, 12, 13.0
        ),
        ticks=TickConfig(12.0, 13, 14, False),
        resume_pkl="r.pkl",
        inception="i.pb",
        ops="reference",
        precision="bf16",
        channel="clip",
        augment="clip",
        skip_bad_records=True,
        cond=True,
        checkpoints=CheckpointConfig(15.0, 16),
    )
    for part in (config, config.loss, config.schedule, config.ticks, config.checkpoints):
        for field in dataclasses.fields(part):
            assert getattr(part, field.name) != field.default, field.name
    save_json(config, tmp_path / "config.json")
    assert load_json(TrainConfig, tmp_path / "config.json") == config
    values = to_dict(config)
    values["schedule"]["warmup"] = 1
    with pytest.raises(UserError, match=r"unknown setting schedule\.warmup"):
        from_dict(TrainConfig, values)


def changes(first: Any, second: Any, prefix: str = "") -> dict[str, Any]:
    """Settings of `second` that differ, by dotted name."""
    one, two = (to_dict(x) if dataclasses.is_dataclass(x) else x for x in (first, second))
    found = {}
    for key in one.keys() | two.keys():
        a, b = one.get(key), two.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= changes(a, b, f"{prefix}{key}.")
        elif a != b:
            found[prefix + key] = b
    return found


# Every option of TrainOptions: a value that is no default, and all that it changes.
OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "data_dir": ("other", {"data_dir": "other"}),
    "config": (
        "config-f",
        {
            "config": "config-f",
            "loss.gamma": 10.0,
            "G.fmap_base": 16384,
            "D.fmap_base": 16384,
            "E.fmap_base": 16384,
        },
    ),
    "num_gpus": (2, {"num_gpus": 2, "minibatch": 16}),
    "watermark_size": (
        64,
        {"num_bits": 64, "G.fingerprint_size": 64, "E.fingerprint_size": 64},
    ),
    "res_modulated_range": (
        "16-64",
        {"modulated_log2": (4, 6), "G.modulated_min_log2": 4, "G.modulated_max_log2": 6},
    ),
    "metrics": (("fid1k", "swd1k"), {"metrics": ("fid1k", "swd1k")}),
    "total_kimg": (5.0, {"total_kimg": 5.0}),
    "gamma": (0.0, {"loss.gamma": 0.0}),
    "fingerprint_maps": ("8-16", {"G.map_min_log2": 3, "G.map_max_log2": 4}),
    "fingerprint_biases": (True, {"G.style_biases": True}),
    "decoder_readout": (16, {"E.readout_size": 16}),
    "anchor_weight": (2.0, {"loss.anchor": 2.0}),
    "gan_loss": ("rpgan", {"gan_loss": "rpgan"}),
    "learn": ("fingerprint", {"learn": "fingerprint"}),
    "discriminator_alone": (5.0, {"schedule.d_alone_kimg": 5.0}),
    "immunize": ("light", {"channel": "light"}),
    "edit_strength": ("0@10,1@20", {"schedule.channel_strength": "0@10,1@20"}),
    "augment": ("ada", {"augment": "ada", "schedule.ada_kimg": 500.0}),
    "mirror_augment": (True, {"mirror_augment": True}),
    "resume_pkl": ("a.pkl", {"resume_pkl": "a.pkl"}),
    "decouple_weight": (0.0, {"loss.decouple": 0.0}),
    "latent_weight": (3.0, {"loss.latent": 3.0}),
    "bits_weight": (4.0, {"loss.bits": 4.0}),
    "label_weight": (5.0, {"loss.label": 5.0}),
    "minibatch": (32, {"minibatch": 32}),
    "minibatch_gpu": (4, {"minibatch": 4, "minibatch_gpu": 4}),
    "distinct_fingerprints": (10, {"distinct_fingerprints": 10}),
    "seed": (0, {"seed": 0}),
    "kimg_per_tick": (0.5, {"ticks.kimg": 0.5}),
    "snapshot_ticks": (1, {"ticks.snapshot_ticks": 1}),
    "image_snapshot_ticks": (2, {"ticks.image_ticks": 2}),
    "inception": ("graph.pb", {"inception": "graph.pb"}),
    "ops": ("reference", {"ops": "reference"}),
    "precision": ("bf16", {"precision": "bf16"}),
    "clip_decoder_input": (True, {"channel": "clip"}),
    "skip_bad_records": (True, {"skip_bad_records": True}),
    "checkpoint_minutes": (0.0, {"checkpoints.minutes": 0.0}),
    "keep_checkpoints": (5, {"checkpoints.keep": 5}),
}


def test_table_of_options_is_complete() -> None:
    names = {field.name for field in dataclasses.fields(TrainOptions)}
    assert names == OPTIONS.keys() | {"dataset", "mapping", "recipe", "cond"}


@pytest.mark.parametrize("name", OPTIONS)
def test_option_takes_effect(name: str) -> None:
    value, expected = OPTIONS[name]
    assert changes(setup(), setup(**{name: value})) == expected


def test_gamma_by_resolution_and_minibatch() -> None:
    """1 at 32x32 and 8, in proportion to pixels and images."""
    assert setup(32, gamma="auto").loss.gamma == 1.0
    assert setup(256, gamma="auto", minibatch=32).loss.gamma == 16.0


def test_recipe() -> None:
    """Of a published configuration: what was learned, and nothing else."""
    found = changes(setup(32, total_kimg=100.0), setup(32, total_kimg=100.0, recipe="recommended"))
    assert found == {
        "loss.gamma": 1.0,
        "loss.decouple": "2@35,16@80",
        "channel": "clip",
        "schedule.ema_rampup": 0.05,
        "G.mapping_layers": 1,
        "G.mapping_lrmul": 1.0,
        "G.mapping_act": "linear",
        "G.mapping_orthogonal": True,
        "G.center_bits": True,
    }


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_flags_stand_above_the_recipe(name: str) -> None:
    config = setup(config=name, recipe="recommended", gamma=3.0, decouple_weight=4.0)
    assert (config.loss.gamma, config.loss.decouple) == (3.0, 4.0)


@pytest.mark.parametrize(("maps", "log2"), [("8-16", (3, 4)), ("none", (0, 0)), ("10-999", (3, 9))])
def test_maps(maps: str, log2: tuple[int, int]) -> None:
    g = setup(32, fingerprint_maps=maps).G
    assert (g.map_min_log2, g.map_max_log2) == log2


@pytest.mark.parametrize("maps", ["64-128", "1-8", "8", "all"])
def test_maps_that_touch_no_layer(maps: str) -> None:
    with pytest.raises(UserError, match=f"--fingerprint-maps={maps}"):
        setup(32, fingerprint_maps=maps)


def test_data_set_takes_effect() -> None:
    grey = {"G.num_channels": 1, "D.num_channels": 1, "E.num_channels": 1}
    assert changes(setup(), setup(num_channels=1)) == grey
    small = {"G.resolution": 32, "D.resolution": 32, "E.resolution": 32}
    assert changes(setup(), setup(resolution=32)) == small
    assert changes(setup(), setup(dataset="other")) == {"dataset": "other"}


def test_mapping() -> None:
    """A published preset can have the well conditioned mapping, a small one the published."""
    linear = {
        "mapping_layers": 1,
        "mapping_lrmul": 1.0,
        "mapping_act": "linear",
        "center_bits": True,
    }
    found = changes(setup(), setup(mapping="linear"))
    assert found == {f"G.{name}": value for name, value in linear.items()}
    assert changes(setup(), setup(mapping="published")) == {}
    tiny = setup(config="config-tiny", mapping="published")
    defaults = GeneratorConfig(resolution=4)
    assert all(getattr(tiny.G, name) == getattr(defaults, name) for name in linear)
    assert linear.items() <= to_dict(setup(config="config-tiny", mapping="linear").G).items()
    with pytest.raises(UserError, match="--mapping=quick: choose one of published, linear"):
        setup(mapping="quick")


def test_orthogonal_mapping() -> None:
    """What the small presets have, and the recipe, where there are no more bits than fit."""
    linear = setup(config="config-tiny", mapping="linear")
    assert changes(linear, setup(config="config-tiny")) == {"G.mapping_orthogonal": True}
    for preset in ({"config": "config-tiny"}, {"recipe": "recommended"}):
        many = setup(**preset, watermark_size=1000)
        assert not many.G.mapping_orthogonal
        assert changes(many, setup(**preset, watermark_size=1000, mapping="linear")) == {}
    options = {"config": "config-tiny", "mapping": "orthogonal", "watermark_size": 65}
    with pytest.raises(UserError, match="--mapping=orthogonal takes at most 64 bits.*not 65"):
        setup(**options)
    setup(**options | {"watermark_size": 64})


def test_decoder_readout_divides_the_picture() -> None:
    with pytest.raises(UserError, match="--decoder-readout=12: it has to divide the 32 pixels"):
        setup(32, decoder_readout=12)


@pytest.mark.parametrize("name", ["config-a", "config-b", "config-c", "config-d", "config-d-Gskip"])
def test_progressive_growing_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"--config={name}: .* grow progressively.*use config-e"):
        find_preset(name)


@pytest.mark.parametrize("name", ["config-g", "config-e-Gskip", "config", "", "config-dd", "tiny"])
def test_unknown_config(name: str) -> None:
    with pytest.raises(UserError, match=f"--config={name}: unknown; choose one of config-e, "):
        setup(config=name)


@pytest.mark.parametrize(
    ("text", "log2"),
    [
        ("4-128", (2, 7)),
        ("5-127", (2, 6)),
        ("16-16", (4, 4)),
        ("1-1024", (0, 10)),
        (" 8-9 ", (3, 3)),
    ],
)
def test_modulated_range(text: str, log2: tuple[int, int]) -> None:
    assert parse_modulated_range(text) == log2


@pytest.mark.parametrize("text", ["", "4", "128-4", "0-8", "-4-8", "4-8-16", "a-b", "4:8", "4.0-8"])
def test_bad_modulated_range(text: str) -> None:
    with pytest.raises(UserError, match=f"--res-modulated-range={text}: expected lo-hi"):
        parse_modulated_range(text)


@pytest.mark.parametrize(("text", "resolution"), [("64-128", 32), ("1-3", 128), ("256-512", 128)])
def test_range_that_touches_no_layer(text: str, resolution: int) -> None:
    with pytest.raises(
        UserError, match=f"range={text} touches no layer of a {resolution}x.*within 4-{resolution}"
    ):
        setup(resolution, res_modulated_range=text)


@pytest.mark.parametrize(("text", "resolution"), [("32-128", 32), ("1-4", 8), ("200-300", 128)])
def test_range_that_touches_one_layer(text: str, resolution: int) -> None:
    assert setup(resolution, res_modulated_range=text).modulated_log2 == parse_modulated_range(text)


@pytest.mark.parametrize(
    ("options", "minibatch", "minibatch_gpu"),
    [
        ({}, 8, 8),
        ({"num_gpus": 0}, 8, 8),
        ({"num_gpus": 4}, 32, 8),
        ({"minibatch": 64}, 64, 8),
        ({"minibatch": 64, "num_gpus": 2}, 64, 8),
        ({"minibatch": 4}, 4, 4),
        ({"minibatch": 2}, 2, 2),
        ({"minibatch": 8, "minibatch_gpu": 4, "num_gpus": 2}, 8, 4),
        ({"minibatch": 24, "minibatch_gpu": 12}, 24, 12),
        ({"minibatch_gpu": 3}, 3, 3),
    ],
)
def test_minibatches(options: dict[str, int], minibatch: int, minibatch_gpu: int) -> None:
    config = setup(**options)
    assert (config.minibatch, config.minibatch_gpu) == (minibatch, minibatch_gpu)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"minibatch": 12},
            "--minibatch=12 is not a multiple of --minibatch-gpu=8; use (8|16)$",
        ),
        (
            {"minibatch": 6, "minibatch_gpu": 4},
            "--minibatch=6 is not a multiple of --minibatch-gpu=4; use (4|8)$",
        ),
        (
            {"minibatch": 4, "minibatch_gpu": 8},
            "--minibatch=4 is not a multiple of --minibatch-gpu=8; use 8$",
        ),
        ({"minibatch_gpu": 6}, "--minibatch-gpu=6: .* groups of 4; use 4$"),
        ({"minibatch": 7}, "--minibatch=7: .* groups of 4; use 4$"),
    ],
)
def test_bad_minibatches(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        setup(**options)


def test_description() -> None:
    """The part of the run folder's name; nothing in it can be taken for a path."""
    config = setup(num_gpus=2, dataset="celeba")
    assert config.description == "celeba-2gpu-config-e-Gskip-Dresnet-128bits"
    assert setup(num_gpus=0, dataset="../a b").description.startswith(".._a_b-1gpu-")


@pytest.mark.parametrize("name", ["config-tiny", "config-tiny-128", "config-small"])
def test_small_presets_have_room_for_their_bits(name: str) -> None:
    """In the styles, in the layers that they modulate, and in the decoder's last hidden layer."""
    config = setup(config=name)
    assert config.G.dlatent_size >= config.num_bits
    assert min(config.E.fmap_base, config.E.fmap_max) > config.num_bits + 16
    networks = make_networks(config)
    modulated = sum(
        variable.shape[1]
        for variable_name, variable in networks.G.named_variables().items()
        if variable_name.endswith("/mod_weight")
    )
    assert modulated > 1.5 * config.num_bits


def test_settings_of_an_earlier_version(tmp_path: Path) -> None:
    """What it did not write has its default, and a clipped input was no channel yet."""
    values = to_dict(setup(config="config-tiny"))
    del values["channel"], values["augment"], values["G"]["fmap_decay"]
    for clipped in (True, False):
        values["clip_decoder_input"] = clipped
        (tmp_path / "settings.json").write_text(json.dumps(values))
        expected = setup(config="config-tiny", clip_decoder_input=clipped)
        assert load_json(TrainConfig, tmp_path / "settings.json") == expected
        assert complete(TrainConfig, values)["channel"] == expected.channel
    assert complete(TrainConfig, values)["G"]["fmap_decay"] == 1.0
    assert complete(TrainConfig, {"unknown": 1})["unknown"] == 1
