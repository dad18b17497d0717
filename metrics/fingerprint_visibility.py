"""Whether the fingerprint shows: what it changes in a picture, and what the latent changes."""

from typing import Any

from metrics.context import GeneratedBatch, MetricContext
from metrics.image_difference import MeanSquaredError, PairDifferences


class FingerprintVisibility:
    """Pairs of pictures, uint8, that have all in common but the fingerprint, or but the latent.

    Suffixes, of pairs with one latent, one noise and two fingerprints, both drawn at random:

    - `_psnr`: peak signal-to-noise ratio in dB, peak 255, of the mean squared error over all
      values of all pairs; larger is better. Identical pictures give `IDENTICAL_PSNR`.
    - `_ssim`: mean structural similarity, at most 1; larger is better.
    - `_max`: mean over the pairs of the largest difference, in grey levels; smaller is better.

    `_latents_psnr` is the same ratio of pairs with one fingerprint, one noise and two latents:
    smaller is better. A generator whose pictures are all alike hides fingerprints well and is of no
    use; here it shows.
    """

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        assert context.generate_pairs is not None
        self._generate_pairs = context.generate_pairs
        self._minibatch = context.minibatch
        self._fingerprints = PairDifferences()
        self._latents = MeanSquaredError()

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images, and generates those that they are compared with."""
        images = batch.images_uint8
        # A whole minibatch again: what is drawn depends on its size.
        pairs = self._generate_pairs(self._minibatch, self._fingerprints.count)
        other_fingerprint = pairs.other_fingerprint.head(len(batch)).images_uint8
        other_latent = pairs.other_latent.head(len(batch)).images_uint8
        self._fingerprints.add(images, other_fingerprint)
        self._latents.add(images, other_latent)

    def finish(self) -> dict[str, float]:
        """What the fingerprint changes, then what the latent changes."""
        return {
            "_psnr": self._fingerprints.psnr,
            "_ssim": self._fingerprints.ssim,
            "_max": self._fingerprints.largest,
            "_latents_psnr": self._latents.psnr,
        }

    def details(self) -> dict[str, Any]:
        """Pairs compared, and the errors behind the ratios, in squared grey levels."""
        return {
            "pairs": self._fingerprints.count,
            "fingerprint_mean_squared_error": self._fingerprints.error.value,
            "latent_mean_squared_error": self._latents.value,
        }


def larger_is_better(suffix: str) -> bool:
    """Which way a figure of `FingerprintVisibility` is better."""
    return suffix in ("_psnr", "_ssim")
