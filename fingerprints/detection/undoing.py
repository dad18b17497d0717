"""How edits are undone: each function gives a picture as it may have been before.

Pictures are uint8 [N,H,W,C], square, before and after. No edit is undone exactly but mirroring and
turning; the others are tried in steps, and a decoder bears what lies between two of them.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

Undo = Callable[[np.ndarray], np.ndarray]


def _as_it_is(images: np.ndarray) -> np.ndarray:
    return images


def _mirror(images: np.ndarray) -> np.ndarray:
    return images[:, :, ::-1]


def _turn(quarters: int) -> Undo:
    """Turns by quarters, counter-clockwise."""
    return lambda images: np.rot90(images, quarters, axes=(1, 2))


def _tone(curve: Callable[[np.ndarray], np.ndarray]) -> Undo:
    """A curve on values in [0,1], by table; what leaves the range is clipped."""
    values = np.clip(curve(np.arange(256) / 255), 0, 1)
    table = np.rint(values * 255).astype(np.uint8)
    return lambda images: table[images]


def _gain(factor: float) -> Undo:
    return _tone(lambda value: value * factor)


def _gamma(exponent: float) -> Undo:
    return _tone(lambda value: value**exponent)


def _contrast(factor: float) -> Undo:
    """About the middle grey."""
    return _tone(lambda value: 0.5 + (value - 0.5) * factor)


def _window(share: float, right: float = 0.5, down: float = 0.5) -> Undo:
    """Looks at a window of `share` of the side: above 1 puts a border around the picture.

    What lies outside repeats the picture's edge.

    Args:
        share: side of the window over the picture's.
        right, down: where what the window and the picture differ by is cut or added: 0 all on the
            right (or below), 1 all on the left (above).
    """

    def undo(images: np.ndarray) -> np.ndarray:
        columns = _weights(images.shape[2], share, right)
        rows = _weights(images.shape[1], share, down)
        found = np.einsum("ih,nhwc->niwc", rows, images.astype(np.float32), optimize=True)
        found = np.einsum("jw,niwc->nijc", columns, found, optimize=True)
        return np.rint(found).clip(0, 255).astype(np.uint8)

    return undo


@cache
def _weights(size: int, share: float, offset: float) -> np.ndarray:
    """Rows that resample `size` pixels linearly (triangle filter, wider when shrinking)."""
    begin = (1 - share) * offset * size
    centres = begin + (np.arange(size) + 0.5) * share - 0.5
    reach = max(share, 1.0)
    source = np.arange(-size, 2 * size)
    weights = np.maximum(0, 1 - np.abs(source[None] - centres[:, None]) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = np.zeros([size, size], np.float32)
    np.add.at(inside.T, np.clip(source, 0, size - 1), weights.T)
    return inside


def _in_turn(first: Undo, second: Undo) -> Undo:
    return lambda images: second(first(images))


def _also_mirrored(undo: Undo) -> Undo:
    return _in_turn(_mirror, undo)


_CORNERS = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}
_TURNS: dict[str, Undo] = {
    "turned left": _turn(3),
    "upside down": _turn(2),
    "turned right": _turn(1),
}
# What is tried first, of what has no exact counterpart.
_COMMON: dict[str, Undo] = {
    "darkened": _gain(1.3),
    "brightened": _gamma(1.5),
    "cropped a little": _window(1.1),
    "cropped": _window(1.25),
    "made smaller": _window(0.9),
}
_RARE: dict[str, Undo] = {
    "darkened much": _gain(1.7),
    "contrast taken": _contrast(1.5),
    "cropped much": _window(1.4),
    "made much smaller": _window(0.8),
    # What is left of a picture lies where it is not cropped.
    **{f"cropped to the {name}": _window(1.12, *at) for name, at in _CORNERS.items()},
    "cropped and darkened": _in_turn(_window(1.15), _gain(1.3)),
}
AS_IT_IS = "as it is"

# By what was done to the picture, in the order in which they are tried.
LIGHT: dict[str, Undo] = {AS_IT_IS: _as_it_is, "mirrored": _mirror, **_TURNS, **_COMMON}
FULL: dict[str, Undo] = {
    **LIGHT,
    **_RARE,
    **{
        f"mirrored, {name}": _also_mirrored(undo)
        for name, undo in {**_TURNS, **_COMMON, **_RARE}.items()
    },
}
