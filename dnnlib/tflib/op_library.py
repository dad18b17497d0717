"""The library of the custom operations: compiled at first use, kept in a cache and loaded.

`custom_ops` is the command that compiles it ahead of its first use.

The sources lie in `ops/`: the C++ compiler turns the `.cc` files into operations with CPU kernels,
nvcc adds the `.cu` files. CUDA's runtime is linked statically, so that a library with CUDA kernels
loads on machines without a driver, too.
"""

import atexit
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf
from filelock import FileLock, Timeout

from dnnlib.atomic import temporary_name
from dnnlib.cache import CACHE_VARIABLE, default_cache_dir
from dnnlib.tflib.compilers import (
    NVCC,
    OPS,
    SOURCES,
    BuildError,
    failure,
    find_compiler,
    find_nvcc,
    gencode,
    run,
)
from dnnlib.tflib.hardware import cpu_identity

_SOURCES = SOURCES  # tests change a copy
# Infinities and NaN keep their meaning: no -ffast-math.
_OPTIMISE = [
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    # Half precision is none of ours, and the Eigen in TensorFlow 2.21 does not compile where GCC 12
    # offers vectors of it (AVX512-FP16: Intel since Sapphire Rapids).
    "-U__AVX512FP16__",
]  # fmt: skip

_lock = threading.Lock()
_loaded: tuple[bool, Any, Path] | None = None  # with CUDA kernels?, the module, its file
_failed: dict[bool, str] = {}  # what was tried in vain is not tried again in this process
_warned = False
_check: Callable[[Path], None] | None = None  # see `set_check`
_check_lock = threading.Lock()
_checked: dict[Path, str | None] = {}  # what the check said, None if it passed


def get_library(cuda: bool) -> Any:
    """The module of the custom operations, compiled before if need be; once per process.

    Args:
        cuda: with kernels for the GPUs that TensorFlow sees. A library with them serves CPUs, too.

    Returns:
        What `tf.load_op_library` returns.

    Raises:
        BuildError: no compiler, a failed build, or a library that does not load. A second call
            raises the same without a second try.
    """
    global _loaded
    with _lock:
        if _loaded is not None and _loaded[0] >= cuda:
            return _loaded[1]
        try:
            if cuda in _failed:
                raise BuildError(_failed[cuda])
            if _loaded is not None:
                raise BuildError(
                    "the custom operations are in use without CUDA kernels already; start again"
                )
            path = build(device_archs() if cuda else [])
            _loaded = cuda, load(path), path
        except BuildError as error:
            _failed[cuda] = str(error)
            raise
        return _loaded[1]


def library_path() -> Path:
    """The file of the library that is in use; ValueError where none is."""
    if _loaded is None:
        raise ValueError("no library is loaded")
    return _loaded[2]


def set_check(check: Callable[[Path], None]) -> None:
    """Sets what tests a loaded library before it is used: BuildError if it computes wrongly.

    The operations set it, which know what they shall compute and lie above this module.
    """
    global _check
    _check = check


def get_checked_library(cuda: bool) -> Any:
    """`get_library`, and the check of `set_check`, once per process.

    Raises:
        BuildError: as `get_library`, or the kernels do not compute what they shall.
    """
    module = get_library(cuda)
    path = library_path()
    with _check_lock:
        if path not in _checked and _check is not None:
            try:
                _check(path)
                _checked[path] = None
            except BuildError as error:
                _checked[path] = str(error)
        if problem := _checked.get(path):
            raise BuildError(problem)
    return module


def sees_gpu() -> bool:
    """Whether there is a GPU that TensorFlow may use."""
    return bool(tf.config.get_visible_devices("GPU"))


def usable_for_auto() -> bool:
    """Whether TensorFlow sees a GPU, and the operations with CUDA kernels load and pass the check.

    Where there is a GPU but no such library, says why on stderr, once per process.
    """
    global _warned
    if not sees_gpu():
        return False
    try:
        get_checked_library(cuda=True)
    except BuildError as error:
        if not _warned:
            _warned = True
            print(f"warning: {error}; going on with plain TensorFlow operations", file=sys.stderr)
        return False
    return True


