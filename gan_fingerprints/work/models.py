"""A model as the commands that issue or train for a registry need it: networks and hashes."""

from typing import Literal

from dnnlib.errors import UserError
from training.models.hashes import hashes_of
from training.models.snapshot import Networks, build_networks, read_snapshot


def load_model(name: str, only: Literal["generator"] | None = None) -> tuple[Networks, str, str]:
    """The networks of a snapshot, and the hashes of the model and of its decoder.

    Args:
        name: of the file, from `--network`.
        only: build the generator alone; None: all that the file holds.

    Raises:
        UserError: the file cannot be read, or holds no generator or no decoder.
    """
    data, position = read_snapshot(name)
    model_hash, decoder_hash = hashes_of(data, name, position)
    if model_hash is None or decoder_hash is None:
        raise UserError(
            f"--network={name} must hold a generator and its decoder, which reads the "
            "fingerprints back; name the training's snapshot"
        )
    return build_networks(data, position, name, only), model_hash, decoder_hash
