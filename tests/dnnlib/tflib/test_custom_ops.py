"""Compiling, caching and loading the custom operations.

Where many builds are needed, a script stands in for the compiler: it counts its calls and, asked
for a library, hands out the one that the real compiler has made.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import op_library
from dnnlib.tflib.impl import resolve_impl
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

ARCHS = ["sm_80", "sm_90"]
COMPILERS = ("g++", "c++", "clang++")

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler"
)
needs_nvcc = pytest.mark.skipif(
    not (shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()), reason="needs nvcc"
)

STAND_IN = """#!/bin/sh
[ "$1" = --version ] && {{ echo "stand-in {version}"; exit 0; }}
echo "$@" >> {calls}
{failure}
case " $* " in
  *" -shared "*) from={library} ;;
  *) from=/dev/null; sleep 0.3 ;;
esac
while [ "$1" != -o ]; do shift; done
cat "$from" > "$2"
"""

# Loads the operations as users' programs do, and computes with them.
USE = """
import tensorflow as tf
from dnnlib.tflib.ops.fused_bias_act import fused_bias_act
print(fused_bias_act(
    tf.constant([[-1.0, 2.0]]), act="relu", gain=1.0, impl="compiled"
).numpy().tolist())
"""


@pytest.fixture(scope="session")
def library():
    """What the real compiler makes, in the cache of whoever runs the tests."""
    return op_library.build()


class StandIn:
    """The script, its cache and the calls that it got."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
        self.library = library
        self.cache = folder / "cache"
        self.calls_file = folder / "calls"
        self.script = folder / "compiler"
        self.write()
        monkeypatch.setenv("CXX", str(self.script))
        monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(self.cache))
        monkeypatch.setattr(op_library, "_failed", {})
        monkeypatch.setattr(op_library, "_loaded", None)
        monkeypatch.setattr(op_library, "_warned", False)
        op_library._version.cache_clear()

    def write(self, failure: str = "", version: str = "1") -> None:
        calls, library = self.calls_file, self.library
        text = STAND_IN.format(calls=calls, library=library, failure=failure, version=version)
        self.script.write_text(text)
        self.script.chmod(0o755)
        op_library._version.cache_clear()

    @property
    def num_calls(self) -> int:
        """Two operations are compiled and then linked: three calls for one build."""
        return len(self.calls_file.read_text().splitlines()) if self.calls_file.exists() else 0

    def files(self) -> list[str]:
        return sorted(p.name for p in self.cache.glob("custom_ops/*/*") if p.name != "lock")


@pytest.fixture
def stand_in(tmp_path, monkeypatch, library):
    return StandIn(tmp_path, monkeypatch, library)


