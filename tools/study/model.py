"""The model that is studied, and when one of its pictures has a name."""

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.tails import match_pvalue
from training.models.snapshot import load_networks
from training.networks.decoder import Decoder
from training.networks.generator import Generator

MINIBATCH = 32


def load_model(network: str) -> tuple[Generator, Decoder]:
    """Generator and decoder of a snapshot.

    Raises:
        UserError: it does not hold both.
    """
    model = load_networks(network)
    if model.decoder is None:
        raise UserError(f"--network={network}: name a snapshot with generator and decoder")
    return model.fingerprinted, model.decoder


def is_named(matches: np.ndarray, num_bits: int, num_keys: int, fpr: float) -> np.ndarray:
    """Whether so many matching bits [N] name a licensee: bool [N].

    Args:
        matches: of `num_bits`.
        num_bits: B.
        num_keys: registered fingerprints that the p-value is corrected for.
        fpr: rate of pictures of others that are named.
    """
    return np.array([match_pvalue(int(count), num_bits, num_keys) <= fpr for count in matches])
