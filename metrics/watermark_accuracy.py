"""Bit accuracy: how many bits of the fingerprint the decoder reads back from generated images."""

from typing import Any

import numpy as np

from dnnlib.pixels import centred
from fingerprints.bits import decide_bits
from metrics.context import GeneratedBatch, MetricContext


class WatermarkAccuracy:
    """Share of bits that the decoder reads correctly, 0.5 (chance) to 1; larger is better.

    The headline, called `_uint8` as well so that a line of results says what it is, reads uint8
    images, what a saved file holds. The `_float` figure reads the generator's unclipped floats, as
    the published code does under the headline's name.
    """

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        assert context.decode is not None
        self._decode = context.decode
        self._matches = 0
        self._matches_float = 0
        self._bits = 0

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""
        from_uint8 = self._decode(centred(batch.images_uint8.astype(np.float32)))
        self._matches += count_matches(from_uint8, batch.bits)
        self._matches_float += count_matches(self._decode(batch.images_float), batch.bits)
        self._bits += batch.bits.size

    def finish(self) -> dict[str, float]:
        """Both accuracies, the first under its published name too."""
        return {
            "_watermark_bit_accuracy": self._matches / self._bits,
            "_watermark_bit_accuracy_uint8": self._matches / self._bits,
            "_watermark_bit_accuracy_float": self._matches_float / self._bits,
        }

    def details(self) -> dict[str, Any]:
        """The integers behind the accuracies."""
        return {
            "bits": self._bits,
            "matching_bits": self._matches,
            "matching_bits_float": self._matches_float,
        }


def count_matches(logits: np.ndarray, bits: np.ndarray) -> int:
    """Number of bits [N,B] (0 or 1) that the logits [N,B] tell correctly; positive means 1.

    Raises:
        ValueError: the shapes differ.
    """
    if logits.shape != bits.shape:
        raise ValueError(f"logits {logits.shape} do not fit bits {bits.shape}")
    return int(np.count_nonzero(decide_bits(logits) == bits))
