"""Precision, recall, density and coverage: whose neighbourhoods features fall into."""

from dataclasses import dataclass

import numpy as np

PRECISION_NEIGHBOURS = 3
DENSITY_NEIGHBOURS = 5
_BLOCK = 1000  # rows at a time: distances of 1,000 to 50,000 rows take 400 MB


@dataclass(frozen=True)
class ManifoldFigures:
    """All four; larger is better. Density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_figures(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    precision_neighbours: int = PRECISION_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
) -> ManifoldFigures:
    """Compares features by balls that reach from each to its k-th neighbour of the same set.

    Precision: share of generated features in some ball of a real one; recall: of real ones in some
    ball of a generated one (Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2; k = 3, the
    ball's surface counts). Density: mean number of real balls that a generated feature is in,
    divided by k; coverage: share of real balls with a generated feature in them (Naeem et al. 2020,
    arXiv 2002.09797, eq. 4 and 5; k = 5, the surface does not count).

    Args:
        real: [M,F].
        generated: [N,F].
        precision_neighbours: k of precision and recall.
        density_neighbours: k of density and coverage.

    Raises:
        ValueError: other shapes, or too few rows for the neighbours.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(f"expected [M,F] and [N,F], got {real.shape} and {generated.shape}")
    largest = max(precision_neighbours, density_neighbours)
    if min(len(real), len(generated)) <= largest:
        raise ValueError(f"{largest} neighbours need {largest + 1} rows of each")
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    neighbours = (precision_neighbours, density_neighbours)
    near_real, wide_real = _radii(real, neighbours)
    near_generated, _ = _radii(generated, neighbours)

    in_real = np.zeros(len(generated), bool)
    in_generated = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    balls = 0
    for first in range(0, len(generated), _BLOCK):
        block = slice(first, first + _BLOCK)
        squared = _squared_distances(generated[block], real)
        in_real[block] = (squared <= near_real).any(axis=1)
        in_generated |= (squared <= near_generated[block, None]).any(axis=0)
        inside = squared < wide_real
        balls += int(inside.sum())
        covered |= inside.any(axis=0)
    return ManifoldFigures(
        precision=float(in_real.mean()),
        recall=float(in_generated.mean()),
        density=balls / (density_neighbours * len(generated)),
        coverage=float(covered.mean()),
    )


def _radii(rows: np.ndarray, neighbours: tuple[int, int]) -> np.ndarray:
    """Squared distances [2,N] to the k-th nearest other row, for both k."""
    found = []
    for first in range(0, len(rows), _BLOCK):
        squared = _squared_distances(rows[first : first + _BLOCK], rows)
        # A row is its own nearest, whatever rounding says.
        squared[np.arange(len(squared)), first + np.arange(len(squared))] = -1
        found.append(np.partition(squared, neighbours, axis=1)[:, neighbours])
    return np.concatenate(found).T


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N,F], [M,F] -> [N,M]."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
    return np.maximum(squared, 0)
