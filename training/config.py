"""Everything a training run depends on, as one frozen value, and the named presets."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dnnlib.errors import UserError


@dataclass(frozen=True)
class LossConfig:
    """Weights of the generator and decoder loss."""

    decouple: float = 2.0  # images of one latent shall not differ by fingerprint
    latent: float = 1.0  # the latent shall be recoverable
    bits: float = 2.0  # the fingerprint shall be recoverable
    gamma: float = 100.0  # R1


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rates and intervals. Lengths in kimg (1000 real images shown); 0: none."""

    g_lr: float = 0.002
    e_lr: float = 0.002
    d_lr: float = 0.002
    decay_kimg: float = 0.0  # at the end of the run the rates fall linearly ...
    final_lr: float = 1.0  # ... to this share
    ema_kimg: float = 10.0  # half-life of the generator average Gs
    g_reg_interval: int = 4  # iterations between path length regularisations; 0: never
    d_reg_interval: int = 16  # iterations between R1 regularisations; 0: never


@dataclass(frozen=True)
class TickConfig:
    """When something is written."""

    kimg: float = 1.0  # a tick
    image_ticks: int = 30  # ticks between image grids
    snapshot_ticks: int = 150  # ticks between snapshots with metrics


@dataclass(frozen=True)
class CheckpointConfig:
    """What a run that is stopped goes on from."""

    minutes: float = 10.0  # between checkpoints; 0: after every iteration
    keep: int = 2  # how many are kept


@dataclass(frozen=True)
class TrainConfig:
    """A training run. The networks' keyword arguments are those of their classes."""

    config: str  # name of the preset
    dataset: str
    data_dir: str
    num_bits: int  # B, bits of the fingerprint
    modulated_log2: tuple[int, int]  # resolutions whose layers the fingerprint modulates
    total_kimg: float
    minibatch: int  # images per iteration
    minibatch_gpu: int  # images per slice; gradients are accumulated over the slices
    num_gpus: int
    seed: int
    mirror_augment: bool
    metrics: tuple[str, ...]
    G: dict[str, Any]
    D: dict[str, Any]
    E: dict[str, Any]
    loss: LossConfig
    schedule: ScheduleConfig
    ticks: TickConfig
    clip_decoder_input: bool = False  # train the decoder on [-1,1], which is what files keep
    skip_bad_records: bool = False  # leave damaged records out
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    resume_pkl: str | None = None
    inception: str | None = None
    ops: str = "auto"  # see dnnlib.tflib.execution
    precision: str = "fp32"

    @property
    def description(self) -> str:
        """The part of the run folder's name behind the number."""
        parts = [self.dataset, f"{max(self.num_gpus, 1)}gpu", self.config, f"{self.num_bits}bits"]
        return "-".join(re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in parts)


@dataclass(frozen=True)
class TrainOptions:
    """The command line's choices; None leaves the preset's own."""

    dataset: str
    data_dir: str = "datasets"
    config: str = "config-e-Gskip-Dresnet"
    num_gpus: int = 1
    watermark_size: int | None = None
    res_modulated_range: str | None = None
    metrics: tuple[str, ...] = ()
    total_kimg: float | None = None
    gamma: float | None = None
    mirror_augment: bool = False
    resume_pkl: str | None = None
    decouple_weight: float | None = None
    latent_weight: float | None = None
    bits_weight: float | None = None
    minibatch: int | None = None
    minibatch_gpu: int | None = None
    seed: int = 1000
    kimg_per_tick: float | None = None
    snapshot_ticks: int | None = None
    image_snapshot_ticks: int | None = None
    mapping: str | None = None
    clip_decoder_input: bool | None = None
    skip_bad_records: bool = False
    checkpoint_minutes: float = CheckpointConfig.minutes
    keep_checkpoints: int = CheckpointConfig.keep
    inception: str | None = None
    ops: str = "auto"
    precision: str = "fp32"


@dataclass(frozen=True)
class Preset:
    """Defaults that a config name stands for."""

    fmap_base: int
    fmap_max: int = 512
    g_architecture: str = "skip"
    d_architecture: str = "resnet"
    latent_size: int = 512
    dlatent_size: int = 512
    mapping: str = "published"  # a key of MAPPINGS
    clip_decoder_input: bool = False
    watermark_size: int = 128
    modulated_range: str = "4-128"
    total_kimg: float = 88000.0
    minibatch_gpu: int = 8
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ticks: TickConfig = field(default_factory=TickConfig)
    decoder: dict[str, Any] = field(default_factory=dict)  # keywords of E that differ from D's


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
    mapping="linear",
    clip_decoder_input=True,
    watermark_size=32,
    modulated_range="16-128",
    total_kimg=100.0,
    loss=LossConfig(decouple=1.0, latent=1.0, bits=10.0, gamma=10.0),
    schedule=ScheduleConfig(
        g_lr=0.004,
        e_lr=0.004,
        d_lr=0.004,
        decay_kimg=35.0,
        final_lr=0.1,
        ema_kimg=2.0,
        g_reg_interval=0,
    ),
    ticks=TickConfig(kimg=4.0, image_ticks=5, snapshot_ticks=10),
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
        loss=replace(_TINY.loss, latent=4.0, bits=40.0),
        schedule=replace(_TINY.schedule, decay_kimg=50.0),
        decoder={"fmap_max": 256},
    ),
}


