"""The model that is studied, and how well its pictures fit fingerprints."""

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.evidence import chance, lost_weight, weigh
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


def chances(logits: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """How often a random fingerprint fits each picture as well as its own does: float64 [N].

    Args:
        logits: [N,B].
        bits: 0 or 1, [B], or one fingerprint per picture [N,B].
    """
    weights = weigh(logits, "soft")
    return chance(weights, lost_weight(weights, bits))
