"""Numbers that change in the course of a run: a constant, or a line through points.

`5@60,15@80` is 5 until 60 kimg, then rises to 15 at 80 kimg and stays there. Settings, flags and
JSON have it as that text, or as a plain number.
"""

import math
import re
from itertools import pairwise

Ramp = float | str
_POINT = r"([0-9.eE+-]+)@([0-9.eE+-]+)"


def parse_ramp(text: str) -> Ramp:
    """A number of at least 0, or points VALUE@KIMG in order of KIMG, with commas between.

    Raises:
        ValueError: anything else.
    """
    if "@" not in text:
        return _number(text)
    points = _points(text)
    if any(one[0] >= other[0] for one, other in pairwise(points)):
        raise ValueError(f"{text}: not in order of kimg")
    return text


def value_at(ramp: Ramp, kimg: float) -> float:
    """The number after `kimg` thousand real images were shown."""
    if not isinstance(ramp, str):
        return float(ramp)
    points = _points(ramp)
    if kimg <= points[0][0]:
        return points[0][1]
    for (begin, low), (end, high) in pairwise(points):
        if kimg <= end:
            return low + (high - low) * (kimg - begin) / (end - begin)
    return points[-1][1]


def _points(text: str) -> list[tuple[float, float]]:
    """`5@60,15@80` -> [(60, 5), (80, 15)]."""
    points = []
    for part in text.split(","):
        match = re.fullmatch(_POINT, part.strip())
        if match is None:
            raise ValueError(f"{part}: expected VALUE@KIMG")
        points.append((_number(match[2]), _number(match[1])))
    return points


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text}: expected a number of at least 0")
    return value
