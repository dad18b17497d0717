"""A made-up published loader: what the TensorFlow 1 code does with the states in a snapshot.

Python's own unpickler with stand-ins for the classes of a program that has NumPy 1. Any name
beyond those that its time had is an error, and so is whatever the published `Network` would
refuse.
"""

import io
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy._core import multiarray

MODULE = "training.networks_stylegan2"
FUNCTIONS = (
    "G_main_watermark",
    "G_mapping_watermark",
    "G_synthesis_stylegan2",
    "D_stylegan2",
    "E_stylegan2_watermark",
)


class EasyDict(dict):
    """A dictionary whose items are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Network:
    """The published class, as far as loading goes."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        assert state["version"] in (2, 3, 4, 5, 6)
        self.name: str = state["name"]
        self.static_kwargs = EasyDict(state["static_kwargs"])
        self.components = EasyDict(state.get("components", {}))
        assert all(isinstance(c, Network) for c in self.components.values())
        module = types.ModuleType(f"imported_{self.name}")
        exec(state["build_module_src"], module.__dict__)
        self.build_function = getattr(module, state["build_func_name"])
        self.variables: dict[str, Any] = {}
        for name, value in state["variables"]:
            assert name not in self.variables
            assert isinstance(value, np.ndarray | np.float32)
            assert value.dtype == np.float32
            self.variables[name] = value

    def all_variables(self) -> dict[str, Any]:
        """Own ones and those of the components, under the names of the published graph."""
        result = dict(self.variables)
        for component in self.components.values():
            result |= {f"{component.name}/{k}": v for k, v in component.variables.items()}
        return result


class Loader(pickle.Unpickler):
    """Knows the names that Python 3.6 with NumPy 1 and the published code would find."""

    KNOWN = {
        ("dnnlib.tflib.network", "Network"): Network,
        ("dnnlib.util", "EasyDict"): EasyDict,
        ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
        ("numpy.core.multiarray", "scalar"): multiarray.scalar,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        return self.KNOWN[module, name]


def load(data: bytes) -> Any:
    """Unpickles as the published code would, whose networks file is made up, too."""
    with _published_module():
        return Loader(io.BytesIO(data)).load()


@contextmanager
def _published_module() -> Iterator[None]:
    module = types.ModuleType(MODULE)
    for name in FUNCTIONS:
        setattr(module, name, name)
    sys.modules[MODULE] = module
    try:
        yield
    finally:
        del sys.modules[MODULE]
