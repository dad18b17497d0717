"""The flags of training, each written once: name, type, default and help stand at its field."""

import argparse
from dataclasses import MISSING, dataclass
from typing import Any

from dnnlib import cli
from dnnlib.flags import flag
from dnnlib.tflib.execution import OPS, OPS_HELP, PRECISION_HELP, PRECISIONS
from metrics.table import parse_metrics
from training.ramps import Ramp, parse_ramp

_WEIGHT: dict[str, Any] = {"metavar": "WEIGHT", "type": cli.non_negative_float}
AUTO_GAMMA = "auto"
RECIPES = ("published", "recommended")
GAN_LOSSES = ("logistic", "rpgan")
LEARNS = ("all", "fingerprint")
AUGMENTS = {"none": "identity", "diff": "diff", "ada": "ada"}  # flag -> key of `channels.CHANNELS`
_COUNT: dict[str, Any] = {"metavar": "N", "type": cli.positive_int}
_KIMG: dict[str, Any] = {"metavar": "KIMG", "type": cli.positive_float}


def ramp(text: str) -> Ramp:
    """Type of a flag that is a number or a ramp, see `training.ramps`."""
    try:
        return parse_ramp(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: use a number of at least 0, or points VALUE@KIMG such as 5@60,15@80"
        ) from None


def _gamma(text: str) -> float | str:
    return text if text == AUTO_GAMMA else cli.non_negative_float(text)


def _weight(published: str) -> dict[str, Any]:
    """Of a loss, whose flag has its published name."""
    return {"type": ramp, "name": f"--{published}-weight", "metavar": "W"}


def _metrics(text: str) -> tuple[str, ...]:
    return tuple(parse_metrics(text))


