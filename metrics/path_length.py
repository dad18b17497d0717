"""Perceptual path length: how much a picture changes with a small step of what makes it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from metrics.context import DistanceExtractor, GeneratedBatch, MetricContext

STEP = 1e-4  # of the way
_TRIMMED = (1, 99)  # percentiles between which distances count


class PathLength:
    """Mean distance of pictures a step of 1e-4 apart, divided by the square of the step.

    StyleGAN (Karras et al. 2019, arXiv 1812.04948), eq. 2 and 3; smaller is smoother. Pictures are
    taken as they are, as in StyleGAN2, not cut to a face. The smallest and the largest hundredth of
    the distances are left out.

    Args:
        space: "z", the way between latents, or "w", between styles; see `walks`.
        anywhere: steps lie all along the way ("full"), or at its beginning ("end").
        extract: gives the distances.
        context: what is walked on.
    """

    def __init__(
        self, space: str, anywhere: bool, extract: DistanceExtractor | None, context: MetricContext
    ) -> None:
        assert extract is not None
        assert context.walk is not None
        self._space, self._anywhere = space, anywhere
        self._walk = context.walk
        self._minibatch = context.minibatch
        self._extract = extract
        self._distances: list[np.ndarray] = []
        self._count = 0

    def add(self, batch: GeneratedBatch) -> None:
        """Makes as many pairs as there are pictures."""
        # A whole minibatch always: what is drawn depends on its size.
        one, other = self._walk(self._space, self._minibatch, self._count, self._anywhere)
        found = self._extract.distances(one, other)[: len(batch)]
        self._distances.append(found.astype(np.float64) / STEP**2)
        self._count += len(batch)

    def finish(self) -> dict[str, float]:
        """The length, with no suffix."""
        found = np.concatenate(self._distances)
        low = np.percentile(found, _TRIMMED[0], method="lower")
        high = np.percentile(found, _TRIMMED[1], method="higher")
        return {"": float(found[(found >= low) & (found <= high)].mean())}

    def details(self) -> dict[str, Any]:
        """Pairs compared."""
        return {"pairs": self._count}


def path_length(
    space: str, anywhere: bool, network: str
) -> Callable[[str, int, MetricContext], PathLength]:
    """Starts the metric with distances of `context.vgg16` or `context.lite0`."""
    return lambda name, num, context: PathLength(
        space, anywhere, getattr(context, network), context
    )
