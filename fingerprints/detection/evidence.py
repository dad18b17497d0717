"""What logits weigh, and how often chance does as well: the statistic behind every verdict.

A fingerprint f is compared with the logits l of a picture by T = sum of |l_i| * s_i, s_i = +1 where
the sign of l_i is the bit f_i and -1 elsewhere. For a picture that has nothing to do with f, drawn
uniformly, the s_i are fair coins, independent of each other and of the picture. So T is a sum of
fair signs with given weights, whatever the decoder does and whatever the picture is.

That holds for any weights that follow from the picture. So they are whole numbers: |l_i| in
eighths of their mean, rounded; the tail of T is then counted exactly, and nothing is too small for
having been rounded. Instead of T, its defect is used throughout, the sum of the weights of the bits
that do not agree, called `lost`: T = sum of weights - 2 * lost.

With weights that are all the same T is the number of matching bits: decisions by bits are those of
logits that were replaced by their signs.
"""

import functools

import numpy as np

from fingerprints.detection.tails import binomial_tail
from fingerprints.detection.views import Decision

GRID = 8  # steps in the mean |logit|
# Of the series: exponents of its tilts, per mean weight; what its sum may be off by, and the sum
# from which on that is little; the log of a size below which terms are left out, which takes less
# than 2e-17 * (d + 1) off a sum; to what part of itself a value is rounded up; numbers in a table
# at a time.
_TILTS = np.arange(0, 6.1, 0.75)
_SERIES_ERROR = 1e-11
_SERIES_LEAST = 1e-5
_NEGLIGIBLE = -39.0
_DIGITS = 2**20
_SERIES_VALUES = 2**21
_RESCALE = 512  # halvings that are done at once; floats end at 2**1023
_UNDERFLOW = 1e-300  # more than what is lost where floats end at the other side


def weigh(logits: np.ndarray, decision: Decision = "soft") -> np.ndarray:
    """Weights with the sign of the decided bit.

    Args:
        logits: of the decoder, [...,B], finite, of any scale.
        decision: `soft` as the module says; `bits`: all weights are 1, also of a logit of 0.

    Returns:
        int32 [...,B]: positive for a decided 1, negative for a 0. Sums of weights are at most
        9.5 * B. A logit that is not 0 weighs 1 at least: so all bits count where few dominate.
    """
    logits = np.asarray(logits, np.float64)
    if decision == "bits":
        return np.where(logits > 0, 1, -1).astype(np.int32)
    sizes = np.abs(logits)
    # Twice: the mean of numbers near the end of floats would not be finite.
    largest = sizes.max(axis=-1, keepdims=True)
    sizes = np.divide(sizes, largest, out=np.zeros_like(sizes), where=largest > 0)
    mean = sizes.mean(axis=-1, keepdims=True)
    steps = np.divide(GRID * sizes, mean, out=np.zeros_like(sizes), where=mean > 0)
    steps = np.maximum(np.rint(steps), logits != 0)
    return np.copysign(steps, logits).astype(np.int32)


def unit(logits: np.ndarray, decision: Decision = "soft") -> np.ndarray:
    """What a weight of 1 is in logits: float64 [...] for logits [...,B]."""
    if decision == "bits":
        return np.ones(np.shape(logits)[:-1])
    return np.abs(np.asarray(logits, np.float64)).mean(axis=-1) / GRID


