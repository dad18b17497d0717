"""How many bits are read from edited pictures, looked at while a decoder learns to read them."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from fingerprints.bits import decide_bits
from training.edits.probes import PROBES

_SEED = (0, 0)


def accuracies_after_edits(
    images: np.ndarray, bits: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Name of an edit of `PROBES` -> share of bits that are read behind it, from 8-bit pictures.

    Args:
        images: uint8 [N,H,W,C].
        bits: [N,B] of 0 and 1, which they carry.
        decode: float32 images [N,H,W,C] around [-1,1] -> logits [N,B]; all workers call it.
    """
    pictures = centred(tf.constant(images, tf.float32))
    found = {}
    for name, probe in PROBES.items():
        edited = probe.apply(
            pictures, probe.draw(pictures.shape, tf.constant(_SEED), tf.constant(1.0))
        )
        rounded = np.rint(127.5 * (edited.numpy() + 1)).astype(np.float32)
        found[name] = float(np.mean(decide_bits(decode(centred(rounded))) == bits))
    return found
