"""Takes the spreading of instances back, as somebody does who knows how they are spread."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from training.models.spread import Units, names_of, rearranged

Values = dict[str, np.ndarray]


def align(values: Values, reference: Values, units: Sequence[Units]) -> Values:
    """One file's weights in the order and the scales of another's.

    Both hold the same weights but for their biases. Layer by layer in the order of computation,
    units that say the same of the layer in front, up to a scale, are the same unit.

    Args:
        values, reference: the variables of two instances.
        units: `spread.units_of` the generator.

    Returns:
        All variables, those that spreading changes float64.
    """
    ones = {name: float(name.endswith("/mod_bias")) for name in names_of(units)}
    found = {name: values[name].astype(np.float64) + one for name, one in ones.items()}
    for each in units:
        first = each.axes[0]
        theirs = _by_unit(reference[first.name] + ones[first.name], first.axis, first.start)
        ours = _by_unit(found[first.name], first.axis, first.start)
        order = np.arange(len(theirs))
        lengths = [np.linalg.norm(rows, axis=1) for rows in (ours, theirs)]
        if not each.is_ordered:
            likeness = (theirs @ ours.T) / np.outer(lengths[1], lengths[0])
            _, order = linear_sum_assignment(likeness, maximize=True)
        scale = lengths[1] / lengths[0][order] if each.is_scaled else np.ones(len(order))
        for axis in each.axes:
            found[axis.name] = rearranged(found[axis.name], axis, order, scale)
    return dict(values) | {name: value - ones[name] for name, value in found.items()}


def _by_unit(value: np.ndarray, axis: int, start: int) -> np.ndarray:
    """[U, all else]."""
    rows = np.moveaxis(np.asarray(value, np.float64), axis, 0)
    return rows.reshape(len(rows), -1)[start:]
