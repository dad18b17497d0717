"""KID: the unbiased squared maximum mean discrepancy of features under a cubic kernel."""

import numpy as np

SUBSETS = 100
SUBSET_SIZE = 1000  # images
_SEED = 2020  # of the subsets: the figures of torch-fidelity's default


def kernel_distance(
    generated: np.ndarray,
    real: np.ndarray,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> tuple[float, float]:
    """Kernel distance of Binkowski et al. 2018 (arXiv 1801.01401), section 4; smaller is better.

    The mean over random subsets of the unbiased estimate of MMD^2 with k(x,y) = (x.y/F + 1)^3; it
    may be a little below 0. Subsets are drawn as torch-fidelity draws them, so that the same
    features give its figure. A set smaller than `subset_size` is taken whole, with the other cut
    to as many.

    Args:
        generated: features [N,F].
        real: features [M,F].
        subsets: how many are drawn.
        subset_size: rows in each.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        ValueError: other shapes, or fewer than two rows.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(f"expected [N,F] and [M,F], got {generated.shape} and {real.shape}")
    size = min(subset_size, len(generated), len(real))
    if size < 2:
        raise ValueError("a kernel distance needs two rows of each")
    if size == len(generated) == len(real):
        subsets = 1  # each would be all rows
    rnd = np.random.RandomState(_SEED)
    found = []
    for _ in range(subsets):
        x = generated[rnd.choice(len(generated), size, replace=False)].astype(np.float64)
        y = real[rnd.choice(len(real), size, replace=False)].astype(np.float64)
        found.append(_unbiased_mmd2(x, y))
    return float(np.mean(found)), float(np.std(found))


def _unbiased_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, equation 3, of equally many rows [m,F]."""
    m = len(x)
    within = 0.0
    for rows in (x, y):
        values = _kernel(rows, rows)
        within += values.sum() - np.trace(values)
    return float(within / (m * (m - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    values = x @ y.T / x.shape[1] + 1
    return values * values * values  # faster than a power
