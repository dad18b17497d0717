"""What a metric may use: generated images, a decoder, real images, networks for features."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

# Warnings of the metrics go to stderr, one line each.
log = logging.getLogger("metrics")

# Real images are mirrored by a seed of their own: they stay the same whatever `--seed` is.
_MIRROR_SEED = 0


class RealImages(Protocol):
    """The part of a data set that metrics use."""

    @property
    def name(self) -> str: ...

    @property
    def resolution(self) -> int: ...

    @property
    def num_channels(self) -> int: ...

    @property
    def num_images(self) -> int: ...

    def images(self, limit: int | None = None) -> Iterator[np.ndarray]:
        """Yields uint8 [H,W,C] in file order."""

    def cache_key(self) -> str:
        """A short text that changes when the data set changes."""


class FeatureExtractor(Protocol):
    """Turns images into the features whose statistics are compared."""

    @property
    def path(self) -> Path: ...

    @property
    def sha256(self) -> str: ...

    @property
    def num_features(self) -> int: ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N,H,W,C] -> float32 [N,F]."""


class DistanceExtractor(FeatureExtractor, Protocol):
    """Features, and a perceptual distance."""

    def distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of pairs of images [N,H,W,C] in [-1,1]: float32 [N], at least 0."""


class ClassifyingExtractor(FeatureExtractor, Protocol):
    """Features of the Inception graph, with the classifier behind them."""

    @property
    def has_classifier(self) -> bool: ...

    def classify(self, features: np.ndarray) -> np.ndarray:
        """float32 [N,F] -> logits, float32 [N,K]."""


@dataclass(frozen=True)
class GeneratedBatch:
    """Generated images with the fingerprints that they carry."""

    images_uint8: np.ndarray  # uint8 [N,H,W,C]: what a PNG file would hold
    images_float: np.ndarray  # float32 [N,H,W,C], about [-1,1], not clipped
    bits: np.ndarray  # uint8 [N,B] of 0 and 1
    whole: "GeneratedBatch | None" = None  # of which this is the first part
    kept: dict[int, np.ndarray] = field(default_factory=dict)  # see `features`

    def head(self, num_images: int) -> "GeneratedBatch":
        """The first `num_images` images."""
        part = slice(num_images)
        arrays = (self.images_uint8[part], self.images_float[part], self.bits[part])
        return GeneratedBatch(*arrays, whole=self)

    def features(self, extract: FeatureExtractor) -> np.ndarray:
        """float32 [N,F] of the uint8 images, computed once for all metrics that ask for them."""
        if self.whole is not None:
            return self.whole.features(extract)[: len(self)]
        if id(extract) not in self.kept:
            self.kept[id(extract)] = extract(self.images_uint8)
        return self.kept[id(extract)]

    def __len__(self) -> int:
        return len(self.images_uint8)


@dataclass(frozen=True)
class GeneratedPairs:
    """The counterparts of a `GeneratedBatch`: image i here differs from image i there in one thing.

    What is not named is the same, noise included.
    """

    other_fingerprint: GeneratedBatch  # drawn at random; about half of its bits differ
    other_latent: GeneratedBatch


@dataclass(frozen=True)
class MetricContext:
    """Everything that a metric may use. `metrics.sampling.make_context` makes one of networks."""

    # generate(n, first) -> images number first .. first + n - 1 of the seed's sequence: fresh
    # latents, bits and noise; the same arguments give the same images.
    generate: Callable[[int, int], GeneratedBatch]
    resolution: int  # pixels, of the generated images
    num_channels: int  # of the generated images
    fingerprint_size: int  # B
    # generate_pairs(n, first) -> the counterparts of generate(n, first); drawn apart, so that the
    # images of `generate` are the same whether it is called or not.
    generate_pairs: Callable[[int, int], GeneratedPairs] | None = None
    # walk(space, n, first, anywhere) -> images, and those a small step on; see `metrics.walks`.
    walk: Callable[[str, int, int, bool], tuple[np.ndarray, np.ndarray]] | None = None
    decode: Callable[[np.ndarray], np.ndarray] | None = None  # float [N,H,W,C] -> logits [N,B]
    dataset: RealImages | None = None
    mirror_augment: bool = False  # mirror every second real image at random
    inception: ClassifyingExtractor | None = None
    lite0: DistanceExtractor | None = None  # EfficientNet-Lite0
    vgg16: DistanceExtractor | None = None
    minibatch: int = 32  # images at a time
    num_gpus: int = 0
    seed: int = 0  # of everything that is drawn
    cache_dir: Path | None = None  # where statistics of real images are kept; None: nowhere
    # Features of real images, for all metrics of a run; see `metrics.features`.
    kept: dict[str, np.ndarray] = field(default_factory=dict, compare=False)

    def settings(self) -> dict[str, Any]:
        """What the figures depend on, as plain values for a JSON line."""
        return {
            "dataset": self.dataset.name if self.dataset else None,
            "dataset_images": self.dataset.num_images if self.dataset else None,
            "dataset_fingerprint": self.dataset.cache_key() if self.dataset else None,
            "mirror_augment": self.mirror_augment,
            "resolution": self.resolution,
            "num_channels": self.num_channels,
            "fingerprint_size": self.fingerprint_size,
            "inception": str(self.inception.path) if self.inception else None,
            "inception_sha256": self.inception.sha256 if self.inception else None,
            "lite0_sha256": self.lite0.sha256 if self.lite0 else None,
            "vgg16_sha256": self.vgg16.sha256 if self.vgg16 else None,
            "minibatch": self.minibatch,
            "num_gpus": self.num_gpus,
            "seed": self.seed,
        }

    def real_batches(self, num_images: int) -> Iterator[np.ndarray]:
        """Yields the first `num_images` real images in file order, as uint8 [n,H,W,C].

        With `mirror_augment` about half of them are mirrored, always the same ones.

        Raises:
            ValueError: there is no data set, or it has fewer images.
        """
        if self.dataset is None or self.dataset.num_images < num_images:
            raise ValueError(f"there are no {num_images} real images")
        rnd = np.random.RandomState(_MIRROR_SEED)
        with progress(num_images, "real images") as bar:
            batch: list[np.ndarray] = []
            for image in self.dataset.images(limit=num_images):
                mirrored = self.mirror_augment and rnd.randint(2) == 1
                batch.append(image[:, ::-1] if mirrored else image)
                if len(batch) == self.minibatch:
                    yield np.stack(batch)
                    bar.update(len(batch))
                    batch = []
            if batch:
                yield np.stack(batch)
                bar.update(len(batch))


def progress(total: int, what: str) -> tqdm:
    """A bar over images on stderr, if that is a terminal."""
    return tqdm(total=total, desc=what, unit="img", disable=None, leave=False, file=sys.stderr)
