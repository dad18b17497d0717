"""FID and bit accuracy of the same generated images."""

from typing import Any

from metrics.context import GeneratedBatch, MetricContext
from metrics.frechet_inception_distance import FrechetInceptionDistance
from metrics.watermark_accuracy import WatermarkAccuracy


class FidWatermarkAccuracy:
    """Both metrics in one pass over the generated images."""

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        self._fid = FrechetInceptionDistance(name, num_images, context)
        self._accuracy = WatermarkAccuracy(name, num_images, context)

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""
        self._fid.add(batch)
        self._accuracy.add(batch)

    def finish(self) -> dict[str, float]:
        """The distance, then both accuracies."""
        return {"_fid": self._fid.finish()[""], **self._accuracy.finish()}

    def details(self) -> dict[str, Any]:
        """The counts of both."""
        return {**self._fid.details(), **self._accuracy.details()}