def load(path: Path) -> Any:
    """Loads a library that `build` made; BuildError when that fails."""
    try:
        module = tf.load_op_library(os.fspath(path))
        problem = getattr(ctypes.CDLL(os.fspath(path)), "gan_cuda_problem", None)
    except (tf.errors.OpError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BuildError(
            f"custom operations: cannot load {path}: {reason}; delete it and try again"
        ) from error
    if problem is not None and sees_gpu():
        problem.restype = ctypes.c_char_p
        if text := problem():
            raise BuildError(
                f"custom operations: {text.decode()}; update the driver, or set CUDA_HOME to a "
                "CUDA toolkit that is not newer than it"
            )
    return module


def device_archs() -> list[str]:
    """The CUDA architectures of the GPUs that TensorFlow sees, such as ["sm_90"]."""
    archs = set()
    for device in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        if "compute_capability" in details:
            archs.add("sm_{}{}".format(*details["compute_capability"]))
    if not archs:
        raise BuildError(
            "custom operations: TensorFlow sees no GPU whose CUDA architecture could be asked; "
            "name it: python -m dnnlib.tflib.custom_ops build --cuda --arch sm_90"
        )
    return sorted(archs)


def build(archs: Sequence[str] = ()) -> Path:
    """The library for the CPU and the given CUDA architectures, from the cache or compiled now.

    A library in the cache that was built for more architectures is taken as well. One process
    compiles, others that want the same library wait for it. A cache that cannot be written is
    replaced by a private temporary folder that is deleted when the process ends.

    Raises:
        BuildError: no compiler or a failed build.
    """
    started = time.time()
    kind = _kind(bool(archs))
    try:
        compiler = find_compiler()
        nvcc = find_nvcc() if archs else None
    except BuildError:
        # Built ahead of time, by a compiler that is not here: a container, a node of a cluster.
        for folder in sorted(_cache_dir().glob(f"{kind}-*")):
            if found := _find_built(folder, archs):
                return found
        raise
    folder = _cache_dir() / f"{kind}-{_digest(_version(compiler), _version(nvcc))[:8]}"
    if found := _find_built(folder, archs):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder):
            if found := _find_built(folder, archs):
                return found
            log = _library(folder, archs).with_suffix(".log")
            # Whoever waited here while another process failed would fail likewise.
            if log.exists() and log.stat().st_mtime >= started:
                raise failure(log)
            return _compile(folder, compiler, nvcc, archs)
    except OSError as error:
        where, reason = error.filename or folder, error.strerror or error
    try:
        private = Path(tempfile.mkdtemp(prefix="gan-fingerprints-"))
        print(
            f"note: cannot write {where} ({reason}), so that the custom operations are compiled "
            f"for this process alone; choose another cache folder with {CACHE_VARIABLE}",
            file=sys.stderr,
        )
        path = _compile(private, compiler, nvcc, archs)
    except OSError as error:
        raise BuildError(
            f"custom operations: cannot write {error.filename or 'a temporary folder'}: "
            f"{error.strerror or error}; choose another cache folder with {CACHE_VARIABLE}"
        ) from error
    atexit.register(shutil.rmtree, private, ignore_errors=True)  # a failure leaves its log
    return path


def _cache_dir() -> Path:
    try:
        return default_cache_dir() / "custom_ops"
    except RuntimeError as error:
        raise BuildError(
            f"custom operations: no home folder; choose a cache folder with {CACHE_VARIABLE}"
        ) from error


