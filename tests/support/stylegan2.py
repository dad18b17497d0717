"""The reference files of StyleGAN2 without fingerprints, in both layouts."""

import numpy as np

from tests.support.paths import REFERENCE

NAMES = ("plain_skip_16", "plain_resnet_32_labels")
FILES = [(name, f"{layout}.pkl") for name in NAMES for layout in ("tf", "torch")]


def load_reference(name: str) -> dict[str, np.ndarray]:
    """Inputs and outputs: z, labels, ws, ws_psi06, image_*, d_in, d_out; images are NCHW."""
    with np.load(REFERENCE / f"{name}.npz") as archive:
        return dict(archive)
