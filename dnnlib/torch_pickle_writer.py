"""Tensors and modules as PyTorch pickles them, for `pickle_writer`: no torch is imported.

The counterpart of `torch_pickle`. A tensor brings its numbers as a stream of their own, in the form
in which `torch.save` wrote them before PyTorch 1.6 and every PyTorch reads them; a module is one of
NVIDIA's `torch_utils.persistence`, which runs a source text to get the module's class.
"""

import math
import pickle
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib.pickle_values import Call

VERSION = 6  # of the form of persistent objects
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_SYSTEM = {
    "protocol_version": _PROTOCOL,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
_KEY = "0"  # of the one stretch of numbers in a stream


def _no_hooks() -> Call:
    return Call("collections.OrderedDict")


def tensor(value: np.ndarray) -> Call:
    """A tensor of float32 on the CPU, numbers in C's order.

    Args:
        value: of any shape.
    """
    value = np.ascontiguousarray(value, "<f4").reshape(value.shape)  # () stays ()
    strides = tuple(math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim))
    numbers = Call("torch.storage._load_from_bytes", (_stream(value),))
    form = (numbers, 0, value.shape, strides, False, _no_hooks())
    return Call("torch._utils._rebuild_tensor_v2", form)


def parameter(value: np.ndarray) -> Call:
    """A `tensor` that can be trained."""
    return Call("torch._utils._rebuild_parameter", (tensor(value), True, _no_hooks()))


def _stream(value: np.ndarray) -> bytes:
    """Small pickles of protocol 2, and the numbers."""
    # Of a tuple whose second item is the name of a class, which is not there.
    head = pickle.PROTO + b"\2" + pickle.MARK + _text("storage")
    head += pickle.GLOBAL + b"torch\nFloatStorage\n" + _text(_KEY) + _text("cpu")
    head += pickle.BININT + struct.pack("<i", value.size) + pickle.NONE
    head += pickle.TUPLE + pickle.BINPERSID + pickle.STOP
    before = b"".join(pickle.dumps(part, 2) for part in (_MAGIC, _PROTOCOL, _SYSTEM))
    numbers = struct.pack("<q", value.size) + value.tobytes()
    return before + head + pickle.dumps([_KEY], 2) + numbers


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def module(
    class_name: str,
    source: str,
    *,
    parameters: Mapping[str, np.ndarray] | None = None,
    buffers: Mapping[str, np.ndarray] | None = None,
    modules: Mapping[str, Call] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """A persistent `torch.nn.Module`, not in training.

    Args:
        class_name: of a class that `source` makes.
        source: Python, which the reader runs.
        parameters, buffers: float32, by name.
        modules: those within it.
        attributes: all else that the class's functions need of it.
    """
    hooks = {
        name: _no_hooks()
        for name in (
            *("_backward_pre_hooks", "_backward_hooks", "_forward_hooks"),
            *("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks"),
            *("_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks"),
            *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
        )
    }
    state = {
        "training": False,
        "_parameters": {name: parameter(value) for name, value in (parameters or {}).items()},
        "_buffers": {name: tensor(value) for name, value in (buffers or {}).items()},
        "_non_persistent_buffers_set": Call("builtins.set", ([],)),
        "_is_full_backward_hook": None,
        **hooks,
        "_modules": dict(modules or {}),
        **(attributes or {}),
    }
    meta = {
        "type": "class",
        "version": VERSION,
        "module_src": source,
        "class_name": class_name,
        "state": state,
    }
    return Call("torch_utils.persistence._reconstruct_persistent_obj", (meta,))
