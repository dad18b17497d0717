"""A library of the launchers alone: compiled by nvcc, or by the host compiler as loops, and called.

The structures are those of `dnnlib/tflib/ops/*.h`, the functions those at the end of the `.cu`
files.
"""

import ctypes
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.tflib.compilers import (
    NVCC,
    OPS,
    SOURCES,
    failure,
    find_compiler,
    find_nvcc,
    gencode,
    run,
)

TYPES = ("float32", "float16", "bfloat16")  # enum DataType
# enum Activation
ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")
PATHS = ("none", "same", "up2", "down2")  # enum FastPath
MAX_TAPS = 32
_HOST = ["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-DGAN_CUDA_ON_HOST"]


class BiasAct(ctypes.Structure):
    """One call of bias, activation, gain and clamp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("size", "channels")),
        *((name, ctypes.c_int) for name in ("act", "order")),
        *((name, ctypes.c_float) for name in ("alpha", "gain", "clamp")),
    ]


class Upfirdn(ctypes.Structure):
    """One call of upsampling, filter and downsampling."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("n", "in_h", "in_w", "channels", "out_h", "out_w")),
        *((name, ctypes.c_int64) for name in ("padx0", "pady0")),
        *((name, ctypes.c_int) for name in ("upx", "upy", "downx", "downy", "kw", "kh")),
    ]


class LaunchError(Exception):
    """CUDA refused a launch; the text is its own."""


class Launchers:
    """The functions of a library that `compile_cuda` or `compile_host` made.

    Addresses are those of arrays of the library's device; `stream` is a cudaStream_t, or 0.
    """

    def __init__(self, path: Path, stream: int = 0) -> None:
        self._library = ctypes.CDLL(os.fspath(path))
        self._stream = ctypes.c_void_p(stream)
        self._library.gan_cuda_problem.restype = ctypes.c_char_p

    def problem(self) -> str | None:
        """Why the library's kernels cannot run on this machine, or None."""
        text = self._library.gan_cuda_problem()
        return text.decode() if text else None

    def set_blocks(self, first: int, end: int) -> None:
        """On the host: only the blocks [first, end) of the launches to come run."""
        self._library.gan_host_blocks(ctypes.c_uint(first), ctypes.c_uint(end))

    def bias_act(self, dtype: str, g: int, x: int, b: int, y: int, call: BiasAct) -> None:
        """Launches the kernel; `g` and `b` are 0 where there are none. LaunchError if refused."""
        pointers = [ctypes.c_void_p(address) for address in (g, x, b, y)]
        self._launch("gan_bias_act_cuda", dtype, [*pointers, ctypes.byref(call)])

    def upfirdn(
        self,
        dtype: str,
        x: int,
        y: int,
        call: Upfirdn,
        k: np.ndarray,
        taps: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Launches a kernel: the fast path where `taps`, column and row, are given.

        Args:
            dtype: one of TYPES.
            x, y: addresses of images [N,H,W,C] and of the result.
            call: sizes, factors and pads.
            k: filter [kh,kw] of a true convolution.
            taps: column [4] and row [4], whose outer product is `k`.

        Raises:
            LaunchError: CUDA refused it.
        """
        filter_ = (ctypes.c_float * MAX_TAPS**2)(*k[::-1, ::-1].ravel().tolist())
        factors = (call.upy, call.downy)
        path = {(1, 1): "same", (2, 1): "up2", (1, 2): "down2"}[factors] if taps else "none"
        values = [float(v) for line in taps or () for v in line[::-1]]
        arguments: list[Any] = [ctypes.c_int(PATHS.index(path))]
        arguments += [ctypes.c_void_p(x), ctypes.c_void_p(y), ctypes.byref(call)]
        arguments += [ctypes.byref(filter_), ctypes.byref((ctypes.c_float * 8)(*values))]
        self._launch("gan_upfirdn_cuda", dtype, arguments)

    def _launch(self, name: str, dtype: str, arguments: Sequence[Any]) -> None:
        function = getattr(self._library, name)
        function.restype = ctypes.c_char_p
        error = function(ctypes.c_int(TYPES.index(dtype)), *arguments, self._stream)
        if error:
            raise LaunchError(error.decode())


def bias_act_call(
    shape: Sequence[int], act: str, order: int, alpha: float, gain: float, clamp: float | None
) -> BiasAct:
    """The structure for x [..., C]."""
    limit = math.inf if clamp is None else clamp
    index = ACTIVATIONS.index(act)
    return BiasAct(math.prod(shape), shape[-1], index, order, alpha, gain, limit)


def compile_cuda(folder: Path, archs: Sequence[str], sources: Path = SOURCES) -> Path:
    """Compiles the launchers for CUDA architectures such as sm_90; into `folder`.

    Raises:
        BuildError: no compiler, or it failed.
    """
    flags = [*NVCC, "-shared", "-ccbin", find_compiler(), *gencode(archs)]
    return _compile([find_nvcc(), *flags], folder / "kernels.so", sources)


def compile_host(folder: Path, sources: Path = SOURCES) -> Path:
    """Compiles the launchers for the CPU, threads as loops (`cuda_on_host.h`); into `folder`.

    Raises:
        BuildError: no compiler, or it failed.
    """
    return _compile([find_compiler(), *_HOST, "-x", "c++"], folder / "kernels-host.so", sources)


def _compile(command: Sequence[str], path: Path, sources: Path) -> Path:
    ok, text = run([*command, *(os.fspath(sources / f"{op}.cu") for op in OPS), "-o", str(path)])
    log = path.with_suffix(".log")
    log.write_text(text, encoding="utf-8")
    if not ok:
        raise failure(log)
    return path
