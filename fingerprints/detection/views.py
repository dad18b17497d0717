"""Tried edits: a picture as others may have changed it, and as it was before.

Mirroring, turning, brightening or cropping a picture takes its bits away from a decoder that was
not trained for that, but each can be undone by whoever knows that it was done. Nobody does; so all
are tried. A *view* is the picture with one such edit undone. Every view is read and tested, and the
smallest p-value times the number of views is the picture's: the union bound, which holds however
much the views depend on each other.

Pictures are uint8 [N,H,W,C], square, before and after.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Undo = Callable[[np.ndarray], np.ndarray]
AS_IT_IS = "none"


@dataclass(frozen=True)
class View:
    """One tried edit."""

    name: str  # what had been done to the picture, in words
    undo: Undo  # uint8 [N,H,W,C] -> the same: takes that back


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


_MIRRORED = View("mirrored", _mirror)
_TURNED = (
    View("turned left", _turn(3)),
    View("upside down", _turn(2)),
    View("turned right", _turn(1)),
)
_CORNERS = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}
# What has no exact counterpart is tried in steps: a decoder bears what lies between two of them.
_STEPS = (
    View("darkened", _gain(1.3)),
    View("darkened much", _gain(1.7)),
    View("brightened", _gamma(1.5)),
    View("contrast taken", _contrast(1.5)),
    View("cropped a little", _window(1.1)),
    View("cropped", _window(1.25)),
    View("cropped much", _window(1.4)),
    View("made smaller", _window(0.9)),
    View("made much smaller", _window(0.8)),
    # What is left of a picture lies where it is not cropped.
    *(View(f"cropped to the {name}", _window(1.12, *at)) for name, at in _CORNERS.items()),
    View("cropped and darkened", _in_turn(_window(1.15), _gain(1.3))),
)
_LIGHT_STEPS = ("darkened", "brightened", "cropped a little", "cropped", "made smaller")


def _also_mirrored(view: View) -> View:
    return View(f"mirrored, {view.name}", _in_turn(_mirror, view.undo))


_NONE = (View(AS_IT_IS, _as_it_is),)
# By the name of the search, in the order in which they are tried; each begins with the one before.
SEARCHES: dict[str, tuple[View, ...]] = {"none": _NONE}
SEARCHES["light"] = (
    *_NONE,
    _MIRRORED,
    *_TURNED,
    *(view for view in _STEPS if view.name in _LIGHT_STEPS),
)
SEARCHES["full"] = (
    *SEARCHES["light"],
    *(view for view in _STEPS if view.name not in _LIGHT_STEPS),
    *(_also_mirrored(view) for view in (*_TURNED, *_STEPS)),
)


def names(search: str) -> tuple[str, ...]:
    """Names of the views of a search, `AS_IT_IS` first."""
    return tuple(view.name for view in SEARCHES[search])


def expand(images: np.ndarray, search: str) -> np.ndarray:
    """All views of pictures: uint8 [N,H,W,C], H = W -> uint8 [N,K,H,W,C]."""
    return np.stack([view.undo(images) for view in SEARCHES[search]], axis=1)
