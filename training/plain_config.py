"""`--watermark-size=0`: the networks of plain StyleGAN2, the paper's baseline."""

import dataclasses
from typing import Any

from dnnlib.errors import UserError
from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.options import TrainOptions

# Options that are about fingerprints and the decoder.
_FINGERPRINTS = {
    "res_modulated_range": "--res-modulated-range",
    "mapping": "--mapping",
    "fingerprint_maps": "--fingerprint-maps",
    "fingerprint_biases": "--fingerprint-biases",
    "immunize": "--immunize",
    "edit_strength": "--edit-strength",
    "clip_decoder_input": "--clip-decoder-input",
    "decouple_weight": "--decoupleL2-weight",
    "latent_weight": "--latentsRecL2-weight",
    "bits_weight": "--watermarkCls-weight",
}


def plain_networks(options: TrainOptions, preset: Any, images: dict[str, Any]) -> dict[str, Any]:
    """Configurations of G and D; there is no E.

    Args:
        options: the command line.
        preset: a `config.Preset`.
        images: resolution and channels.

    Raises:
        UserError: an option that has no meaning without fingerprints.
    """
    for name, flag in _FINGERPRINTS.items():
        if getattr(options, name) not in (None, "none"):
            raise UserError(
                f"{flag} with --watermark-size=0: plain StyleGAN2 has no fingerprint and no "
                "decoder; leave the flag out"
            )
    images = images | {"fmap_base": preset.fmap_base, "fmap_max": preset.fmap_max}
    width = preset.dlatent_size
    widths = {"dlatent_size": width, "mapping_fmaps": width, "label_fmaps": width}
    generator = StyleGAN2GeneratorConfig(
        **images, **widths, latent_size=preset.latent_size, architecture=preset.g_architecture
    )
    discriminator = StyleGAN2DiscriminatorConfig(**images, architecture=preset.d_architecture)
    return {"G": generator, "D": discriminator, "E": None}


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
        if theirs.label_size:
            raise UserError(
                f"--resume-pkl={where} has {theirs.label_size} classes, which data sets here have "
                "not; name a snapshot without"
            )
        for name in ("resolution", "num_channels"):
            if getattr(theirs, name) != getattr(ours, name):
                raise UserError(
                    f"--resume-pkl={where}: its {name} is {getattr(theirs, name)}, this run's is "
                    f"{getattr(ours, name)}; choose a data set as in the snapshot"
                )
    return dataclasses.replace(config, **found)
