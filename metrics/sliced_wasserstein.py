"""SWD: sliced Wasserstein distance between patches of real and generated images.

A quality figure that needs no pre-trained network. From Karras, Aila, Laine, Lehtinen,
"Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018 (arXiv
1710.10196), section 5 and appendix G; the distance is that of Rabin, Peyre, Delon, Bernot,
"Wasserstein Barycenter and its Application to Texture Mixing", SSVM 2011.

Images are taken apart into a Laplacian pyramid down to 16x16. At every level 7x7 patches at random
places are compared: each set is normalised by its own mean and standard deviation per channel
(so that an even shift of a colour or of the contrast is *not* seen), and both are projected onto
512 random directions, where the distance of two sets of equal size is the mean difference of the
sorted values. Figures are multiplied by 1000.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from metrics.context import GeneratedBatch, MetricContext, log

MIN_RESOLUTION = 16  # pixels: the coarsest level
PATCH = 7  # pixels
PATCHES_PER_IMAGE = 128
# Beyond 1024 images fewer patches are taken of each. The paper goes to 2^21 per level, which is
# 1.2 GB per level and set; 2^17 leave the spread of the figure to the number of images.
MAX_PATCHES = 2**17
REPEATS = 4
DIRECTIONS = 128  # per repeat
SCALE = 1e3

_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


class SlicedWasserstein:
    """SWD against the first n real images in file order; smaller is better.

    Suffixes: `_<resolution>` for every level, finest first, and `_avg`, their mean.
    """

    def __init__(self, name: str, num_images: int, context: MetricContext) -> None:
        assert context.dataset is not None
        num_reals = context.dataset.num_images
        if num_reals < num_images:
            log.warning(
                "warning: %s: the data set %s has %d images, not %d; as many of each are compared",
                name, context.dataset.name, num_reals, num_images,
            )  # fmt: skip
        self._num_images = min(num_images, num_reals)
        self._seed = context.seed

        def patches() -> Patches:
            return Patches(self._num_images, context.resolution, context.num_channels, context.seed)

        # The same places in both, so that equal images give exactly zero.
        self._real, self._generated = patches(), patches()
        for images in context.real_batches(self._num_images):
            self._real.add(images)

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images; those beyond the number of reals are left out."""
        self._generated.add(batch.images_uint8[: self._num_images - self._generated.count])

    def finish(self) -> dict[str, float]:
        """The distance at every level, then their mean."""
        real, generated = self._real.normalised(), self._generated.normalised()
        rnd = np.random.RandomState(self._seed)
        values = {
            f"_{level}": SCALE * sliced_distance(real[level], generated[level], rnd)
            for level in real
        }
        return {**values, "_avg": float(np.mean(list(values.values())))}

    def details(self) -> dict[str, Any]:
        """Numbers compared."""
        return {
            "real_images": self._real.count,
            "generated_images": self._generated.count,
            "patches_per_image": self._real.per_image,
        }


