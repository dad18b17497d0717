"""The published filter_2d, made of `upfirdn_2d`; the reference data hold it, networks do not."""

import tensorflow as tf

from dnnlib.tflib.ops.upfirdn_2d import Filter, setup_filter, upfirdn_2d


def filter_2d(x: tf.Tensor, k: Filter, *, gain: float = 1.0, impl: str = "auto") -> tf.Tensor:
    """Filters images [N,H,W,C] with `k`, normalised to sum `gain`; the size stays."""
    kernel = setup_filter(k, gain=gain)
    (py0, py1), (px0, px1) = (((n - 1) // 2 + (n - 1) % 2, (n - 1) // 2) for n in kernel.shape)
    return upfirdn_2d(x, kernel, padx0=px0, padx1=px1, pady0=py0, pady1=py1, impl=impl)
