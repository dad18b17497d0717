"""FID: Frechet distance between Inception features of real and generated images."""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from metrics.context import FeatureExtractor, GeneratedBatch, MetricContext, RealImages, log
from metrics.feature_statistics import FeatureStatistics, frechet_distance
from metrics.features import real_feature_batches

# Part of the cache key: to be raised when the same settings give other statistics.
_CACHE_VERSION = 1


class FrechetInceptionDistance:
    """FID against the first n real images in file order; smaller is better.

    The generator's images are uint8, drawn with fresh latents, fingerprints and noise.
    """

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        assert context.inception is not None
        assert context.dataset is not None
        self._extract = context.inception
        self._generated = FeatureStatistics(self._extract.num_features)
        self._num_reals = min(num_images, context.dataset.num_images)
        if self._num_reals < num_images:
            log.warning(
                "warning: %s: the data set %s has %d images, not %d; all of them are used",
                name, context.dataset.name, self._num_reals, num_images,
            )  # fmt: skip
        if min(self._num_reals, num_images) < self._extract.num_features:
            log.warning(
                "warning: %s: %d real and %d generated images are fewer than the %d features; "
                "compare the figure only with others of equally many images",
                name, self._num_reals, num_images, self._extract.num_features,
            )  # fmt: skip
        self._mean_real, self._cov_real = real_statistics(
            context, context.dataset, self._extract, self._num_reals
        )

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""
        self._generated.add(batch.features(self._extract))

    def finish(self) -> dict[str, float]:
        """The distance, with no suffix."""
        mean, cov = self._generated.mean_and_covariance()
        return {"": frechet_distance(self._mean_real, self._cov_real, mean, cov)}

    def details(self) -> dict[str, Any]:
        """Numbers of images compared."""
        return {"real_images": self._num_reals, "generated_images": self._generated.count}


def real_statistics(
    context: MetricContext, dataset: RealImages, extract: FeatureExtractor, num_images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and covariance [F,F] of the first real images' features, kept in the cache folder.

    Raises:
        UserError: the data set has fewer than two images.
    """
    if num_images < 2:
        raise UserError(f"the data set {dataset.name} has {num_images} images; FID needs 2")
    path = _cache_path(context, dataset, extract, num_images)
    if path and (found := _read_cache(path, extract.num_features)):
        return found
    statistics = FeatureStatistics(extract.num_features)
    for features in real_feature_batches(context, extract, num_images):
        statistics.add(features)
    mean, cov = statistics.mean_and_covariance()
    if path:
        _write_cache(path, mean, cov)
    return mean, cov


def _cache_path(
    context: MetricContext, dataset: RealImages, extract: FeatureExtractor, num_images: int
) -> Path | None:
    if context.cache_dir is None:
        return None
    settings = {
        "version": _CACHE_VERSION,
        "dataset": dataset.cache_key(),
        "mirror_augment": context.mirror_augment,
        "num_images": num_images,
        "inception": extract.sha256,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    return Path(context.cache_dir) / f"fid-reals-{key}.npz"


def _read_cache(path: Path, num_features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The statistics in `path`, or None where there are none that can be used."""
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, cov = file["mean"], file["cov"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = mean.shape == (num_features,) and cov.shape == (num_features, num_features)
    return (mean, cov) if fits else None


def _write_cache(path: Path, mean: np.ndarray, cov: np.ndarray) -> None:
    """Keeps the statistics; a cache that cannot be written costs time, not the result."""
    try:
        os.makedirs(path.parent, exist_ok=True)
        with open_atomic(path) as file:
            np.savez(file, mean=mean, cov=cov)
    except (OSError, UserError) as error:
        log.warning("warning: statistics of the real images are not kept: %s", error)
