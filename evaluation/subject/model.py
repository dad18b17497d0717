"""The model that is studied: its pictures, its decoder, and its licensees."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.tflib.execution import Execution
from dnnlib.tflib.machine import resolve_execution
from fingerprints.detection.planning import default_min_distance
from fingerprints.registry.drawing import MAX_CANDIDATES
from training.models.functions import inputs_by_seed, make_decoder, make_generator, num_classes
from training.models.hashes import hashes_of
from training.models.snapshot import build_networks, load_networks, read_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.networks.table import Fingerprinted

MINIBATCH = 32
# Of pictures, so that those that one study learns from are not those that it is judged on.
FIRST_JUDGED = 0
FIRST_OF_ATTACKER = 1_000_000
_FINGERPRINTS = 1  # stream of random numbers


def load_model(network: str) -> tuple[Generator, Decoder]:
    """Generator and decoder of a snapshot.

    Raises:
        UserError: it does not hold both.
    """
    model = load_networks(network)
    if model.decoder is None:
        raise UserError(f"--network={network}: name a snapshot with generator and decoder")
    return model.fingerprinted, model.decoder


@dataclass(frozen=True)
class Subject:
    """A model and the licensees that it is studied with."""

    name: str  # of the file, as the user gave it
    generator: Fingerprinted
    decoder: Decoder
    model_hash: str
    decoder_hash: str
    num_keys: int = 1000  # licensees, K
    seed: int = 0  # of their fingerprints
    execution: Execution = field(default_factory=resolve_execution)

    @property
    def num_bits(self) -> int:
        """B."""
        return self.generator.fingerprint_size

    @property
    def resolution(self) -> int:
        """Height and width of its pictures, in pixels."""
        return self.generator.resolution

    @cached_property
    def registered(self) -> np.ndarray:
        """Fingerprints of all licensees, uint8 [K,B] of 0 and 1, drawn by seed."""
        rng = np.random.default_rng([self.seed, _FINGERPRINTS])
        return draw_licensees(rng, self.num_keys, self.num_bits)

    def owners(self, num_images: int) -> np.ndarray:
        """Which licensee a picture is of: int64 [N]; one after the other."""
        return np.arange(num_images) % self.num_keys

    def generate(self, seeds: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """The pictures of these seeds.

        Args:
            seeds: at least one.
            bits: of 0 and 1, [B], or one fingerprint per picture, [N,B].

        Returns:
            uint8 [N,H,W,C], latent and noise by seed; classes take turns.
        """
        bits = np.broadcast_to(np.asarray(bits, np.uint8), (len(seeds), self.num_bits))
        classes = num_classes(self.generator)
        made = []
        for number, start in enumerate(range(0, len(seeds), MINIBATCH)):
            part = slice(start, start + MINIBATCH)
            (inputs,) = inputs_by_seed(
                self.generator,
                seeds[part],
                class_index=number % classes if classes else None,
                minibatch=MINIBATCH,
            )
            made.append(self._make(dataclasses.replace(inputs, fingerprints=bits[part])))
        return np.concatenate(made)

    def pictures(self, num_images: int, first: int = FIRST_JUDGED) -> np.ndarray:
        """Pictures of all licensees in turn, see `owners`: uint8 [N,H,W,C]."""
        bits = self.registered[self.owners(num_images)]
        return self.generate(range(first, first + num_images), bits)

    @cached_property
    def _make(self) -> Any:
        return make_generator(self.generator, MINIBATCH, self.execution)

    @cached_property
    def decode(self) -> Any:
        """uint8 [N,H,W,C] -> logits [N,B]."""
        return make_decoder(self.decoder, MINIBATCH, self.execution)

    def facts(self) -> dict[str, Any]:
        """What the model is, as plain values for a report."""
        path = Path(self.name)
        is_file = path.is_file()
        return {
            "network": self.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if is_file else None,
            "model_hash": self.model_hash,
            "decoder_hash": self.decoder_hash,
            "resolution": self.resolution,
            "channels": self.generator.num_channels,
            "bits": self.num_bits,
            "class": type(self.generator).__name__,
            "is_adopted": isinstance(self.generator, AdoptedGenerator),
        }


def draw_licensees(rng: np.random.Generator, count: int, num_bits: int) -> np.ndarray:
    """Fingerprints that keep the distance that a registry keeps by default: uint8 [count,B].

    Args:
        rng: of the draw; a registry's are drawn from a secure source, and not to be drawn again.
        count: of licensees.
        num_bits: B.

    Raises:
        UserError: there is no room for so many.
    """
    least = default_min_distance(num_bits, count) if count <= 2**num_bits else 0
    found = np.zeros([count, num_bits], np.uint8)
    for number in range(count):
        for _ in range(MAX_CANDIDATES if least else 0):
            found[number] = rng.integers(0, 2, num_bits, np.uint8)
            if not number or (found[:number] != found[number]).sum(axis=1).min() >= least:
                break
        else:
            raise UserError(
                f"no room for {count} fingerprints of {num_bits} bits; use fewer --licensees"
            )
    return found


def load_subject(
    network: str, *, num_keys: int, seed: int, execution: Execution | None = None
) -> Subject:
    """Reads a model.

    Args:
        network: a snapshot, path or https URL.
        num_keys: licensees.
        seed: of their fingerprints.
        execution: how networks run; None: as suits this machine.

    Raises:
        UserError: it holds no generator that takes fingerprints, or no decoder.
    """
    data, position = read_snapshot(network)
    networks = build_networks(data, position, network)
    generator, decoder = networks.fingerprinted, networks.decoder
    model_hash, decoder_hash = hashes_of(data, network, position)
    assert model_hash is not None
    assert decoder_hash is not None
    return Subject(
        name=network,
        generator=generator,
        decoder=decoder,
        model_hash=model_hash,
        decoder_hash=decoder_hash,
        num_keys=num_keys,
        seed=seed,
        execution=execution or resolve_execution(),
    )