def levels(resolution: int) -> list[int]:
    """Resolutions of the pyramid, finest first: 128 -> [128, 64, 32, 16].

    Raises:
        UserError: images smaller than the coarsest level.
    """
    if resolution < MIN_RESOLUTION:
        raise UserError(
            f"swd needs images of at least {MIN_RESOLUTION}x{MIN_RESOLUTION}, "
            f"got {resolution}x{resolution}; use watermark_accuracy_<n>k or fid<n>k"
        )
    result = [resolution]
    while result[-1] >= 2 * MIN_RESOLUTION:
        result.append(result[-1] // 2)
    return result


def laplacian_pyramid(images: np.ndarray, num_levels: int) -> list[np.ndarray]:
    """Images [N,H,W,C] as band-pass images, finest first; the last level is the low-pass rest.

    Filter [1,4,6,4,1]/16 in both directions, edges mirrored (Burt and Adelson 1983).
    """
    pyramid = []
    current = images.astype(np.float32)
    for _ in range(num_levels - 1):
        smaller = _blur(current)[:, ::2, ::2]
        larger = np.zeros_like(current)
        larger[:, ::2, ::2] = smaller
        pyramid.append(current - 4 * _blur(larger))
        current = smaller
    return [*pyramid, current]


def _blur(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        pad = [(2, 2) if a == axis else (0, 0) for a in range(4)]
        padded = np.moveaxis(np.pad(images, pad, mode="reflect"), axis, 0)
        size = images.shape[axis]
        taps = [weight * padded[i : i + size] for i, weight in enumerate(_BINOMIAL)]
        images = np.moveaxis(sum(taps[1:], taps[0]), 0, axis)
    return images


class Patches:
    """Patches at random places of every pyramid level of images that arrive in batches."""

    def __init__(self, num_images: int, resolution: int, num_channels: int, seed: int) -> None:
        self.count = 0  # images so far
        self.per_image = max(1, min(PATCHES_PER_IMAGE, MAX_PATCHES // num_images))
        self._levels = levels(resolution)
        rnd = np.random.RandomState(seed)
        size = (num_images, self.per_image, 2)
        shape = (num_images, self.per_image, PATCH, PATCH, num_channels)
        self._corners = [rnd.randint(0, level - PATCH + 1, size) for level in self._levels]
        self._patches = [np.empty(shape, np.float32) for _ in self._levels]

    def add(self, images: np.ndarray) -> None:
        """Takes uint8 images [N,H,W,C]."""
        part = slice(self.count, self.count + len(images))
        number = np.arange(len(images))[:, None, None, None]
        offset = np.arange(PATCH)
        pyramid = laplacian_pyramid(images, len(self._levels))
        for band, corners, patches in zip(pyramid, self._corners, self._patches, strict=True):
            y, x = corners[part, :, 0], corners[part, :, 1]  # [N,P]
            rows = y[:, :, None, None] + offset[:, None]
            columns = x[:, :, None, None] + offset
            patches[part] = band[number, rows, columns]  # [N,P,7,7,C]
        self.count += len(images)

    def normalised(self) -> dict[int, np.ndarray]:
        """Per level the patches as float32 [N*P, 7*7*C], mean 0 and deviation 1 per channel.

        The patches are normalised where they lie: to be called once.

        Raises:
            ValueError: fewer images than announced.
        """
        result = {}
        for level, patches in zip(self._levels, self._patches, strict=True):
            if self.count < len(patches):
                raise ValueError(f"{self.count} images of {len(patches)}")
            rows = patches.reshape(patches.shape[0] * patches.shape[1], -1)  # [N*P,7*7*C]
            rows -= self._per_channel(rows.mean(axis=0, dtype=np.float64))
            squares = [np.square(part).sum(axis=0, dtype=np.float64) for part in _chunks(rows)]
            deviation = np.sqrt(self._per_channel(np.sum(squares, axis=0) / len(rows)))
            # A channel without any contrast stays zero.
            rows /= np.where(deviation > 0, deviation, 1)
            result[level] = rows
        return result

    def _per_channel(self, columns: np.ndarray) -> np.ndarray:
        """[7*7*C] -> the mean over the pixels of a patch for every channel, again [7*7*C]."""
        means = columns.reshape(PATCH * PATCH, -1).mean(axis=0)
        return np.tile(means, PATCH * PATCH).astype(np.float32)


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of a few megabytes, so that temporary arrays stay small."""
    for first in range(0, len(rows), 4096):
        yield rows[first : first + 4096]


def sliced_distance(real: np.ndarray, generated: np.ndarray, rnd: np.random.RandomState) -> float:
    """Mean distance of [M,F] and [M,F] over 512 random directions; symmetric, smaller is better.

    Args:
        real: descriptors of real images.
        generated: as many descriptors of generated images.
        rnd: draws the directions.
    """
    total = 0.0
    for _ in range(REPEATS):
        directions = rnd.randn(real.shape[1], DIRECTIONS).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        total += distance_along(real, generated, directions)
    return total / REPEATS


def distance_along(real: np.ndarray, generated: np.ndarray, directions: np.ndarray) -> float:
    """Mean over the directions of the 1-D Wasserstein-1 distance of the projections.

    Args:
        real: [M,F].
        generated: [M,F].
        directions: [F,K], columns of length 1.

    Raises:
        ValueError: sets of different size; sorted values pair up only in equal ones.
    """
    if real.shape != generated.shape:
        raise ValueError(f"sets of different size: {real.shape} and {generated.shape}")
    along_real, along_generated = directions.T @ real.T, directions.T @ generated.T  # [K,M]
    along_real.sort(axis=1)
    along_generated.sort(axis=1)
    return float(np.abs(along_real - along_generated).mean(dtype=np.float64))
