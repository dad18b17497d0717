"""Averaging: a fixed pattern is forged and removed, one that follows the picture is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from evaluation.attacks.averaging import add_residual, measure, read
from tools.averaging import build_parser

SIZE, B = 16, 32
PATTERNS = np.random.default_rng(0).choice([-1.0, 1.0], [B, SIZE, SIZE, 3])
STRENGTH = 2.0  # grey levels per bit


def signs(bits: np.ndarray) -> np.ndarray:
    return 2.0 * bits - 1


def content(seed: int) -> np.ndarray:
    """Noise about grey, of +-1 by its own sign: what a fingerprint may follow."""
    return np.random.default_rng([1, seed]).normal(0, 25, [SIZE, SIZE, 3])


def make(follows: bool):
    """A generator of fixed or content-dependent patterns, and the decoder that knows them."""

    def pictures(seeds: Sequence[int], bits: np.ndarray | None) -> np.ndarray:
        made = []
        for seed in seeds:
            own = np.random.default_rng([2, seed]).integers(0, 2, B) if bits is None else bits
            mark = np.tensordot(signs(own), PATTERNS, 1) * STRENGTH
            x = content(seed)
            made.append(128 + x + mark * (np.sign(x) if follows else 1))
        return np.clip(np.rint(made), 0, 255).astype(np.uint8)

    def decode(images: np.ndarray) -> np.ndarray:
        x = images.astype(float) - 128
        x = np.abs(x) if follows else x
        return np.tensordot(x - x.mean(axis=(1, 2, 3), keepdims=True), PATTERNS, [[1, 2, 3]] * 2)

    return pictures, decode


@pytest.mark.parametrize("follows", [False, True])
def test_what_the_mean_carries(follows: bool) -> None:
    generate, decode = make(follows)
    bits = np.random.default_rng(3).integers(0, 2, B).astype(np.uint8)
    found = measure(generate, decode, bits, num_images=300, num_victims=40, num_keys=1, fpr=1e-6)
    accuracy = {name.partition(":")[0]: reading.bit_accuracy for name, reading in found.items()}
    assert accuracy["marked"] > 0.9
    assert accuracy["other fingerprints"] == pytest.approx(0.5, abs=0.06)
    if follows:
        assert accuracy["forged"] < 0.65
        assert accuracy["removed"] > 0.9
    else:
        assert accuracy["forged"] > 0.65
        assert accuracy["removed"] < 0.65


def test_read() -> None:
    """32 of 32 bits have p = 2^-32, which a thousand licensees bring to 2.3e-7."""
    bits = np.zeros(32, np.uint8)
    logits = np.stack([np.full(32, -1.0), np.where(np.arange(32) < 8, 1.0, -1.0)])
    one = read(logits, bits, 1000, 1e-6)
    assert (one.bit_accuracy, one.attributed) == (0.875, 0.5)
    assert read(logits, bits, 10_000, 1e-6).attributed == 0.0


def test_residuals_are_cut_to_8_bits() -> None:
    images = np.array([[[[0, 100, 255]]]], np.uint8)
    assert add_residual(images, np.array([[[-3.0, 0.6, 9.0]]])).tolist() == [[[[0, 101, 255]]]]


def test_flags() -> None:
    args = build_parser().parse_args(["--network=x.pkl"])
    assert (args.images, args.victims, args.keys, args.fpr, args.seed) == (1000, 256, 1000, 1e-6, 0)
