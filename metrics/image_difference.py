"""How much pairs of pictures differ: PSNR, structural similarity, the largest difference.

All of them are symmetric, and are computed from uint8 pictures, which is what a saved file holds.
"""

import math

import numpy as np

PEAK = 255  # grey levels
# In place of infinity, which JSON cannot say. Pictures that differ in a single value by a single
# level reach it only among 10^15 values.
IDENTICAL_PSNR = 200.0  # dB

WINDOW = 11  # pixels, of structural similarity; smaller pictures have none
_SIGMA = 1.5  # pixels
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_LUMA = np.array([0.299, 0.587, 0.114])  # of R, G, B (ITU-R BT.601)


class MeanSquaredError:
    """Mean squared error over all values of all pairs, which arrive in batches."""

    def __init__(self) -> None:
        self._sum = 0
        self._values = 0

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Takes pairs, uint8 [N,H,W,C] each.

        Raises:
            ValueError: other types, or shapes that differ.
        """
        difference = _difference(first, second)
        self._sum += int(np.square(difference).sum(dtype=np.int64))
        self._values += difference.size

    @property
    def value(self) -> float:
        """In squared grey levels, 0 to 65,025."""
        return self._sum / self._values

    @property
    def psnr(self) -> float:
        """`psnr` of the mean."""
        return psnr(self.value)


class PairDifferences:
    """All figures of pairs that arrive in batches."""

    def __init__(self) -> None:
        self.count = 0  # pairs so far
        self.error = MeanSquaredError()
        self._similarity = 0.0
        self._largest = 0

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Takes pairs, uint8 [N,H,W,C] each.

        Raises:
            ValueError: as `structural_similarity`.
        """
        self.error.add(first, second)
        self._similarity += float(structural_similarity(first, second).sum())
        self._largest += int(largest_difference(first, second).sum())
        self.count += len(first)

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB; of the mean over all pairs, not a mean of ratios."""
        return self.error.psnr

    @property
    def ssim(self) -> float:
        """Mean structural similarity, -1 to 1."""
        return self._similarity / self.count

    @property
    def largest(self) -> float:
        """Mean over the pairs of the largest absolute difference, 0 to 255 grey levels."""
        return self._largest / self.count


def psnr_between(first: np.ndarray, second: np.ndarray) -> float:
    """`psnr` of the mean over all values of pairs that are there at once, uint8 [N,H,W,C] each."""
    error = MeanSquaredError()
    error.add(first, second)
    return error.psnr


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / error); `IDENTICAL_PSNR` if that is 0.

    Args:
        mean_squared_error: in squared grey levels.
    """
    if mean_squared_error == 0:
        return IDENTICAL_PSNR
    return 10 * math.log10(PEAK**2 / mean_squared_error)


def largest_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest absolute difference of a value, per pair: uint8 [N,H,W,C] twice -> int [N].

    Raises:
        ValueError: other types, or shapes that differ.
    """
    return np.abs(_difference(first, second)).max(axis=(1, 2, 3))


def structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean SSIM per pair of pictures: uint8 [N,H,W,C] twice, RGB or grey -> float64 [N].

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to
    structural similarity", equation 13: of luma, Gaussian windows of 11x11 pixels with a standard
    deviation of 1.5, K1 = 0.01, K2 = 0.03, at all places where a whole window fits.

    Raises:
        ValueError: other types, shapes that differ, or pictures smaller than a window.
    """
    _check(first, second)
    if min(first.shape[1:3]) < WINDOW:
        raise ValueError(f"structural similarity needs {WINDOW}x{WINDOW} pixels: {first.shape}")
    x, y = _luma(first), _luma(second)
    mean_x, mean_y, xx, yy, xy = (_windowed(z) for z in (x, y, x * x, y * y, x * y))
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    variances = xx + yy - squares
    similarity = ((2 * product + _C1) * (2 * (xy - product) + _C2)) / (
        (squares + _C1) * (variances + _C2)
    )
    return similarity.mean(axis=(1, 2))


def _check(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape or first.ndim != 4 or first.shape[3] not in (1, 3):
        raise ValueError(f"expected two [N,H,W,1 or 3], got {first.shape} and {second.shape}")
    if first.dtype != np.uint8 or second.dtype != np.uint8:
        raise ValueError(f"expected uint8, got {first.dtype} and {second.dtype}")


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int32 [N,H,W,C]."""
    _check(first, second)
    return first.astype(np.int32) - second


def _luma(images: np.ndarray) -> np.ndarray:
    """uint8 [N,H,W,C] -> float64 [N,H,W]."""
    return images[..., 0].astype(np.float64) if images.shape[3] == 1 else images @ _LUMA


def _gaussian() -> np.ndarray:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


def _windowed(values: np.ndarray) -> np.ndarray:
    """Weighted means over all whole windows: [N,H,W] -> [N,H-10,W-10]."""
    height, width = (size - WINDOW + 1 for size in values.shape[1:])
    taps = list(enumerate(_gaussian()))
    rows = sum(weight * values[:, i : i + height] for i, weight in taps)
    return sum(weight * rows[:, :, i : i + width] for i, weight in taps)
