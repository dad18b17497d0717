"""The edits by name, and several of them in a row.

The order is always that of `EDITS`: what an editor does to a picture, what a camera or a chat adds,
and saving as the last. A picture goes through a few of them, three on average, and one in eight
through none. Before and after, images are cut to [-1,1], which is what a file keeps; they are
not rounded to 8 bits.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

import tensorflow as tf

from dnnlib.errors import UserError
from training.edits.colour import (
    BRIGHTNESS,
    CONTRAST,
    GREY,
    HUE,
    SATURATION,
    TINT,
    ColourEdit,
    apply_colours,
)
from training.edits.edit import BLACK, WHITE, Chain, Draws, Edit, PixelEdit, apply_pixel_edits
from training.edits.geometry import BLUR, CROP, FLIP, HALF, GeometricEdit, apply_geometry
from training.edits.jpeg import JPEG
from training.edits.pixels import ERASE, NOISE

FEW = 3.0  # edits that a picture goes through on average
UNTOUCHED = 1 / 8  # of the pictures

_IN_ORDER = (
    *(FLIP, CROP, HALF, BLUR),
    *(BRIGHTNESS, CONTRAST, TINT, SATURATION, GREY, HUE),
    *(ERASE, NOISE, JPEG),
)
EDITS: dict[str, Edit] = {edit.name: edit for edit in _IN_ORDER}

# Names for several edits. "light" is what happens to pictures that nobody means to change.
GROUPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "light": ("half", "blur", "noise", "jpeg"),
    "geometry": ("flip", "crop", "half", "blur"),
    "colour": ("brightness", "contrast", "tint", "saturation", "grey", "hue"),
    "full": tuple(EDITS),
}
LIGHT = 0.5  # share of their ranges that the edits of "light" have

_TOGETHER: dict[type[Edit], Callable[..., tf.Tensor]] = {
    GeometricEdit: apply_geometry,
    ColourEdit: apply_colours,
    PixelEdit: apply_pixel_edits,
}


def parse_edits(text: str) -> tuple[str, ...]:
    """Names of edits and groups, with commas between, to names of edits, in their order.

    Raises:
        UserError: a name is unknown.
    """
    return tuple(_shares(text))


def named_chain(text: str) -> Chain:
    """What the names stand for, see `parse_edits`; edits of "light" have half their ranges.

    Raises:
        UserError: a name is unknown.
    """
    shares = _shares(text)
    return chain([EDITS[name] for name in shares], list(shares.values()))


def _shares(text: str) -> dict[str, float]:
    """Edit -> the share of its ranges that is used."""
    shares: dict[str, float] = {}
    for word in text.split(","):
        name = word.strip()
        if name not in GROUPS and name not in EDITS:
            known = ", ".join([*GROUPS, *EDITS])
            raise UserError(f"edit {name or repr(name)}: unknown; choose from {known}")
        share = LIGHT if name == "light" else 1.0
        for edit in GROUPS.get(name, (name,)):
            shares[edit] = max(share, shares.get(edit, 0.0))
    return {name: shares[name] for name in EDITS if name in shares}


def chain(edits: Sequence[Edit], shares: Sequence[float] | None = None) -> Chain:
    """The edits in a row, for every picture a few of them.

    Args:
        edits: in this order, no name twice.
        shares: of the edits' ranges that strength 1 stands for, 0 to 1; None: all of them.
    """
    num = len(edits)
    probability = min(1.0, FEW / max(num, 1))
    ranges = [1.0] * num if shares is None else shares

    def draw(shape: Sequence[int], seed: tf.Tensor, strength: tf.Tensor) -> Draws:
        seeds = tf.random.stateless_uniform([num + 1, 2], seed, None, None, tf.int64)
        chances = tf.random.stateless_uniform([num + 1, shape[0]], seeds[num])
        happens = (chances < probability) & (chances[num] >= UNTOUCHED)
        strengths = tf.where(happens, strength, 0.0)
        drawn: Draws = {}
        for i, edit in enumerate(edits):
            for key, value in edit.draw(shape, seeds[i], ranges[i] * strengths[i]).items():
                drawn[f"{edit.name}/{key}"] = value
        return drawn

    def apply(images: tf.Tensor, draws: Draws) -> tf.Tensor:
        return apply_edits(edits, images, [_of(edit.name, draws) for edit in edits])

    return Chain(apply, draw)


def apply_edits(edits: Sequence[Edit], images: tf.Tensor, draws: Sequence[Draws]) -> tf.Tensor:
    """Edits with draws of their own each: [N,H,W,C] -> the same in [-1,1].

    Neighbours of one kind are put together: a picture is resampled once and recoloured once.
    """
    images = tf.clip_by_value(images, BLACK, WHITE)
    for kind, pairs in groupby(zip(edits, draws, strict=True), key=lambda pair: type(pair[0])):
        together, drawn = zip(*pairs, strict=True)
        images = _TOGETHER[kind](together, images, drawn)
    return tf.clip_by_value(images, BLACK, WHITE)


def _of(name: str, draws: Draws) -> Draws:
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in draws.items()
        if key.startswith(f"{name}/")
    }
