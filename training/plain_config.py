"""`--watermark-size=0`: the networks of plain StyleGAN2, the paper's baseline."""

import dataclasses
from typing import Any

from dnnlib.errors import UserError
from training.networks.configs import (
    DiscriminatorConfig,
    StyleGAN2DiscriminatorConfig,
    StyleGAN2GeneratorConfig,
)
from training.options import TrainOptions

# Options that are about fingerprints and the decoder.
_FINGERPRINTS = {
    "learn": "--learn",
    "res_modulated_range": "--res-modulated-range",
    "mapping": "--mapping",
    "fingerprint_maps": "--fingerprint-maps",
    "fingerprint_biases": "--fingerprint-biases",
    "immunize": "--immunize",
    "edit_strength": "--edit-strength",
    "clip_decoder_input": "--clip-decoder-input",
    "decouple_weight": "--decoupleL2-weight",
    "anchor_weight": "--anchor-weight",
    "latent_weight": "--latentsRecL2-weight",
    "bits_weight": "--watermarkCls-weight",
}


def check_cond(options: TrainOptions, label_size: int) -> None:
    """Whether there are labels where they are asked for.

    Raises:
        UserError: there are none.
    """
    if options.cond and not label_size:
        raise UserError(
            f"--cond: the data set {options.dataset} has no labels; make it with labels, or leave "
            "the flag out"
        )


def plain_networks(
    options: TrainOptions, preset: Any, images: dict[str, Any], label_size: int
) -> dict[str, Any]:
    """Configurations of G and D; there is no E.

    Args:
        options: the command line.
        preset: a `config.Preset`.
        images: resolution and channels.
        label_size: numbers per label; 0: none.

    Raises:
        UserError: an option that has no meaning without fingerprints.
    """
    for name, flag in _FINGERPRINTS.items():
        if getattr(options, name) not in (None, "none", "all"):
            raise UserError(
                f"{flag} with --watermark-size=0: plain StyleGAN2 has no fingerprint and no "
                "decoder; leave the flag out"
            )
    images = images | {"fmap_base": preset.fmap_base, "fmap_max": preset.fmap_max}
    width = preset.dlatent_size
    widths = {"dlatent_size": width, "mapping_fmaps": width, "label_fmaps": width}
    widths["label_size"] = label_size
    generator = StyleGAN2GeneratorConfig(
        **images, **widths, latent_size=preset.latent_size, architecture=preset.g_architecture
    )
    discriminator = StyleGAN2DiscriminatorConfig(**images, architecture=preset.d_architecture)
    if label_size:
        discriminator = projecting(discriminator, label_size)
    return {"G": generator, "D": discriminator, "E": None}


def projecting(
    discriminator: DiscriminatorConfig, label_size: int, **form: Any
) -> StyleGAN2DiscriminatorConfig:
    """The same discriminator for labels of so many numbers.

    The mapping of its labels is as wide as its last layers, as StyleGAN2-ADA has it; `form`: other
    keywords of that mapping.
    """
    width = discriminator.nf(1)
    widths = {"dlatent_size": width, "mapping_fmaps": width, "label_fmaps": width}
    kept = dataclasses.asdict(discriminator)
    return StyleGAN2DiscriminatorConfig(**kept | widths | form | {"label_size": label_size})


def like_snapshot(config: Any, networks: dict[str, Any], where: str) -> Any:
    """A run of plain StyleGAN2 that starts from a snapshot has that snapshot's networks.

    Args:
        config: a `TrainConfig` without bits.
        networks: configurations of the snapshot's "G" and "D".
        where: the snapshot, for error texts.

    Raises:
        UserError: images of another size than the data set's, or classes.
    """
    found = dict(networks)
    for slot, theirs in found.items():
        ours = getattr(config, slot)
        if type(theirs) is not type(ours):
            raise UserError(
                f"--resume-pkl={where} is no plain StyleGAN2, which --watermark-size=0 trains; "
                "choose --watermark-size as in the snapshot"
            )
        if theirs.label_size != ours.label_size:
            raise UserError(
                f"--resume-pkl={where} has labels of {theirs.label_size} numbers, this run's have "
                f"{ours.label_size}; choose --cond and a data set as in the snapshot"
            )
        for name in ("resolution", "num_channels"):
            if getattr(theirs, name) != getattr(ours, name):
                raise UserError(
                    f"--resume-pkl={where}: its {name} is {getattr(theirs, name)}, this run's is "
                    f"{getattr(ours, name)}; choose a data set as in the snapshot"
                )
    return dataclasses.replace(config, **found)
