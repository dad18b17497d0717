"""Pictures that tests of edits share."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Pictures of the data set that comes along, uint8 [64,32,32,3]."""
    with zipfile.ZipFile(ROOT / "datasets" / "noto-emoji-32.zip") as archive:
        names = [file for file in archive.namelist() if file.endswith(".png")]
        files = [io.BytesIO(archive.read(file)) for file in names[:: len(names) // 64][:64]]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