def start(code: str, stderr: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dnnlib.tflib.custom_ops", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


@needs_compiler
def test_compiled_once_and_then_taken_from_the_cache(stand_in, capfd):
    path = op_library.build()
    assert stand_in.num_calls == 3
    assert path.is_relative_to(stand_in.cache)
    assert stand_in.files() == ["ops.log", "ops.so"]  # and no objects
    line = capfd.readouterr().err
    assert re.fullmatch(rf"Compiling the custom operations \(CPU\) into {path.parent}, .*\n", line)
    assert op_library.build() == path
    assert stand_in.num_calls == 3
    assert capfd.readouterr().err == ""


@needs_compiler
def test_the_cache_is_keyed_by_all_that_matters(stand_in, monkeypatch, tmp_path):
    import tensorflow as tf

    folders = [op_library.build().parent]
    stand_in.write(version="2")  # another compiler
    folders.append(op_library.build().parent)
    with monkeypatch.context() as patch:
        patch.setattr(tf.version, "VERSION", "2.99.0")
        folders.append(op_library.build().parent)
    with monkeypatch.context() as patch:
        patch.setattr(op_library, "_cpu", lambda: "another")
        folders.append(op_library.build().parent)
    sources = tmp_path / "ops"
    shutil.copytree(op_library._SOURCES, sources)
    monkeypatch.setattr(op_library, "_SOURCES", sources)
    assert op_library.build().parent == folders[1]
    with open(sources / "common.h", "a") as file:
        file.write("// changed\n")
    folders.append(op_library.build().parent)
    assert len(set(folders)) == 5
    assert stand_in.num_calls == 5 * 3


@needs_compiler
def test_processes_that_start_at_once_compile_once(stand_in):
    processes = [start(USE) for _ in range(3)]
    results = [process.communicate(timeout=280) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, results
    assert [out for out, _ in results] == ["[[0.0, 2.0]]\n"] * 3
    assert stand_in.num_calls == 3
    errors = "".join(err for _, err in results)
    assert errors.count("Compiling the custom operations") == 1


@needs_compiler
def test_those_that_waited_for_a_failure_do_not_repeat_it(stand_in):
    """All are started while the first one's compiler waits for a file to appear."""
    gate = stand_in.cache.with_name("gate")
    stand_in.write(failure=f"while [ ! -e {gate} ]; do sleep 0.1; done; echo 'error: no'; exit 1")
    folder = stand_in.cache.parent
    outputs = [folder / f"errors-{number}.txt" for number in range(3)]
    processes = []
    for path in outputs:
        with open(path, "w") as file:
            processes.append(start(USE, stderr=file))
    waiting = "Waiting for a process that compiles the custom operations"

    def written() -> str:
        return "".join(path.read_text() for path in outputs)

    try:
        for _ in range(600):
            time.sleep(0.1)
            if stand_in.num_calls == 2 and written().count(waiting) == 2:
                break
        gate.touch()
        for process in processes:
            process.wait(timeout=280)
    finally:
        for process in processes:
            process.kill()
    assert stand_in.num_calls == 2
    assert written().count(waiting) == 2
    assert written().count("the build failed: error: no; see ") == 3


@needs_compiler
def test_a_killed_build_leaves_no_library_and_no_lock(stand_in):
    stand_in.write(failure="sleep 60")
    process = start(USE)
    for _ in range(600):
        time.sleep(0.1)
        if stand_in.num_calls == 2:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name[:9] for name in stand_in.files()] == [".objects-"]
    stand_in.write()
    assert op_library.build().exists()
    assert stand_in.files() == ["ops.log", "ops.so"]


@needs_compiler
def test_a_broken_compiler(stand_in, monkeypatch, capfd):
    stand_in.write(failure="echo 'ops.cc:1:2: error: no such thing'; echo more; exit 3")
    with pytest.raises(op_library.BuildError) as caught:
        resolve_impl("compiled")
    (log,) = stand_in.cache.glob("custom_ops/*/ops.log")
    assert str(caught.value) == (
        "custom operations: the build failed: ops.cc:1:2: error: no such thing; see "
        f"{log}, then repair the compiler or choose another one with CXX (C++) or CUDA_HOME (nvcc)"
    )
    text = log.read_text()
    assert str(stand_in.script) in text
    assert "more\n" in text
    assert "ended with status 3" in text
    assert stand_in.files() == ["ops.log"]
    calls = stand_in.num_calls
    with pytest.raises(UserError, match="no such thing"):
        op_library.get_library(cuda=False)
    assert stand_in.num_calls == calls  # not tried again
    # Nor does it matter to whoever leaves the choice to us, on a machine without a GPU.
    capfd.readouterr()
    assert resolve_impl("auto") == "reference"
    assert capfd.readouterr().err == ""


def test_a_gpu_without_the_operations_is_told_once(monkeypatch, tmp_path, capfd):
    """What a machine with a GPU and no compiler does; the GPU is made up."""
    monkeypatch.setattr(op_library, "sees_gpu", lambda: True)
    monkeypatch.setattr(op_library, "device_archs", lambda: ["sm_90"])
    monkeypatch.setattr(op_library, "_loaded", None)
    monkeypatch.setattr(op_library, "_failed", {})
    monkeypatch.setattr(op_library, "_warned", False)
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    assert [resolve_impl("auto") for _ in range(3)] == ["reference"] * 3
    assert capfd.readouterr().err == (
        "warning: custom operations: there is no /nowhere/bin/nvcc ($CUDA_HOME); install the CUDA "
        "toolkit (12.1 or newer), or set CUDA_HOME; going on with plain TensorFlow operations\n"
    )
    with pytest.raises(UserError, match="there is no /nowhere/bin/nvcc"):
        resolve_impl("compiled")


def test_no_gpu_whose_architecture_could_be_asked(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    with pytest.raises(UserError, match="name it: .* build --cuda --arch sm_90"):
        op_library.device_archs()


def test_architectures_are_those_of_the_gpus(monkeypatch):
    import tensorflow as tf

    capability = {"a": (9, 0), "b": (8, 0), "c": (9, 0), "d": None}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(capability))
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda device: {"compute_capability": capability[device]} if capability[device] else {},
    )
    assert op_library.device_archs() == ["sm_80", "sm_90"]


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(g\+\+, c\+\+, clang\+\+\); install"):
        op_library.build()
    monkeypatch.setenv("CXX", "icpx")
    with pytest.raises(UserError, match=r"there is no icpx \(\$CXX\)"):
        op_library.build()


