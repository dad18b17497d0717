"""The folder of what was downloaded or computed once and is kept for later commands."""

import os
from pathlib import Path

CACHE_VARIABLE = "GAN_FINGERPRINTS_CACHE"


def default_cache_dir() -> Path:
    """$GAN_FINGERPRINTS_CACHE, else gan-fingerprints in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # An XDG path that is not absolute is to be ignored, says its specification.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "gan-fingerprints"
