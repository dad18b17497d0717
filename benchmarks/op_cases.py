"""The operations that are measured, and how."""

from typing import Any

# Name -> operation, shape of the images, keywords.
CASES: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "bias, lrelu": ("fused_bias_act", [4, 128, 128, 64], {"act": "lrelu"}),
    "FIR behind an upsampling convolution": (
        "upfirdn_2d",
        [4, 129, 129, 64],
        {"padx0": 1, "padx1": 1, "pady0": 1, "pady1": 1},
    ),
    "FIR, every 2nd pixel": (
        "upfirdn_2d",
        [4, 128, 128, 64],
        {"downx": 2, "downy": 2, "padx0": 1, "padx1": 1, "pady0": 1, "pady1": 1},
    ),
    "RGB, upsampled": (
        "upfirdn_2d",
        [4, 64, 64, 3],
        {"upx": 2, "upy": 2, "padx0": 2, "padx1": 1, "pady0": 2, "pady1": 1},
    ),
}
IMPLEMENTATIONS = ("plain", "XLA", "compiled")
