"""Deviations from reference arrays, and the tolerances that they are held to."""

from dataclasses import dataclass

import numpy as np

VALUE_TOLERANCE = 1e-4  # of outputs, losses and results of operations
GRADIENT_TOLERANCE = 1e-3  # of gradients, as a share of the largest entry
# Of values beyond 10, single precision is given 1e-5 of the largest one.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Deviation:
    """How far one array is from its reference."""

    name: str  # of the array in the reference file
    value: float  # largest deviation, absolute or as a share of the largest entry
    tolerance: float
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the tolerance is exceeded; a value that is not a number exceeds it."""
        return not self.value <= self.tolerance

    @property
    def share_of_tolerance(self) -> float:
        """1 at the limit; infinite for values that are not finite."""
        return self.value / self.tolerance if np.isfinite(self.value) else float("inf")


def failure(name: str, note: str) -> Deviation:
    """A comparison that could not be made, which counts as a failed one."""
    return Deviation(name, float("inf"), VALUE_TOLERANCE, note)


def compare_values(name: str, actual: np.ndarray, expected: np.ndarray) -> Deviation:
    """Largest absolute deviation of an output, a loss or the result of an operation."""
    if actual.shape != expected.shape:
        return failure(name, f"shape {actual.shape}, in the file {expected.shape}")
    tolerance = max(VALUE_TOLERANCE, ROUNDING * largest(expected))
    return Deviation(name, largest(actual - expected), tolerance)


def compare_gradients(
    name: str, actual: np.ndarray, expected: np.ndarray, floor: float
) -> Deviation:
    """Largest deviation of a gradient as a share of its largest entry.

    `floor` replaces a largest entry below it: gradients that are zero, or a single number in which
    large terms cancel, have no meaningful share.
    """
    if actual.shape != expected.shape:
        return failure(name, f"shape {actual.shape}, in the file {expected.shape}")
    share = largest(actual - expected) / max(largest(expected), floor)
    return Deviation(name, share, GRADIENT_TOLERANCE, "of the largest entry")


def largest(array: np.ndarray) -> float:
    """Largest magnitude in an array, 0 where it is empty."""
    return float(np.max(np.abs(array), initial=0.0))
