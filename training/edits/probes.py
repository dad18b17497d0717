"""Single edits of fixed strength: how many bits are read after each of them, while training."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from training.edits.chain import apply_edits
from training.edits.colour import BRIGHTNESS, CONTRAST, GREY
from training.edits.edit import Chain, Draws, Edit
from training.edits.geometry import BLUR, CROP, FLIP, HALF
from training.edits.jpeg import JPEG
from training.edits.pixels import NOISE

_NOISE_SEED = (0, 0)


def _probe(edit: Edit, draw: Callable[[Sequence[int]], Draws]) -> Chain:
    """One edit by draws that only follow from N,H,W,C."""
    return Chain(
        lambda images, draws: apply_edits([edit], images, [draws]),
        lambda shape, seed, strength: draw(shape),
    )


def _fixed(edit: Edit, **values: float | bool) -> Chain:
    """One edit with the same draws for every picture."""

    def draw(shape: Sequence[int]) -> Draws:
        return {name: tf.fill([shape[0]], value) for name, value in values.items()}

    return _probe(edit, draw)


def _jpeg(quality: float) -> Chain:
    return _fixed(JPEG, on=True, quality=quality, subsampled=True)


def _noise(levels: float) -> Chain:
    """Deviation in levels of 255; the same noise whenever the shape is the same."""

    def draw(shape: Sequence[int]) -> Draws:
        return {"noise": levels / 127.5 * tf.random.stateless_normal(shape, _NOISE_SEED)}

    return _probe(NOISE, draw)


PROBES: dict[str, Chain] = {
    "jpeg75": _jpeg(75.0),  # quality; halved colour, as most programs save
    "jpeg50": _jpeg(50.0),
    "flip": _fixed(FLIP, mirrored=True),
    "crop90": _fixed(CROP, scale=0.9, y=0.0, x=0.0, white=False),  # % of the side, the middle
    "half": _fixed(HALF, share=0.5),  # of the side, and back
    "blur1": _fixed(BLUR, sigma=1.0),  # pixels of a picture of 32x32
    "noise10": _noise(25.5),  # deviation in % of the range
    "bright08": _fixed(BRIGHTNESS, factor=0.8),
    "bright12": _fixed(BRIGHTNESS, factor=1.2),
    "contrast08": _fixed(CONTRAST, factor=0.8),
    "grey": _fixed(GREY, factor=0.0),
}
