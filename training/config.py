"""Everything a training run depends on, as one frozen value, and the named presets."""

import dataclasses
import re
from dataclasses import dataclass, field, replace
from typing import Any

from dnnlib.config import with_settings
from dnnlib.errors import UserError
from dnnlib.flags import settings_of
from training.networks.configs import (
    DecoderConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    StyleGAN2DiscriminatorConfig,
    StyleGAN2GeneratorConfig,
)
from training.options import AUGMENTS, AUTO_GAMMA, PassedOn, TrainOptions
from training.plain_config import check_cond, plain_networks, projecting
from training.ramps import Ramp
from training.recipes import recommended


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses. Each term of `loss.TERMS` has one of its name, which may be a ramp."""

    decouple: Ramp = 2.0  # images of one latent shall not differ by fingerprint
    latent: Ramp = 1.0  # the latent shall be recoverable
    bits: Ramp = 2.0  # the fingerprint shall be recoverable
    gamma: float = 100.0  # R1
    label: Ramp = 1.0  # the class shall be recoverable, where there are some
    anchor: Ramp = 0.0  # pictures shall stay those of the model that training began with


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rates and intervals. Lengths in kimg (1000 real images shown); 0: none."""

    g_lr: float = 0.002
    e_lr: float = 0.002
    d_lr: float = 0.002
    decay_kimg: float = 0.0  # at the end of the run the rates fall linearly ...
    final_lr: float = 1.0  # ... to this share
    ema_kimg: float = 10.0  # half-life of the generator average Gs ...
    ema_rampup: float = 0.0  # ... at most this share of the images shown; 0: no limit
    channel_strength: Ramp = 1.0  # of the edits between generator and decoder, 0 to 1
    ada_target: float = 0.6  # of E[sign D(real)], where the augmentation's strength adapts
    ada_kimg: float = 0.0  # in which that strength can go from 0 to 1; 0: it is 1
    g_reg_interval: int = 4  # iterations between path length regularisations; 0: never
    d_reg_interval: int = 16  # iterations between R1 regularisations; 0: never
    d_alone_kimg: float = 10.0  # of a new discriminator for a model that came without one


@dataclass(frozen=True)
class TickConfig:
    """When something is written."""

    kimg: float = 1.0  # a tick
    image_ticks: int = 30  # ticks between image grids
    snapshot_ticks: int = 150  # ticks between snapshots with metrics
    first_snapshot: bool = True  # a snapshot with metrics at tick 0 too, as published


@dataclass(frozen=True)
class CheckpointConfig:
    """What a run that is stopped goes on from."""

    minutes: float = 10.0  # between checkpoints; 0: after every iteration
    keep: int = 2  # how many are kept


@dataclass(frozen=True, kw_only=True)
class TrainConfig(PassedOn):
    """A training run: options that are settings as they are, and what follows from the others."""

    num_bits: int  # B, bits of the fingerprint; 0: plain StyleGAN2
    modulated_log2: tuple[int, int]  # resolutions whose layers the fingerprint modulates
    total_kimg: float
    minibatch: int  # images per iteration
    minibatch_gpu: int  # images per slice; gradients are accumulated over the slices
    num_gpus: int
    G: GeneratorConfig | StyleGAN2GeneratorConfig
    D: DiscriminatorConfig | StyleGAN2DiscriminatorConfig
    E: DecoderConfig | None
    loss: LossConfig
    schedule: ScheduleConfig
    ticks: TickConfig
    channel: str = "identity"  # between generator and decoder, a key of `channels.CHANNELS`
    augment: str = "identity"  # before the discriminator, likewise
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)

    @property
    def description(self) -> str:
        """The part of the run folder's name behind the number."""
        parts = [self.dataset, f"{max(self.num_gpus, 1)}gpu", self.config, f"{self.num_bits}bits"]
        return "-".join(re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in parts)

    @staticmethod
    def from_earlier(values: dict[str, Any]) -> dict[str, Any]:
        """Settings as an earlier version wrote them, under the names that they have now."""
        values = dict(values)
        clipped = values.pop("clip_decoder_input", None)
        if clipped is not None:
            values.setdefault("channel", "clip" if clipped else "identity")
        return values