@dataclass(frozen=True, kw_only=True)
class PassedOn:
    """Options that are settings of a run as they are."""

    data_dir: str = flag("datasets", "root of the data sets", metavar="DIR")
    dataset: str = flag(MISSING, "folder of the data set below --data-dir", metavar="NAME")
    config: str = flag("config-e-Gskip-Dresnet", "see below", metavar="CONFIG")
    metrics: tuple[str, ...] = flag(
        (), "computed with each snapshot, or none", metavar="LIST", type=_metrics
    )
    mirror_augment: bool = flag(False, "mirror images at random")
    cond: bool = flag(False, "learn the classes, by the labels that the data set has")
    skip_bad_records: bool = flag(False, "leave damaged records of a data set out")
    resume_pkl: str | None = flag(
        None, "start from this snapshot: path or https URL", metavar="PKL"
    )
    learn: str = flag(
        "all",
        "what of the generator learns: all (default), or fingerprint: what bits do, while its "
        "pictures stay",
        metavar="WHAT",
        choices=LEARNS,
    )
    gan_loss: str = flag(
        "logistic",
        "logistic (default, as published), or rpgan: relativistic, with the gradient penalty on "
        "fakes, too",
        metavar="NAME",
        choices=GAN_LOSSES,
    )
    distinct_fingerprints: int = flag(
        0,
        "train with so many fingerprints, drawn once by seed (default: 0, every one is new)",
        metavar="N",
        type=cli.non_negative_int,
    )
    seed: int = flag(1000, "of everything random (default: 1000)", metavar="N")
    inception: str | None = flag(None, "Inception graph for FID: path or URL", metavar="FILE")
    ops: str = flag("auto", OPS_HELP, metavar="PATH", choices=OPS)
    precision: str = flag("fp32", PRECISION_HELP, metavar="NAME", choices=PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(PassedOn):
    """The command line's choices; None leaves the preset's own.

    `sets` names the setting of `TrainConfig` that a flag stands for. What has neither that nor a
    field of `PassedOn` is settled by `setup_training_config`.
    """

    num_gpus: int | None = flag(None, "GPUs to use (default: all there are)", metavar="N")
    watermark_size: int | None = flag(
        None,
        "fingerprint bits; 0: plain StyleGAN2, without fingerprints",
        metavar="BITS",
        type=cli.non_negative_int,
    )
    res_modulated_range: str | None = flag(
        None, "resolutions that the fingerprint modulates", metavar="LO-HI"
    )
    total_kimg: float | None = flag(None, "length, in 1000 images", sets="total_kimg", **_KIMG)
    recipe: str = flag(
        "published",
        "published (default): the config as it is; recommended: with what was learned since",
        choices=RECIPES,
    )
    gamma: float | str | None = flag(
        None,
        "R1 regularisation; auto: by resolution and minibatch",
        metavar="WEIGHT",
        type=_gamma,
    )
    checkpoint_minutes: float | None = flag(
        None,
        "between checkpoints, which a run goes on from (default: 10; 0: every iteration)",
        sets="checkpoints.minutes",
        **_WEIGHT | {"metavar": "MINUTES"},
    )
    keep_checkpoints: int | None = flag(
        None, "how many are kept (default: 2)", sets="checkpoints.keep", **_COUNT
    )
    decouple_weight: Ramp | None = flag(
        None, "images alike across fingerprints", sets="loss.decouple", **_weight("decoupleL2")
    )
    latent_weight: Ramp | None = flag(
        None, "recovery of the latent", sets="loss.latent", **_weight("latentsRecL2")
    )
    bits_weight: Ramp | None = flag(
        None, "recovery of the fingerprint", sets="loss.bits", **_weight("watermarkCls")
    )
    label_weight: Ramp | None = flag(
        None,
        "recovery of the class, with --cond",
        sets="loss.label",
        metavar="W",
        type=ramp,
    )
    anchor_weight: Ramp | None = flag(
        None,
        "pictures like those of --resume-pkl of the same latents (default: 0)",
        sets="loss.anchor",
        metavar="W",
        type=ramp,
    )
    minibatch: int | None = flag(None, "images per iteration", **_COUNT)
    minibatch_gpu: int | None = flag(None, "images at a time per device", **_COUNT)
    kimg_per_tick: float | None = flag(None, "between lines of the log", sets="ticks.kimg", **_KIMG)
    image_snapshot_ticks: int | None = flag(
        None, "between image grids", sets="ticks.image_ticks", **_COUNT
    )
    snapshot_ticks: int | None = flag(
        None, "between snapshots", sets="ticks.snapshot_ticks", **_COUNT
    )
    mapping: str | None = flag(
        None, "of fingerprints: published, linear or orthogonal (docs/training.md)", metavar="NAME"
    )
    fingerprint_maps: str | None = flag(
        None, "resolutions to whose layers the fingerprint adds maps, or none", metavar="LO-HI"
    )
    fingerprint_biases: bool | None = flag(
        None, "the fingerprint moves the biases of the layers that it modulates, too"
    )
    decoder_readout: int | None = flag(
        None,
        "side of the small picture that the decoder also reads by one linear layer; 0: none",
        metavar="PIXELS",
        type=cli.non_negative_int,
    )
    immunize: str | None = flag(
        None, "edits between generator and decoder: none, light, full or a LIST", metavar="EDITS"
    )
    discriminator_alone: float | None = flag(
        None,
        "where --resume-pkl holds no discriminator, a new one learns alone so long (default: 10)",
        sets="schedule.d_alone_kimg",
        **_WEIGHT | {"metavar": "KIMG"},
    )
    edit_strength: Ramp | None = flag(
        None,
        "of those edits, 0 to 1, such as 0@20,1@60",
        metavar="STRENGTH",
        type=ramp,
        sets="schedule.channel_strength",
    )
    augment: str | None = flag(
        None, "of what the discriminator sees: none, diff or ada", choices=tuple(AUGMENTS)
    )
    clip_decoder_input: bool | None = flag(
        None, "train the decoder on what image files keep (default: as in the config)"
    )
