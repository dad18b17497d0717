"""Matplotlib, which only what draws needs."""

from types import ModuleType

from dnnlib.optional import require

_MISSING = "drawing needs the package {name}: pip install matplotlib (or pip install '.[report]')"


def import_pyplot() -> ModuleType:
    """`matplotlib.pyplot`, drawing into files.

    Raises:
        UserError: it is not installed.
    """
    require("matplotlib", _MISSING).use("Agg")
    return require("matplotlib.pyplot", _MISSING)