@dataclass(frozen=True)
class Preset:
    """Defaults that a config name stands for."""

    fmap_base: int
    fmap_max: int = 512
    g_architecture: str = "skip"
    d_architecture: str = "resnet"
    latent_size: int = 512
    dlatent_size: int = 512
    mapping: str = "published"  # a key of MAPPINGS, see `_mapping`
    channel: str = "identity"  # a key of CHANNELS
    augment: str = "identity"
    watermark_size: int = 128
    modulated_range: str = "4-128"
    total_kimg: float = 88000.0
    minibatch_gpu: int = 8
    loss: LossConfig = field(default_factory=LossConfig)
    auto_gamma: bool = False  # gamma by resolution and minibatch, whatever `loss` says
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ticks: TickConfig = field(default_factory=TickConfig)
    decoder: dict[str, Any] = field(default_factory=dict)  # keywords of E that differ from D's


MAX_BITS = 4096  # what a registry can search
MAX_DISTINCT = 1_000_000  # fingerprints that a run may be limited to
ARCHITECTURES = ("skip", "resnet", "orig")

# Fingerprint mappings by name: keyword arguments of the generator.
MAPPINGS: dict[str, dict[str, Any]] = {
    "published": {},
    # Well conditioned: one linear layer on bits as -1/+1.
    "linear": {
        "mapping_layers": 1,
        "mapping_lrmul": 1.0,
        "mapping_act": "linear",
        "center_bits": True,
    },
}
# The same layer with orthonormal rows that stay as they are.
MAPPINGS["orthogonal"] = MAPPINGS["linear"] | {"mapping_orthogonal": True}
_OF_BITS = ("center_bits", "mapping_orthogonal")  # keywords above that labels have no use for


def _published_presets() -> dict[str, Preset]:
    """config-e and config-f of StyleGAN2; config-e also by architecture, as published."""
    e = Preset(fmap_base=8192)
    presets = {"config-e": e}
    for g in ARCHITECTURES:
        for d in ARCHITECTURES:
            presets[f"config-e-G{g}-D{d}"] = replace(e, g_architecture=g, d_architecture=d)
    presets["config-f"] = replace(e, fmap_base=16384, loss=LossConfig(gamma=10.0))
    return presets


# Small models for a CPU; docs/training.md says how these settings were found.
_TINY = Preset(
    fmap_base=256,
    fmap_max=64,
    latent_size=16,
    dlatent_size=64,
    mapping="orthogonal",
    channel="clip",
    watermark_size=32,
    modulated_range="16-128",
    total_kimg=140.0,
    # Bits first, invisibility later.
    loss=LossConfig(decouple="5@40,150@100", latent=1.0, bits=10.0, gamma=1.0),
    schedule=ScheduleConfig(
        g_lr=0.004,
        e_lr=0.004,
        d_lr=0.004,
        decay_kimg=35.0,
        final_lr=0.1,
        ema_kimg=2.0,
        g_reg_interval=0,
    ),
    # Metrics of an untrained model would take a CPU longer than the first tick.
    ticks=TickConfig(kimg=4.0, image_ticks=5, snapshot_ticks=10, first_snapshot=False),
    decoder={"fmap_max": 128},
)

PRESETS: dict[str, Preset] = {
    **_published_presets(),
    "config-tiny": _TINY,
    # As many bits as telling thousands of licensees apart takes: each bit needs room in the styles,
    # in the layers that they modulate and in the decoder's last hidden layer.
    "config-tiny-128": replace(
        _TINY,
        dlatent_size=128,
        watermark_size=128,
        modulated_range="8-128",
        total_kimg=260.0,
        loss=LossConfig(decouple=1.0, latent=4.0, bits=40.0, gamma=10.0),
        schedule=replace(_TINY.schedule, decay_kimg=50.0),
        decoder={"fmap_max": 256},
    ),
    # 64x64 pixels; takes --fingerprint-maps=16-32 --fingerprint-biases for its 128 bits.
    "config-small": replace(
        _TINY,
        fmap_base=512,
        dlatent_size=128,
        watermark_size=128,
        modulated_range="8-128",
        total_kimg=290.0,
        loss=LossConfig(decouple="8@70,40@130,150@190", latent=2.0, bits=20.0, gamma=2.0),
        schedule=replace(_TINY.schedule, decay_kimg=60.0),
        decoder={"fmap_max": 256},
    ),
}


def parse_modulated_range(text: str) -> tuple[int, int]:
    """`lo-hi` in pixels -> log2 of both, each floored to a power of two.

    Raises:
        UserError: not two positive numbers in order.
    """
    return _parse_range("--res-modulated-range", text)


