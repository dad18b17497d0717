"""What all studies of a suite are made with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Numbers that a study depends on, beside the model."""

    num_images: int = 512  # pictures behind a point of a curve
    num_keys: int = 1000  # licensees
    fpr: float = 1e-6  # P[a picture of another origin is called ours], per picture
    seed: int = 0  # of the licensees' fingerprints and of whatever is random


class Skipped(Exception):
    """A study that cannot be made of this model or on this machine, with the reason."""