def lost_weight(weights: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Weight of the bits of a fingerprint that do not agree with what was decided.

    Args:
        weights: of `weigh`, [...,B].
        bits: uint8 [...,B] of 0 and 1; leading dimensions broadcast.

    Returns:
        int64 [...].
    """
    is_wrong = (weights > 0) != (bits != 0)
    return np.asarray(np.sum(np.abs(weights) * is_wrong, axis=-1, dtype=np.int64))


def chance(weights: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """P[a fingerprint drawn by fair coins loses no more than `lost`], never too small.

    Equal weights give the binomial tail. Others are counted exactly, by a Fourier series for many
    at a time, one by one where that loses digits; either way floating-point errors are rounded up.

    Args:
        weights: integers [M,B], of either sign, or 0 for bits that do not count.
        lost: integers [M], from 0 on: sums of weights of some bits.

    Returns:
        float64 [M], in (0, 1]; 1 where no bit has weight. At least 1e-300 beyond 1,000 bits.
    """
    weights, lost = np.abs(np.asarray(weights, np.int64)), np.asarray(lost, np.int64)
    if weights.ndim != 2 or lost.shape != weights.shape[:1] or np.any(lost < 0):
        raise ValueError(f"no chances for weights {weights.shape} and losses {lost.shape}")
    found = np.ones(len(weights))
    largest = weights.max(axis=1, initial=0)
    total = weights.sum(axis=1)
    num = np.count_nonzero(weights, axis=1)
    is_equal = num * largest == total
    missed = np.minimum(lost[is_equal] // np.maximum(largest[is_equal], 1), num[is_equal])
    found[is_equal] = binomial_tail(num[is_equal] - missed, num[is_equal])
    others = np.flatnonzero(~is_equal & (lost < total))
    step = max(1, _SERIES_VALUES // int(total.max(initial=0) + 1))
    for start in range(0, len(others), step):
        rows = others[start : start + step]
        found[rows] = _by_series(weights[rows], lost[rows])
    for row in np.flatnonzero(np.isnan(found)):
        found[row] = _by_counting(weights[row], int(lost[row]))
    return np.minimum(np.where(num > 1000, np.maximum(found, _UNDERFLOW), found), 1.0)


def _by_counting(weights: np.ndarray, lost: int) -> float:
    """The tail of one row by dynamic programming over sums up to `lost`.

    `ways[s]` is the share of the subsets of the bits so far with the sum s. All terms are positive,
    so the relative error is at most one rounding per addition: it is added.
    """
    weights = weights[weights > 0]
    ways = np.zeros(lost + 1)
    ways[0] = 1.0
    for number, weight in enumerate(weights.tolist(), 1):
        if weight <= lost:
            ways[weight:] += ways[: lost + 1 - weight]
        if number % _RESCALE == 0:
            ways *= 0.5**_RESCALE
    share = float(ways.sum()) * 0.5 ** (len(weights) % _RESCALE)
    share *= 1 + (len(weights) + lost + 2) * 2.0**-52
    return share if len(weights) <= 1000 else share + _UNDERFLOW


def _by_series(weights: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The tails of many rows [M,B] by Fourier series; NaN where that loses digits.

    With a tilt a, a wrong bit of weight w has the odds r^w, r = exp(-a), instead of 1 (Esscher,
    Skandinavisk Aktuarietidskrift 15, 1932), so that sums near `lost` are likely:
    P[S <= d] = M * r^-d * sum over s <= d of r^(d-s) * P_a[S = s], M = product of (1 + r^w) / 2.
    """
    width = int(weights.max()) + 1
    cells = np.arange(len(weights))[:, None] * width + weights
    counts = np.bincount(cells.reshape(-1), minlength=len(weights) * width).reshape(-1, width)
    values = np.flatnonzero(counts.any(axis=0))
    counts = counts[:, values].astype(np.float64)
    tilts = _TILTS / weights.mean(where=weights > 0)
    odds = np.exp(-np.multiply.outer(values, tilts))  # [V,tilts]
    means = counts @ (values[:, None] * odds / (1 + odds))
    chosen = np.argmin(np.abs(means - lost[:, None]), axis=1)
    found = np.empty(len(weights))
    for number in np.unique(chosen):
        rows = np.flatnonzero(chosen == number)
        sums = _tilted_sums(counts[rows], values, lost[rows], tilts[number])
        size = counts[rows] @ np.log((1 + odds[:, number]) / 2) + tilts[number] * lost[rows]
        tails = np.exp(size) * (1 + 1e-12) * (sums + _SERIES_ERROR)
        found[rows] = np.where(sums > _SERIES_LEAST, tails, np.nan)
    # Up to the next of few digits: so a row has the same value whichever rows are beside it.
    mantissas, exponents = np.frexp(found)
    return np.ldexp(np.ceil(mantissas * _DIGITS) / _DIGITS, exponents)


@functools.lru_cache(maxsize=64)
def _circle(points: int) -> np.ndarray:
    """The n-th roots of one, complex [n]."""
    return np.exp(2j * np.pi * np.arange(points) / points)


def _tilted_sums(
    counts: np.ndarray, values: np.ndarray, lost: np.ndarray, tilt: float
) -> np.ndarray:
    """Sum over s <= d of r^(d-s) * P_a[S = s], see `_by_series`; [M], exact to `_SERIES_ERROR`.

    S is a sum of independent whole numbers with the characteristic function
    f(t) = product of (1 + z^w) / (1 + r^w), z = r * e^it, t = 2 pi k / n. As no S exceeds n - 1,
    the inverse transform on n points is exact, and the sum over s is a geometric one.

    Args:
        counts: [M,V], how often a row has each weight.
        values: [V], these weights.
        lost: [M], the d.
        tilt: a.
    """
    points = int((counts @ values).max() + 1) | 1  # odd: k and n - k are conjugate, z is never -1
    k = np.arange(1, points // 2 + 1)
    circle = _circle(points)
    odds = np.exp(-tilt * values)[:, None]
    powers = circle[np.multiply.outer(values, k) % points]  # [V,n/2]
    real, imaginary = 1 + odds * powers.real, odds * powers.imag
    size = counts @ (0.5 * np.log((real**2 + imaginary**2) / (1 + odds) ** 2))
    kept = np.flatnonzero((size > _NEGLIGIBLE).any(axis=0))
    angle = counts @ np.arctan2(imaginary[:, kept], real[:, kept])
    k = k[kept]
    ratio, length = np.exp(-tilt), lost[:, None] + 1
    # e^-idt * (1 + z + ... + z^d)
    geometric = circle[-(lost[:, None] * k) % points] - ratio**length * circle[k]
    geometric *= 1 / (1 - ratio * circle[k])
    terms = np.exp(size[:, kept] + 1j * angle) * geometric
    first = length[:, 0] if tilt == 0 else (1 - ratio ** length[:, 0]) / (1 - ratio)
    return (first + 2 * terms.real.sum(axis=1)) / points
