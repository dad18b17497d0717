"""How many bits are read from edited pictures, looked at while an immunised model is trained."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from fingerprints.bits import decide_bits
from training.edits.probes import PROBES
from training.grids import Appearance

_IMAGES = 16  # pictures per edit
_SEED = (0, 0)


def accuracies_after_edits(
    seen: Appearance, decode: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Name of an edit of `PROBES` -> share of bits that are read behind it, from 8-bit pictures.

    Args:
        seen: pictures and their bits.
        decode: float32 images [N,H,W,C] around [-1,1] -> logits [N,B]; all workers call it.
    """
    images = centred(tf.constant(seen.images[:_IMAGES], tf.float32))
    bits = seen.bits[:_IMAGES]
    found = {}
    for name, probe in PROBES.items():
        edited = probe.apply(images, probe.draw(images.shape, tf.constant(_SEED), tf.constant(1.0)))
        rounded = np.rint(127.5 * (edited.numpy() + 1)).astype(np.float32)
        found[name] = float(np.mean(decide_bits(decode(centred(rounded))) == bits))
    return found
