"""Figures with the interval in which the true value lies, from counts and from means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

LEVEL = 0.95  # confidence of all intervals


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def percent(self) -> str:
        """`98.4 % (97.1 to 99.2)`."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def share(is_so: np.ndarray | Sequence[bool]) -> Figure:
    """The share of those that are so, with the exact interval of Clopper and Pearson (1934).

    Args:
        is_so: bool [N], N at least 1, independent of each other.
    """
    found = np.asarray(is_so, bool)
    test = scipy.stats.binomtest(int(found.sum()), len(found))
    interval = test.proportion_ci(LEVEL)
    return Figure(float(found.mean()), float(interval.low), float(interval.high))


def mean(values: np.ndarray) -> Figure:
    """The mean of values of independent pictures, with Student's interval.

    Values of one picture, such as its bits, are not independent: give their mean per picture. One
    value alone says nothing of the spread: its interval is itself.

    Args:
        values: [N], N at least 1.
    """
    values = np.asarray(values, np.float64)
    centre = float(values.mean())
    if len(values) < 2:
        return Figure(centre, centre, centre)
    reach = scipy.stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1) * scipy.stats.sem(values)
    return Figure(centre, centre - float(reach), centre + float(reach))
