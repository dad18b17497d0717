"""Cases of upfirdn_2d, and what they give by its definition."""

import numpy as np
import scipy.signal

FIR = [1.0, 3.0, 3.0, 1.0]


def insert_zeros(x, upy, upx):
    """Every pixel of [N,H,W,C] followed by up - 1 zeros."""
    n, height, width, channels = x.shape
    y = np.zeros([n, height * upy, width * upx, channels], x.dtype)
    y[:, ::upy, ::upx] = x
    return y


def pad_or_crop(x, pady0, pady1, padx0, padx1):
    y = np.pad(x, [[0, 0], [max(pady0, 0), max(pady1, 0)], [max(padx0, 0), max(padx1, 0)], [0, 0]])
    height, width = y.shape[1:3]
    rows = slice(max(-pady0, 0), height - max(-pady1, 0))
    return y[:, rows, max(-padx0, 0) : width - max(-padx1, 0)]


def reference_upfirdn(x, k, *, upx=1, upy=1, downx=1, downy=1, padx=(0, 0), pady=(0, 0)):
    x = pad_or_crop(insert_zeros(x, upy, upx), *pady, *padx)
    y = scipy.signal.convolve(x, k[None, :, :, None], mode="valid")
    return y[:, ::downy, ::downx]


def random_case(seed):
    """Sizes, factors, pads (cropping ones too) and a filter, separable or not."""
    rng = np.random.default_rng(seed)
    while True:
        height, width, kh, kw = (int(v) for v in rng.integers([1, 1, 1, 1], [12, 12, 7, 7]))
        upx, upy, downx, downy = (int(v) for v in rng.integers(1, 5, 4))
        pads = [int(v) for v in rng.integers(-3, 8, 4)]
        sizes = (height * upy, width * upx)
        cropped = min(min(pads[:2]), 0) + sizes[0], min(min(pads[2:]), 0) + sizes[1]
        if min(cropped) < 3 or sizes[0] + sum(pads[:2]) < kh or sizes[1] + sum(pads[2:]) < kw:
            continue
        k = rng.standard_normal([kh, kw])
        if seed % 2:
            k = np.outer(k[:, 0], k[0])
        x = rng.standard_normal([2, height, width, 3]).astype(np.float32)
        factors = {"upx": upx, "upy": upy, "downx": downx, "downy": downy}
        return x, k.astype(np.float32), factors, pads


def pad_arguments(pads):
    return dict(zip(("pady0", "pady1", "padx0", "padx1"), pads, strict=True))