def parse_modulated_range(text: str) -> tuple[int, int]:
    """`lo-hi` in pixels -> log2 of both, each floored to a power of two.

    Raises:
        UserError: not two positive numbers in order.
    """
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    lo, hi = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= lo <= hi:
        raise UserError(
            f"--res-modulated-range={text}: expected lo-hi in pixels, for example 4-128"
        )
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


def setup_training_config(options: TrainOptions, resolution: int, num_channels: int) -> TrainConfig:
    """Settles all settings of a run from the options and the size of the data set's images.

    Args:
        options: the command line.
        resolution, num_channels: of the data set.

    Raises:
        UserError: an option that does not fit; the text names it.
    """
    preset = find_preset(options.config)
    num_bits = _choose(options.watermark_size, preset.watermark_size)
    range_text = options.res_modulated_range or preset.modulated_range
    lo, hi = parse_modulated_range(range_text)
    if hi < 2 or 2**lo > resolution:
        raise UserError(
            f"--res-modulated-range={range_text} touches no layer of a {resolution}x{resolution} "
            "generator, so that its images could carry no fingerprint; "
            f"choose a range within 4-{resolution}"
        )
    num_gpus = max(options.num_gpus, 1)
    minibatch_gpu, minibatch = _minibatches(options, preset, num_gpus)
    mapping = options.mapping or preset.mapping
    if mapping not in MAPPINGS:
        raise UserError(f"--mapping={mapping}: choose one of {', '.join(MAPPINGS)}")
    images = {"resolution": resolution, "num_channels": num_channels}
    fmaps = {"fmap_base": preset.fmap_base, "fmap_max": preset.fmap_max}
    sizes = {"latent_size": preset.latent_size, "fingerprint_size": num_bits}
    ticks = preset.ticks
    return TrainConfig(
        config=options.config,
        dataset=options.dataset,
        data_dir=options.data_dir,
        num_bits=num_bits,
        modulated_log2=(lo, hi),
        total_kimg=_choose(options.total_kimg, preset.total_kimg),
        minibatch=minibatch,
        minibatch_gpu=minibatch_gpu,
        num_gpus=options.num_gpus,
        seed=options.seed,
        mirror_augment=options.mirror_augment,
        metrics=options.metrics,
        G={
            **images,
            **sizes,
            **fmaps,
            "dlatent_size": preset.dlatent_size,
            "mapping_fmaps": preset.dlatent_size,
            "architecture": preset.g_architecture,
            "modulated_min_log2": lo,
            "modulated_max_log2": hi,
            **MAPPINGS[mapping],
        },
        D={**images, **fmaps, "architecture": preset.d_architecture},
        E={
            **images,
            **sizes,
            **fmaps,
            "architecture": preset.d_architecture,
            **preset.decoder,
        },
        loss=LossConfig(
            decouple=_choose(options.decouple_weight, preset.loss.decouple),
            latent=_choose(options.latent_weight, preset.loss.latent),
            bits=_choose(options.bits_weight, preset.loss.bits),
            gamma=_choose(options.gamma, preset.loss.gamma),
        ),
        schedule=preset.schedule,
        ticks=TickConfig(
            kimg=_choose(options.kimg_per_tick, ticks.kimg),
            image_ticks=_choose(options.image_snapshot_ticks, ticks.image_ticks),
            snapshot_ticks=_choose(options.snapshot_ticks, ticks.snapshot_ticks),
        ),
        clip_decoder_input=_choose(options.clip_decoder_input, preset.clip_decoder_input),
        skip_bad_records=options.skip_bad_records,
        checkpoints=CheckpointConfig(options.checkpoint_minutes, options.keep_checkpoints),
        resume_pkl=options.resume_pkl,
        inception=options.inception,
        ops=options.ops,
        precision=options.precision,
    )


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


T = TypeVar("T")


def _choose(value: T | None, default: T) -> T:
    return default if value is None else value
