"""From pixels to what networks see, and how far pictures are apart."""

import math
from typing import Any

import numpy as np

MAX_PSNR = 100.0  # dB, of pictures that are equal


def centred(pixels: Any) -> Any:
    """Float32 values 0 to 255, an array or a tensor, to [-1,1]: x / 127.5 - 1."""
    return pixels / 127.5 - 1.0


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 arrays of one shape: 10 log10(255^2 / mean square).

    The mean is over all values, and equal arrays have `MAX_PSNR`.
    """
    difference = one.astype(np.float64) - other.astype(np.float64)
    error = float(np.mean(np.square(difference)))
    return MAX_PSNR if error == 0 else min(10 * math.log10(255**2 / error), MAX_PSNR)