@needs_compiler
def test_built_ahead_of_time_for_machines_without_a_compiler(stand_in, monkeypatch, tmp_path):
    path = op_library.build()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX")
    assert op_library.build() == path


@needs_compiler
def test_a_cache_that_cannot_be_written(stand_in, monkeypatch):
    """The cache lies below a regular file: root, too, cannot write there."""
    blocked = stand_in.cache / "file" / "cache"
    stand_in.cache.mkdir()
    blocked.parent.write_text("")
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(blocked))
    temporary = stand_in.cache / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(USE)
    out, err = process.communicate(timeout=280)
    assert (process.returncode, out) == (0, "[[0.0, 2.0]]\n"), err
    lines = [line for line in err.splitlines() if "the custom operations" in line]
    assert len(lines) == 2
    assert re.match(r"note: cannot write .*/file/cache.* \(Not a directory\), so that", lines[0])
    assert f"into {temporary}/gan-fingerprints-" in lines[1]
    assert list(temporary.iterdir()) == []  # deleted when the process ended


@needs_compiler
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_cache(stand_in):
    stand_in.cache.mkdir(mode=0o555)
    path = op_library.build()
    assert not path.is_relative_to(stand_in.cache)
    assert path.exists()


@needs_compiler
def test_nowhere_to_write(stand_in, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(blocked / "cache"))
    monkeypatch.setattr(op_library.tempfile, "tempdir", str(blocked / "tmp"))
    with pytest.raises(UserError, match=r"cannot write .*: Not a directory; choose another cache"):
        op_library.build()


@needs_compiler
def test_a_file_that_is_no_library(stand_in):
    path = op_library.build()
    path.write_bytes(b"no library")
    with pytest.raises(UserError, match=rf"cannot load {path}: .*; delete it and try again"):
        op_library.get_library(cuda=False)


@needs_compiler
@needs_nvcc
def test_the_cuda_build_compiles_and_loads_without_a_driver():
    built = command("build", "--cuda", "--arch", "sm_90,sm_80")
    assert built.returncode == 0, built.stderr
    path = Path(built.stdout.strip())
    assert path.name == "ops-sm_80-sm_90.so"
    code = path.read_bytes()
    for arch in ARCHS:
        assert f"-arch {arch} ".encode() in code
    assert op_library.build(["sm_90"]) == path  # what one of the two GPUs needs is in there
    check = f"""
from pathlib import Path
from dnnlib.tflib import op_library
module = op_library.load(Path({str(path)!r}))
from tensorflow.python.framework import kernels
for op in ("GanBiasAct", "GanBiasActGrad", "GanUpfirdn"):
    found = kernels.get_registered_kernels_for_op(op).kernel
    print(op, sorted((k.device_type, k.constraint[0].allowed_values.list.type[0]) for k in found))
print(module.gan_bias_act(x=[[-1.0, 2.0]], b=[0.0, 1.0], act="relu", alpha=0.0, gain=1.0,
                          clamp=-1.0).numpy().tolist())
"""
    process = start(check)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    *ops, result = out.splitlines()
    types = [(device, dtype) for device in ("CPU", "GPU") for dtype in (1, 14, 19)]
    assert ops == [f"{op} {types}" for op in ("GanBiasAct", "GanBiasActGrad", "GanUpfirdn")]
    assert result == "[[0.0, 3.0]]"


@needs_compiler
def test_the_build_command(stand_in):
    built = command("build")
    assert built.returncode == 0, built.stderr
    assert Path(built.stdout.strip()) == op_library.build()
    assert len(built.stderr.splitlines()) == 1
    stand_in.write(failure="exit 1", version="broken")
    failed = command("build")
    assert failed.returncode == 2
    assert failed.stdout == ""
    progress, line = failed.stderr.splitlines()
    assert line.startswith("error: custom operations: the build failed: error: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["build", "--arch=sm_90"], "give --cuda as well"),
        (["build", "--cuda", "--arch=sm_90,90"], "'90' is no CUDA architecture such as sm_90"),
        (["build", "--cud"], "unrecognized arguments: --cud"),
        (["compile"], "invalid choice: 'compile'"),
    ],
)
def test_mistakes_in_the_arguments_need_no_tensorflow(arguments, text):
    result = without_tensorflow(*arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert text in result.stderr


def test_help_needs_no_tensorflow():
    for arguments in (["--help"], ["build", "--help"]):
        result = without_tensorflow(*arguments)
        assert result.returncode == 0, result.stderr
        assert "usage: python -m dnnlib.tflib.custom_ops" in result.stdout


def without_tensorflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = None; "
        "runpy.run_module('dnnlib.tflib.custom_ops', run_name='__main__', alter_sys=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )
