"""Metrics that compare the features of generated and of real images, and the floor of each.

The floor is the same figure of the real images alone, one half against the other, the halves
drawn at random: what a perfect generator would have. A Frechet distance depends on the number of
images, and each half has half as many: its floor is above what as many real images as generated
ones would give. Kernel distance, precision and recall hardly depend on it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from metrics.context import FeatureExtractor, GeneratedBatch, MetricContext
from metrics.feature_statistics import FeatureStatistics, frechet_distance
from metrics.features import num_reals, real_features
from metrics.kernel_distance import kernel_distance
from metrics.manifold import DENSITY_NEIGHBOURS, manifold_figures

_LEAST = 2 * (DENSITY_NEIGHBOURS + 1)  # real images: each half has more rows than neighbours
_HALVES_SEED = 0  # of the halves: the floor is the same whatever `--seed` is

# Features of real and of generated images, in this order -> suffix -> figure.
Figure = Callable[[np.ndarray, np.ndarray], dict[str, float]]


class FeatureMetric:
    """A figure of two sets of features, with suffix `_floor` that of the real ones alone.

    Args:
        figure: what is computed; real features come first.
        extract: the network that the features are of.
        name: of the metric, for messages.
        num_images: that are generated.
        context: the real images.
    """

    def __init__(
        self,
        figure: Figure,
        extract: FeatureExtractor | None,
        name: str,
        num_images: int,
        context: MetricContext,
    ) -> None:
        assert extract is not None
        self._figure = figure
        self._extract = extract
        self._real = real_features(context, extract, num_reals(name, num_images, context, _LEAST))
        self._generated: list[np.ndarray] = []

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""
        self._generated.append(batch.features(self._extract))

    def finish(self) -> dict[str, float]:
        """Each figure, then each floor."""
        figures = self._figure(self._real, np.concatenate(self._generated))
        order = np.random.RandomState(_HALVES_SEED).permutation(len(self._real))
        half = len(order) // 2
        floors = self._figure(self._real[order[:half]], self._real[order[half : 2 * half]])
        return figures | {f"{suffix}_floor": value for suffix, value in floors.items()}

    def details(self) -> dict[str, Any]:
        """Numbers of images compared."""
        return {
            "real_images": len(self._real),
            "generated_images": sum(map(len, self._generated)),
            "floor_images": len(self._real) // 2,
        }


def frechet(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """The Frechet distance, with no suffix; smaller is better."""
    moments = []
    for features in (real, generated):
        statistics = FeatureStatistics(features.shape[1])
        statistics.add(features)
        moments.append(statistics.mean_and_covariance())
    return {"": frechet_distance(*moments[0], *moments[1])}


def kernel(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """The kernel distance, with no suffix, and its spread over the subsets; smaller is better."""
    mean, spread = kernel_distance(generated, real)
    return {"": mean, "_std": spread}


def manifold(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage; larger is better."""
    found = manifold_figures(real, generated)
    return {
        "_precision": found.precision,
        "_recall": found.recall,
        "_density": found.density,
        "_coverage": found.coverage,
    }


def precision_recall(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Precision and recall; larger is better."""
    found = manifold_figures(real, generated)
    return {"_precision": found.precision, "_recall": found.recall}


def with_vgg16(figure: Figure) -> Callable[[str, int, MetricContext], FeatureMetric]:
    """Starts a metric of VGG16's features."""
    return lambda name, num, context: FeatureMetric(figure, context.vgg16, name, num, context)


def with_lite0(figure: Figure) -> Callable[[str, int, MetricContext], FeatureMetric]:
    """Starts a metric of EfficientNet-Lite0's features."""
    return lambda name, num, context: FeatureMetric(figure, context.lite0, name, num, context)


def with_inception(figure: Figure) -> Callable[[str, int, MetricContext], FeatureMetric]:
    """Starts a metric of Inception's features."""
    return lambda name, num, context: FeatureMetric(figure, context.inception, name, num, context)
