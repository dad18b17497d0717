"""The frozen graph in a pickled network of the published code, such as `inception_v3_features.pkl`.

Such a file is one `dnnlib.tflib.network.Network` whose source text imports a serialized GraphDef.
The text is never run; the graph is looked for among the data: bytes, or an array of uint8, in the
keyword arguments, the variables or a component. Where the published file keeps it is nowhere
documented, so any of these places will do.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.errors import UserError
from training.models import legacy

PICKLE = b"\x80"  # how every pickle of protocol 2 and later begins, and no GraphDef


def read_frozen_graph(path: str | os.PathLike[str]) -> bytes:
    """The serialized GraphDef in a pickled network; what it holds is not checked yet.

    Args:
        path: the pickle, which may be hostile.

    Raises:
        UserError: no network, one without such data, or a file that asks for more than data.
    """
    where = os.fspath(path)
    content = safe_pickle.load(path, legacy.ALLOW, where)
    network = content.state if isinstance(content, safe_pickle.Inert) else None
    if network is None:
        raise UserError(f"{where} is a pickle, but not of one network of the published code")
    found = list(_byte_strings(network))
    if not found:
        variables = network.get("variables")
        number = len(variables) if isinstance(variables, list) else 0
        raise UserError(
            f"{where} is a network of {number} variables that holds no serialized graph; its "
            "source text, which would say how to build it, is never run"
        )
    return max(found, key=len)  # the others could only be names or hints


def _byte_strings(value: Any) -> Iterator[bytes]:
    """All bytes within plain data, of finite depth; the reader has seen to that."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim <= 1:
        yield value.tobytes()
    elif isinstance(value, safe_pickle.Inert):
        yield from _byte_strings(value.state)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _byte_strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _byte_strings(item)
