"""Brightness and colour differences of ITU-R BT.601, full range, as JFIF has them (ITU-T T.871)."""

import numpy as np

_KR, _KB = 0.299, 0.114
LUMA = np.array([_KR, 1 - _KR - _KB, _KB])  # weights of red, green and blue

# T.871, section 7: from RGB, columns, to Y, Cb and Cr around 0.
TO_YCC = np.stack(
    [
        LUMA,
        (np.array([0, 0, 1]) - LUMA) / (2 - 2 * _KB),
        (np.array([1, 0, 0]) - LUMA) / (2 - 2 * _KR),
    ]
)
FROM_YCC = np.linalg.inv(TO_YCC)
