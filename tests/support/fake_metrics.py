"""Simple stand-ins for a data set and for networks, for the tests of the metrics."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.context import GeneratedBatch, GeneratedPairs

BITS = 8


@dataclass(frozen=True)
class FakeDataset:
    """Images in memory, in the place of a data set."""

    data: np.ndarray  # uint8 [N,H,W,C]
    name: str = "fake"

    @property
    def resolution(self) -> int:
        return self.data.shape[1]

    @property
    def num_channels(self) -> int:
        return self.data.shape[3]

    @property
    def num_images(self) -> int:
        return len(self.data)

    def images(self, limit: int | None = None) -> Iterator[np.ndarray]:
        yield from self.data[:limit]

    def cache_key(self) -> str:
        return f"{self.name}-{self.data.sum()}"


@dataclass
class FakeExtractor:
    """Mean colours of the image's quarters as features."""

    num_features: int = 12
    path: Path = Path("fake.pb")
    sha256: str = "0" * 64
    calls: int = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        n, h, w, c = images.shape
        quarters = images.reshape(n, 2, h // 2, 2, w // 2, c).mean(axis=(2, 4))
        return quarters.reshape(n, -1).astype(np.float32)


def fake_generate(num_images: int, first: int) -> GeneratedBatch:
    """16x16 images whose first row shows the bits: 0.9 or -0.9 as float; noise elsewhere.

    Bit 0 is written 0.001 above or below -1/255: the floats tell it, uint8 does not.
    """
    return fake_batch(*fake_codes(num_images, first))


def fake_generate_pairs(num_images: int, first: int) -> GeneratedPairs:
    """The counterparts of `fake_generate`."""
    bits, latents = fake_codes(num_images, first)
    other_bits, other_latents = fake_codes(num_images, first + 10**7)
    return GeneratedPairs(fake_batch(other_bits, latents), fake_batch(bits, other_latents))


def fake_codes(num_images: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits [N,BITS] and, as latents, what the images show elsewhere, [N,16,16,3]."""
    rng = np.random.default_rng(first)
    bits = rng.integers(0, 2, [num_images, BITS], np.uint8)
    return bits, rng.normal(0, 0.3, [num_images, 16, 16, 3]).astype(np.float32)


def fake_batch(bits: np.ndarray, latents: np.ndarray) -> GeneratedBatch:
    """Images as `fake_generate` says."""
    images = latents.copy()
    images[:, 0, :BITS] = (1.8 * bits - 0.9)[..., None]
    images[:, 0, 0] = -1 / 255 + 0.002 * bits[:, :1] - 0.001
    as_uint8 = np.clip(127.5 * images + 128, 0, 255).astype(np.uint8)
    return GeneratedBatch(as_uint8, images, bits)


def fake_decode(images: np.ndarray) -> np.ndarray:
    """Logits [N,BITS] of images by `fake_generate`."""
    return images[:, 0, :BITS, 0] + 1 / 255
