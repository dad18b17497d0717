"""Mean and covariance of features, and the Frechet distance between two of them."""

import numpy as np

# Rows that are gathered before they are merged: the merge costs F^2 whatever their number.
_BLOCK = 1024


class FeatureStatistics:
    """Mean and covariance (divided by n - 1) of rows that arrive in batches, in float64.

    Blocks are merged by the update of Chan, Golub and LeVeque (1983), which does not cancel when
    the mean is large against the spread.
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self._mean = np.zeros(num_features)
        self._scatter = np.zeros([num_features, num_features])
        self._waiting: list[np.ndarray] = []

    def add(self, features: np.ndarray) -> None:
        """Takes features [N,F] of any float type.

        Raises:
            ValueError: another number of columns, or values that are not finite.
        """
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(f"expected [N,{len(self._mean)}], got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite")
        self._waiting.append(features.astype(np.float64))
        if sum(map(len, self._waiting)) >= _BLOCK:
            self._merge()

    def _merge(self) -> None:
        block = np.concatenate([np.empty([0, len(self._mean)]), *self._waiting])
        self._waiting = []
        if not len(block):
            return
        total = self.count + len(block)
        block_mean = block.mean(axis=0)
        delta = block_mean - self._mean
        block -= block_mean
        self._scatter += block.T @ block
        self._scatter += np.outer(delta, delta) * (self.count * len(block) / total)
        self._mean = self._mean + delta * (len(block) / total)
        self.count = total

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 [F] and [F,F] of all rows so far.

        Raises:
            ValueError: fewer than two rows.
        """
        self._merge()
        if self.count < 2:
            raise ValueError(f"a covariance needs two rows, got {self.count}")
        return self._mean, self._scatter / (self.count - 1)


def frechet_distance(
    mean_real: np.ndarray,
    cov_real: np.ndarray,
    mean_generated: np.ndarray,
    cov_generated: np.ndarray,
) -> float:
    """Squared Frechet distance of two Gaussians (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^(1/2) C2 C1^(1/2))^(1/2). With C = F F^T the last trace
    is the sum of the singular values of F1^T F2, whose squares are eigenvalues of a symmetric
    matrix: nothing complex arises. F holds the non-zero eigenvectors alone, so that singular
    covariances lose no precision. Symmetric in its arguments; smaller is better.

    Args:
        mean_real: [F].
        cov_real: [F,F], symmetric, positive semi-definite.
        mean_generated: [F].
        cov_generated: [F,F].
    """
    factor_real = _factor(cov_real)
    factor_generated = _factor(cov_generated)
    if factor_real.shape[1] > factor_generated.shape[1]:
        factor_real, factor_generated = factor_generated, factor_real
    cross = factor_real.T @ factor_generated
    eigenvalues = np.linalg.eigvalsh(cross @ cross.T)
    trace_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    difference = np.asarray(mean_real, np.float64) - np.asarray(mean_generated, np.float64)
    traces = np.trace(cov_real) + np.trace(cov_generated)
    # Rounding may leave a tiny negative number where the distance is zero.
    return float(max(difference @ difference + traces - 2 * trace_root, 0.0))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """[F,rank] whose product with its transpose is `covariance`."""
    eigenvalues, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    tolerance = max(eigenvalues[-1], 0) * len(eigenvalues) * np.finfo(np.float64).eps
    keep = eigenvalues > tolerance
    return vectors[:, keep] * np.sqrt(eigenvalues[keep])
