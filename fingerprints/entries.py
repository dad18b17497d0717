"""What is known of models, licensees and fingerprints, as plain objects."""

import re
from dataclasses import dataclass, field

import numpy as np

# Ids become parts of file names.
LICENSEE_ID = re.compile("[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


@dataclass(frozen=True)
class Model:
    """A trained generator, and the decoder that reads its pictures here."""

    id: int
    model_hash: str  # SHA-256 in hex of generator and first decoder, see training/models/hashes.py
    decoder_hash: str  # of the decoder in use: the first one, or one that was retuned
    num_bits: int
    name: str
    time: str  # UTC, when it was added


@dataclass(frozen=True)
class DecoderEntry:
    """A decoder that reads a model's pictures."""

    model: Model  # with this decoder in use
    name: str  # of the file that it came in
    time: str  # UTC, when it was added
    calibrated: str | None  # when, last
    is_newest: bool  # of those of the model


@dataclass(frozen=True)
class Licensee:
    """Somebody who gets instances."""

    id: str
    name: str
    time: str


@dataclass(frozen=True)
class Fingerprint:
    """The bits of one licensee in one model."""

    id: int  # larger than of all registered before it
    model_id: int
    model_hash: str
    licensee: str  # the licensee's id
    min_distance: int  # bits in which it differs at least from those registered before it
    time: str
    bits: np.ndarray = field(repr=False, compare=False)  # uint8 [B] of 0 and 1
    revoked: str | None = None  # when
    reason: str | None = None  # why it was revoked


@dataclass(frozen=True)
class Instance:
    """A generator with a fingerprint that was written to a file."""

    id: int
    fingerprint_id: int
    instance_hash: str
    file_format: str
    manifest_hash: str
    time: str


@dataclass(frozen=True)
class Counts:
    """How much is registered, of one model or of all."""

    fingerprints: int  # ever, the number that p-values are corrected for
    active: int
    revoked: int
    licensees: int
    instances: int