def _kind(cuda: bool) -> str:
    """Names all that a library depends on but the compilers and the CUDA architectures."""
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".h", ".cc", ".cu"))
    flags = " ".join([*_OPTIMISE, *NVCC])
    digest = _digest(
        tf.version.VERSION, tf.version.GIT_VERSION, platform.machine(), _cpu(), flags,
        *(f"{path.name} {path.read_text(encoding='utf-8')}" for path in sources),
    )  # fmt: skip
    return f"tf{tf.version.VERSION}-{'cuda' if cuda else 'cpu'}-{digest[:16]}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _cpu() -> str:
    """What `-march=native` depends on, as far as the system tells."""
    try:
        return cpu_identity()
    except OSError:
        return platform.processor()


@cache
def _version(program: str | None) -> str:
    """A compiler's path and what it says of its version."""
    if program is None:
        return ""
    try:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(
            f"custom operations: cannot run {program}: {error.strerror}; set CXX or CUDA_HOME"
        ) from error
    return f"{program}\n{run.stdout}"


def _library(folder: Path, archs: Sequence[str]) -> Path:
    return folder / ("-".join(["ops", *sorted(archs)]) + ".so")


def _find_built(folder: Path, archs: Sequence[str]) -> Path | None:
    for path in sorted(folder.glob("ops*.so")):
        if set(archs) <= set(path.stem.split("-")[1:]):
            return path
    return None


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lets one process at a time go on; OSError where the folder cannot be written or locked."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        text = "Waiting for a process that compiles the custom operations ..."
        print(text, file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _compile(folder: Path, compiler: str, nvcc: str | None, archs: Sequence[str]) -> Path:
    """Compiles into `folder`, where nothing but a complete library gets its final name."""
    path = _library(folder, archs)
    what = f"CPU and {', '.join(archs)}" if archs else "CPU"
    print(
        f"Compiling the custom operations ({what}) into {folder}, once, about a minute ...",
        file=sys.stderr,
        flush=True,
    )
    for left in folder.glob(".objects-*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    objects = Path(tempfile.mkdtemp(prefix=".objects-", dir=folder))
    define = ["-DGAN_CUDA"] if archs else []
    steps = []
    for op in OPS:
        source = [os.fspath(_SOURCES / f"{op}.cc"), "-c", "-o", f"{objects}/{op}.o"]
        flags = [*tf.sysconfig.get_compile_flags(), *_OPTIMISE, "-fPIC", "-w", *define]
        steps.append([compiler, *flags, *source])
    if nvcc:
        for op in OPS:
            source = [os.fspath(_SOURCES / f"{op}.cu"), "-c", "-o", f"{objects}/{op}.cu.o"]
            steps.append([nvcc, *NVCC, "-ccbin", compiler, *gencode(archs), *source])
    temporary = temporary_name(path)
    link_flags = tf.sysconfig.get_link_flags()
    if nvcc:  # it adds CUDA's own libraries
        link_flags = ["-cudart", "static", *(f"-Xlinker={flag}" for flag in link_flags)]
    link = [nvcc or compiler, *(["-ccbin", compiler] if nvcc else []), "-shared", "-o"]
    link += [os.fspath(temporary), *(step[-1] for step in steps), *link_flags]
    try:
        with ThreadPoolExecutor(min(len(steps), os.cpu_count() or 1)) as pool:
            logs = list(pool.map(run, steps))
        if all(ok for ok, _ in logs):
            logs.append(run(link))
        log = path.with_suffix(".log")
        log.write_text("\n".join(text for _, text in logs), encoding="utf-8")
        if not all(ok for ok, _ in logs):
            raise failure(log)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(objects, ignore_errors=True)
        temporary.unlink(missing_ok=True)
    return path


def build_and_print(cuda: bool, archs: Sequence[str] | None) -> None:
    """Builds and loads the library, and prints its path.

    Args:
        cuda: with CUDA kernels.
        archs: for these architectures; None: for those of this machine's GPUs.

    Raises:
        BuildError: as `build` and `load`.
    """
    path = build((archs or device_archs()) if cuda else [])
    load(path)
    print(path)