def _parse_range(flag: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    lo, hi = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= lo <= hi:
        raise UserError(f"{flag}={text}: expected lo-hi in pixels, for example 4-128")
    return lo.bit_length() - 1, hi.bit_length() - 1


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        UserError: no such preset; progressive growing configurations are refused by name.
    """
    if re.fullmatch(r"config-[a-d](-.*)?", name):
        raise UserError(
            f"--config={name}: StyleGAN2 configurations a to d grow progressively, and no "
            "fingerprinted generator of that kind exists; use config-e-Gskip-Dresnet"
        )
    if name not in PRESETS:
        raise UserError(f"--config={name}: unknown; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def setup_training_config(
    options: TrainOptions, resolution: int, num_channels: int, label_size: int = 0
) -> TrainConfig:
    """Settles all settings of a run from the options and the size of the data set's images.

    Args:
        options: the command line.
        resolution, num_channels: of the data set.
        label_size: numbers per label of the data set; 0: it has none.

    Raises:
        UserError: an option that does not fit; the text names it.
    """
    preset = find_preset(options.config)
    total_kimg = preset.total_kimg if options.total_kimg is None else options.total_kimg
    if options.recipe == "recommended":
        preset = recommended(preset, total_kimg)
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed={options.seed}: expected a number from 0 to {2**32 - 1}")
    range_text = options.res_modulated_range or preset.modulated_range
    modulated = parse_modulated_range(range_text)
    if modulated[1] < 2 or 2 ** modulated[0] > resolution:
        raise UserError(
            f"--res-modulated-range={range_text} touches no layer of a {resolution}x{resolution} "
            "generator, so that its images could carry no fingerprint; "
            f"choose a range within 4-{resolution}"
        )
    num_gpus = 1 if options.num_gpus is None else options.num_gpus
    minibatch_gpu, minibatch = _minibatches(options, preset, max(num_gpus, 1))
    num_bits = preset.watermark_size if options.watermark_size is None else options.watermark_size
    if num_bits > MAX_BITS:
        raise UserError(f"--watermark-size={num_bits}: a fingerprint has at most {MAX_BITS} bits")
    augment = preset.augment if options.augment is None else AUGMENTS[options.augment]
    images = {"resolution": resolution, "num_channels": num_channels}
    check_cond(options, label_size)
    classes = label_size if options.cond else 0
    if options.distinct_fingerprints > min(MAX_DISTINCT, 2**num_bits if num_bits else 0):
        raise UserError(
            f"--distinct-fingerprints={options.distinct_fingerprints}: {num_bits} bits have not so "
            f"many, or they are more than {MAX_DISTINCT}; choose fewer"
        )
    if num_bits:
        networks = _networks(options, preset, num_bits, modulated, images, classes)
    else:
        networks = plain_networks(options, preset, images, classes)
    passed_on = {f.name: getattr(options, f.name) for f in dataclasses.fields(PassedOn)}
    config = TrainConfig(
        **passed_on,
        num_bits=num_bits,
        modulated_log2=modulated,
        total_kimg=total_kimg,
        minibatch=minibatch,
        minibatch_gpu=minibatch_gpu,
        num_gpus=num_gpus,
        **networks,
        loss=replace(preset.loss, gamma=_gamma(options, preset, resolution, minibatch)),
        schedule=_schedule(preset, augment),
        ticks=preset.ticks,
        channel=_channel(options, preset) if num_bits else "identity",
        augment=augment,
    )
    return with_settings(config, settings_of(options))


def _networks(
    options: TrainOptions,
    preset: Preset,
    num_bits: int,
    modulated: tuple[int, int],
    images: dict[str, Any],
    classes: int,
) -> dict[str, Any]:
    """Configurations of G, D and E; `classes`: numbers per label, 0 without."""
    mapping = _mapping(options.mapping, preset, num_bits)
    images = images | {"fmap_base": preset.fmap_base, "fmap_max": preset.fmap_max}
    codes: dict[str, Any] = {"latent_size": preset.latent_size, "fingerprint_size": num_bits}
    generator = GeneratorConfig(
        **images,
        **codes,
        dlatent_size=preset.dlatent_size,
        mapping_fmaps=preset.dlatent_size,
        architecture=preset.g_architecture,
        modulated_min_log2=modulated[0],
        modulated_max_log2=modulated[1],
        **MAPPINGS[mapping],
        **_maps(options, images["resolution"]),
    )
    if options.fingerprint_biases is not None:
        generator = replace(generator, style_biases=options.fingerprint_biases)
    decoder = DecoderConfig(**images, **codes, architecture=preset.d_architecture)
    discriminator = DiscriminatorConfig(**images, architecture=preset.d_architecture)
    if classes:
        # As wide as the latent, so that both weigh the same (StyleGAN2).
        generator = replace(generator, label_size=classes, label_fmaps=preset.latent_size)
        decoder = replace(decoder, label_size=classes)
        # Of the form that the mapping of fingerprints has, for the same reasons.
        form = {k: v for k, v in MAPPINGS[mapping].items() if k not in _OF_BITS}
        discriminator = projecting(discriminator, classes, **form)
    decoder = replace(decoder, **preset.decoder)
    if options.decoder_readout is not None:
        size = _readout_size(options.decoder_readout, images["resolution"])
        decoder = replace(decoder, readout_size=size)
    return {"G": generator, "D": discriminator, "E": decoder}


def _mapping(chosen: str | None, preset: Preset, num_bits: int) -> str:
    """A key of MAPPINGS; a preset's own rotation gives way to more bits than styles are wide."""
    mapping = chosen or preset.mapping
    if mapping not in MAPPINGS:
        raise UserError(f"--mapping={mapping}: choose one of {', '.join(MAPPINGS)}")
    if mapping != "orthogonal" or num_bits <= preset.dlatent_size:
        return mapping
    if chosen is None:
        return "linear"
    raise UserError(
        f"--mapping=orthogonal takes at most {preset.dlatent_size} bits, the width of the "
        f"styles, not {num_bits}; choose --mapping=linear"
    )


def _readout_size(size: int, resolution: int) -> int:
    if size and resolution % size:
        raise UserError(
            f"--decoder-readout={size}: it has to divide the {resolution} pixels of a side; "
            f"choose {resolution // 2}, or 0 for none"
        )
    return size


def _maps(options: TrainOptions, resolution: int) -> dict[str, Any]:
    """Keywords of the generator's maps."""
    text = options.fingerprint_maps
    if text is None or text == "none":
        return {}
    low, high = _parse_range("--fingerprint-maps", text)
    if low < 2 or 2**low > resolution:
        raise UserError(
            f"--fingerprint-maps={text} touches no layer of a {resolution}x{resolution} "
            f"generator; choose a range within 4-{resolution}, or none"
        )
    return {"map_min_log2": low, "map_max_log2": high}


def _channel(options: TrainOptions, preset: Preset) -> str:
    """Name of what lies between generator and decoder."""
    if options.immunize is not None and options.immunize != "none":
        return options.immunize
    if options.clip_decoder_input is not None:
        return "clip" if options.clip_decoder_input else "identity"
    return preset.channel


def _schedule(preset: Preset, augment: str) -> ScheduleConfig:
    """The preset's, where the strength of an augmentation that adapts has its default."""
    if augment == "ada" and not preset.schedule.ada_kimg:
        return replace(preset.schedule, ada_kimg=500.0)  # as published by Karras et al.
    return preset.schedule


def auto_gamma(resolution: int, minibatch: int) -> float:
    """R1's weight in proportion to R^2 / minibatch, as StyleGAN2-ADA has it (arXiv 2006.06676).

    R1 adds up over pixels, so that a weight found at one resolution is another one elsewhere. The
    constant is from docs/training.md: 1 is good at 32x32 with a minibatch of 8. Theirs, for runs
    a hundred times as long, would be 0.026 there.
    """
    return resolution**2 / (128 * minibatch)


def _gamma(options: TrainOptions, preset: Preset, resolution: int, minibatch: int) -> float:
    given = options.gamma
    if given is None:
        given = AUTO_GAMMA if preset.auto_gamma else preset.loss.gamma
    return auto_gamma(resolution, minibatch) if given == AUTO_GAMMA else float(given)


def _minibatches(options: TrainOptions, preset: Preset, num_gpus: int) -> tuple[int, int]:
    """Images per slice and per iteration."""
    per_gpu = options.minibatch_gpu
    total = options.minibatch
    if per_gpu is None:
        per_gpu = preset.minibatch_gpu if total is None else min(preset.minibatch_gpu, total)
    if total is None:
        total = per_gpu * num_gpus
    if total % (per_gpu * num_gpus) and total % per_gpu:
        raise UserError(
            f"--minibatch={total} is not a multiple of --minibatch-gpu={per_gpu}; "
            f"use {per_gpu * max(round(total / per_gpu), 1)}"
        )
    if per_gpu > 4 and per_gpu % 4:
        flag = "--minibatch" if options.minibatch_gpu is None else "--minibatch-gpu"
        raise UserError(
            f"{flag}={per_gpu}: the minibatch standard deviation forms groups of 4; "
            f"use {per_gpu // 4 * 4}"
        )
    return per_gpu, total
