"""A tiny model with a registry and pictures, for the tests of commands on many pictures."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from fingerprints.registry.facade import Registry
from gan_fingerprints.commands.fingerprints import build_parser
from tests.support.tiny_networks import tiny_decoder, tiny_generator
from training.models.hashes import hashes_of
from training.models.snapshot import read_snapshot, save_snapshot

NUM_BITS = 32
NUM_PICTURES = 23


class Place(NamedTuple):
    """Files of a test."""

    folder: Path
    network: Path
    registry: Path
    pictures: Path  # a tree of NUM_PICTURES pictures of 8x8

    def flags(self, command: str) -> list[str]:
        """The command and those of its flags that are always the same."""
        registry = [] if command == "decode" else [f"--registry={self.registry}"]
        ops = ["--ops=reference", "--minibatch=4", "--recursive"]
        return [command, f"--network={self.network}", *registry, *ops]

    def arguments(self, command: str, *others: str | Path) -> argparse.Namespace:
        """What the parser makes of a command."""
        return build_parser().parse_args([*self.flags(command), *map(str, others)])


def make_place(folder: Path, min_distance: int = 4) -> Place:
    """A model of 8x8 pixels and 32 bits, five licensees, pictures of noise in three folders."""
    network = folder / "network.pkl"
    sizes = {"resolution": 8, "fingerprint_size": NUM_BITS}
    save_snapshot(network, Gs=tiny_generator(**sizes), E=tiny_decoder(**sizes))
    networks, _ = read_snapshot(network)
    model_hash, decoder_hash = hashes_of(networks, str(network))
    with Registry.create(str(folder / "registry.db")) as registry:
        model = registry.add_model(str(model_hash), str(decoder_hash), NUM_BITS, "tiny")
        registry.reserve(
            model, [(f"licensee-{i}", "") for i in range(5)], min_distance=min_distance
        )
    rng = np.random.default_rng(0)
    for number in range(NUM_PICTURES):
        path = folder / "pictures" / ("", "a", "a/deep")[number % 3] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return Place(folder, network, folder / "registry.db", folder / "pictures")


def assert_same_verdicts(found: list[dict], expected: list[dict]) -> None:
    """The same rows, in whatever order, but for rounding.

    What a network gives for a picture depends on its neighbours in a batch, in the last digits.
    """

    def by_file(rows: list[dict]) -> list[dict]:
        return sorted(rows, key=lambda row: row["file"])

    assert len(found) == len(expected)
    for one, two in zip(by_file(found), by_file(expected), strict=True):
        assert one.keys() == two.keys()
        for key, value in two.items():
            approx = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            assert one[key] == approx, (one["file"], key)
