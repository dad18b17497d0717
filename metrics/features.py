"""Features of real images, computed once for all metrics of a run; what feature networks take."""

from collections.abc import Iterator

import numpy as np

from dnnlib.errors import UserError
from metrics.context import FeatureExtractor, MetricContext, log

# More than this is not kept for other metrics: 30,000 images have 250 MB of Inception features.
MAX_BYTES = 1 << 29


def rgb_of(images: np.ndarray) -> np.ndarray:
    """[N,H,W,1 or 3] -> [N,H,W,3]; grey is repeated."""
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def rgb_of_files(images: np.ndarray) -> np.ndarray:
    """The same of what files hold, uint8.

    Raises:
        ValueError: another type or number of channels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(f"expected uint8 [N,H,W,1 or 3], got {images.dtype} {images.shape}")
    return rgb_of(images)


def real_features(context: MetricContext, extract: FeatureExtractor, num_images: int) -> np.ndarray:
    """float32 [num_images,F] of the first real images in file order.

    They are kept in the context for the run's other metrics.

    Raises:
        ValueError: there are not so many real images.
    """
    assert context.dataset is not None
    key = f"{extract.sha256} {context.dataset.cache_key()} {context.mirror_augment}"
    found = context.kept.get(key)
    if found is None or len(found) < num_images:
        batches = [extract(images) for images in context.real_batches(num_images)]
        found = np.concatenate(batches)
        context.kept[key] = found
    return found[:num_images]


def real_feature_batches(
    context: MetricContext, extract: FeatureExtractor, num_images: int
) -> Iterator[np.ndarray]:
    """The same in batches; very many are not kept."""
    if num_images * extract.num_features * 4 <= MAX_BYTES:
        yield real_features(context, extract, num_images)
        return
    for images in context.real_batches(num_images):
        yield extract(images)


def num_reals(name: str, num_images: int, context: MetricContext, least: int) -> int:
    """How many real images metric `name` compares with: as many as are generated, if there are.

    Raises:
        UserError: there are fewer than `least`.
    """
    assert context.dataset is not None
    available = context.dataset.num_images
    if available < least:
        raise UserError(
            f"the data set {context.dataset.name} has {available} images; {name} needs {least}"
        )
    if available < num_images:
        log.warning(
            "warning: %s: the data set %s has %d images, not %d; all of them are used",
            name, context.dataset.name, available, num_images,
        )  # fmt: skip
    return min(num_images, available)
