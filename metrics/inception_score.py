"""Inception Score: how clearly pictures show one class each, and how many classes all of them."""

from typing import Any

import numpy as np
import scipy.special

from metrics.context import GeneratedBatch, MetricContext

SPLITS = 10


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """Score of Salimans et al. 2016 (arXiv 1606.03498), section 4; larger is better.

    exp of the mean over pictures of KL(p(class | picture) || p(class)), in parts of the pictures in
    the order in which they come, as published.

    Args:
        logits: of a classifier, [N,K].
        splits: parts.

    Returns:
        Mean and standard deviation over the parts, 1 to K.

    Raises:
        ValueError: another shape, or fewer pictures than parts.
    """
    if logits.ndim != 2 or len(logits) < splits:
        raise ValueError(f"expected at least {splits} rows [N,K], got {logits.shape}")
    found = []
    for part in range(splits):
        rows = logits[part * len(logits) // splits : (part + 1) * len(logits) // splits]
        logs = scipy.special.log_softmax(rows.astype(np.float64), axis=1)  # log p(class | picture)
        marginal = scipy.special.logsumexp(logs, axis=0) - np.log(len(rows))
        found.append(np.exp((np.exp(logs) * (logs - marginal)).sum(axis=1).mean()))
    return float(np.mean(found)), float(np.std(found))


class InceptionScore:
    """The score by the classifier of the Inception graph, `_mean` and `_std`; no real images."""

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        assert context.inception is not None
        self._extract = context.inception
        self._extract.classify(np.zeros([1, self._extract.num_features], np.float32))  # is it there
        self._logits: list[np.ndarray] = []

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""
        self._logits.append(self._extract.classify(batch.features(self._extract)))

    def finish(self) -> dict[str, float]:
        """Mean and spread over the parts."""
        mean, spread = inception_score(np.concatenate(self._logits))
        return {"_mean": mean, "_std": spread}

    def details(self) -> dict[str, Any]:
        """Numbers of images and parts."""
        return {"generated_images": sum(map(len, self._logits)), "splits": SPLITS}
