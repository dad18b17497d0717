"""Memory of the device that the kernels run on: CuPy's, PyTorch's or, for loops, NumPy's.

Arrays go there and come back as bytes, so that no library has to know bfloat16.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dnnlib.errors import UserError
from dnnlib.optional import require

_ALIGNMENT = 256  # bytes, that of CUDA's allocations


class Arrays(Protocol):
    """A device's memory."""

    name: str  # of the device
    arch: str  # CUDA architecture such as sm_90; "" for the CPU
    stream: int  # a cudaStream_t

    def put(self, data: np.ndarray) -> Any:
        """Bytes [n] on the device, aligned as CUDA aligns them."""

    def get(self, data: Any) -> np.ndarray:
        """Bytes [n] from the device, when all launches have ended."""

    def address(self, data: Any) -> int:
        """Of the first byte."""

    def copy(self, source: Any, target: Any) -> None:
        """Copies all bytes, without waiting."""

    def wait(self) -> None:
        """Until all launches have ended."""


class HostArrays:
    """NumPy's, for a library of `compile_host`."""

    name, arch, stream = "CPU, threads as loops", "", 0

    def put(self, data: np.ndarray) -> np.ndarray:
        """See `Arrays`."""
        space = np.empty(data.size + _ALIGNMENT, np.uint8)
        start = -space.ctypes.data % _ALIGNMENT
        space[start : start + data.size] = data
        return space[start : start + data.size]

    def get(self, data: np.ndarray) -> np.ndarray:
        """See `Arrays`."""
        return data.copy()

    def address(self, data: np.ndarray) -> int:
        """See `Arrays`."""
        return data.ctypes.data

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        """See `Arrays`."""
        target[:] = source

    def wait(self) -> None:
        """See `Arrays`."""


class CupyArrays:
    """CuPy's, on its current GPU."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        device = cupy.cuda.Device()
        self.name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
        self.arch = f"sm_{device.compute_capability}"
        self.stream = cupy.cuda.get_current_stream().ptr

    def put(self, data: np.ndarray) -> Any:
        """See `Arrays`."""
        return self._cupy.asarray(data)

    def get(self, data: Any) -> np.ndarray:
        """See `Arrays`."""
        self.wait()
        return self._cupy.asnumpy(data)

    def address(self, data: Any) -> int:
        """See `Arrays`."""
        return data.data.ptr

    def copy(self, source: Any, target: Any) -> None:
        """See `Arrays`."""
        self._cupy.copyto(target, source)

    def wait(self) -> None:
        """See `Arrays`."""
        self._cupy.cuda.Device().synchronize()


class TorchArrays:
    """PyTorch's, on its current GPU."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.name = torch.cuda.get_device_name()
        self.arch = "sm_{}{}".format(*torch.cuda.get_device_capability())
        self.stream = torch.cuda.current_stream().cuda_stream

    def put(self, data: np.ndarray) -> Any:
        """See `Arrays`."""
        return self._torch.from_numpy(data).cuda()

    def get(self, data: Any) -> np.ndarray:
        """See `Arrays`."""
        self.wait()
        return data.cpu().numpy()

    def address(self, data: Any) -> int:
        """See `Arrays`."""
        return data.data_ptr()

    def copy(self, source: Any, target: Any) -> None:
        """See `Arrays`."""
        target.copy_(source)

    def wait(self) -> None:
        """See `Arrays`."""
        self._torch.cuda.synchronize()


def gpu_arrays() -> Arrays:
    """CuPy's or PyTorch's, whichever is there and sees a GPU.

    Raises:
        UserError: neither.
    """
    reasons = []
    for name, title, has_gpu, make in (
        ("cupy", "CuPy", lambda module: module.cuda.runtime.getDeviceCount() > 0, CupyArrays),
        ("torch", "PyTorch", lambda module: module.cuda.is_available(), TorchArrays),
    ):
        try:
            module = require(name, f"{title} is not installed")
            if has_gpu(module):
                return make(module)
            reasons.append(f"{title} sees no GPU")
        except UserError as error:
            reasons.append(str(error))
        except Exception as error:  # of a driver: each has its own
            reasons.append(f"{title}: {' '.join(str(error).split())}")
    raise UserError(
        f"the CUDA kernels cannot be run here: {', '.join(reasons)}; go to a machine with a GPU "
        "and one of the two, or give --host to run them as loops on the CPU"
    )


def seconds(arrays: Arrays, call: Callable[[], None], rounds: int = 20) -> float:
    """Median time of a call in seconds, of batches of calls between two waits."""
    call()
    times = []
    for _ in range(rounds):
        arrays.wait()
        begin = time.perf_counter()
        for _ in range(4):
            call()
        arrays.wait()
        times.append((time.perf_counter() - begin) / 4)
    return float(np.median(times))
