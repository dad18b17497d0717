"""The compilers of the custom operations: where they are, how they are called, why they failed.

No TensorFlow: `tools/check_kernels.py` compiles the CUDA kernels without it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dnnlib.errors import UserError

OPS = ("fused_bias_act", "upfirdn_2d")
SOURCES = Path(__file__).resolve().parent / "ops"
NVCC = ["-O3", "-std=c++17", "-cudart", "static", "-Xcompiler", "-fPIC"]


class BuildError(UserError):
    """The custom operations cannot be compiled, loaded or trusted: why, and the cure."""


def find_compiler() -> str:
    """The C++ compiler, $CXX if that is set; BuildError where there is none."""
    chosen = os.environ.get("CXX", "").strip()
    for name in [chosen] if chosen else ["g++", "c++", "clang++"]:
        if found := shutil.which(name):
            return found
    missing = f"there is no {chosen} ($CXX)" if chosen else "no C++ compiler (g++, c++, clang++)"
    raise BuildError(
        f"custom operations: {missing}; install one, for example with `apt install g++`, or set CXX"
    )


def find_nvcc() -> str:
    """CUDA's compiler, that of $CUDA_HOME if that is set; BuildError where there is none."""
    home = os.environ.get("CUDA_HOME", "").strip()
    for name in [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]:
        if found := shutil.which(name):
            return found
    missing = f"there is no {home}/bin/nvcc ($CUDA_HOME)" if home else "no CUDA compiler (nvcc)"
    raise BuildError(
        f"custom operations: {missing}; install the CUDA toolkit (12.1 or newer), or set CUDA_HOME"
    )


def run(command: Sequence[str]) -> tuple[bool, str]:
    """Runs a compiler: whether it succeeded, and the command with its output."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return False, f"{' '.join(command)}\nerror: cannot run {command[0]}: {error.strerror}\n"
    end = f"error: {command[0]} ended with status {done.returncode}\n" if done.returncode else ""
    return done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{end}"


def failure(log: Path) -> BuildError:
    """The first line of the log that names an error, and where the rest is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if re.search(r"\berror\b|\bfatal\b", line, re.IGNORECASE)]
    reason = errors[0].strip() if errors else "no reason given"
    return BuildError(
        f"custom operations: the build failed: {reason}; see {log}, then repair the compiler or "
        "choose another one with CXX (C++) or CUDA_HOME (nvcc)"
    )


def gencode(archs: Sequence[str]) -> list[str]:
    """nvcc's flags for CUDA architectures such as sm_90."""
    return [f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in archs]
