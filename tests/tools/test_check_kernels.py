"""The CUDA kernels without TensorFlow: compiled by nvcc, and run as loops on the CPU.

The loops are what a GPU's threads do, with the same launches, packs and strides; faults that are
planted in the sources show that the comparison sees them.
"""

import ctypes
import mmap
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.tflib.compilers import SOURCES
from tests.support.paths import ROOT
from tools import check_kernels
from tools.kernels import arrays, cases, reference
from tools.kernels.arrays import HostArrays
from tools.kernels.cases import ActCase, FirCase, decode, encode, error_of
from tools.kernels.launchers import (
    TYPES,
    LaunchError,
    Launchers,
    bias_act_call,
    compile_cuda,
    compile_host,
)

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
)
needs_nvcc = pytest.mark.skipif(
    not (shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()), reason="needs nvcc"
)
HOST = HostArrays()
GRID = 65536 * 256  # threads of the largest grid


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return Launchers(compile_host(tmp_path_factory.mktemp("kernels")))


def failures(launchers, some):
    found = [(case, *error_of(case, launchers, HOST)) for case in some]
    return [entry for entry in found if entry[2]]


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", [ActCase, FirCase])
def test_kernels_against_numpy(host, kind, dtype):
    """Odd sizes, packs that may not be wide, the borders of blocks; see the cases."""
    some = [c for c in cases.all_cases() if isinstance(c, kind) and c.dtype == dtype]
    some = [case for case in some if case.shape[0] < 10_000]
    assert len(some) > 100
    assert not failures(host, some)


@needs_compiler
@pytest.mark.slow
def test_threads_that_take_several_elements(host):
    some = list(cases.large_cases())
    assert all(np.prod(case.shape) > GRID for case in some)
    assert not failures(host, some)


def sparse(shape, elements):
    """An array of zeros of 16 bits that takes memory only where it is used."""
    memory = mmap.mmap(-1, 2 * elements)
    return np.frombuffer(memory, np.uint16).reshape(shape)


@needs_compiler
@pytest.mark.parametrize("channels", [3, 8])
def test_bias_act_beyond_2_to_the_31_elements(host, channels):
    """Of the blocks of the launch only the last two run: they take the last elements, too."""
    pack = 8 if channels == 8 else 1
    rows = (2**31 + 12_345 * channels) // channels
    x, y = (sparse([rows, channels], rows * channels) for _ in range(2))
    b = encode(np.arange(1, channels + 1), "float16")
    items = rows * channels // pack
    # Where the threads of one block come to, round after round.
    block = (items - 1) % GRID // 256
    first = np.arange(block * 256, items, GRID)
    packs = (first[:, None] + np.arange(256)).ravel()
    at = (packs[packs < items, None] * pack + np.arange(pack)).ravel()
    assert at[-1] == rows * channels - 1
    values = np.random.default_rng(0).standard_normal(at.size)
    x.ravel()[at] = encode(values, "float16")
    call = bias_act_call(x.shape, "lrelu", 0, 0.2, 1.5, None)
    host.set_blocks(block, block + 1)
    try:
        host.bias_act("float16", 0, *(a.ctypes.data for a in (x, b, y)), call)
    finally:
        host.set_blocks(0, 2**32 - 1)
    expected, _ = reference.bias_act(
        decode(x.ravel()[at], "float16") + at % channels + 1, "lrelu", 0, 0.2, 1.5, None
    )
    np.testing.assert_allclose(decode(y.ravel()[at], "float16"), expected, rtol=1e-3, atol=1e-3)
    assert not y.ravel()[at[-1] - 10_000 : at[-1] - 256 * pack].any()  # that of other blocks


@needs_compiler
@pytest.mark.parametrize("channels", [8, 63])
@pytest.mark.parametrize("fast", [True, False])
def test_upfirdn_beyond_2_to_the_31_elements(host, fast, channels):
    """The blocks run that make the last image of so many that their number is the index's top."""
    size = (24, 32)
    pixels = size[0] * size[1] * channels
    n = 2**31 // pixels + 2
    case = FirCase((n, *size, channels), pad0=(1, 2), fast=fast, dtype="float16")
    x, y = (sparse([n, *size, channels], n * pixels) for _ in range(2))
    rng = np.random.default_rng(0)
    x[-1] = encode(rng.standard_normal([*size, channels]), "float16")
    rows = size[0] // 8 if fast else size[0]
    per_image = rows * size[1] * (channels // 8 if channels == 8 else channels)
    first, last = (n - 1) * per_image, n * per_image - 1
    host.set_blocks(first % GRID // 256, last % GRID // 256 + 1)
    assert first // GRID == last // GRID >= 1
    k, taps = case.filter()
    try:
        addresses = x.ctypes.data, y.ctypes.data
        host.upfirdn("float16", *addresses, case.call(), k, taps if fast else None)
    finally:
        host.set_blocks(0, 2**32 - 1)
    expected = reference.upfirdn(decode(x[-1:], "float16"), k, (1, 1), (1, 1), (1, 2), size)
    found = decode(y[-1:], "float16")
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


FAULTS = {
    "packs where they are not aligned": (
        "common.h", "channels % wide == 0 && all % 16 == 0", "channels % wide == 0",
        "misaligned address",
    ),
    "packs across pixels": (
        "common.h", "channels % wide == 0 && all % 16 == 0", "all % 16 == 0", "",
    ),
    "threads left out": (
        "common.h", "static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x",
        "static_cast<int64_t>(blockIdx.x) * (blockDim.x + 1) + threadIdx.x", "differs from NumPy",
    ),
    "no stride over what does not fit": (
        "fused_bias_act.cu", "if (channel >= call.channels) channel -= call.channels;", "break;",
        "differs from NumPy",
    ),
    "a channel that runs on": (
        "fused_bias_act.cu", "if (channel >= call.channels) channel -= call.channels;", "", "",
    ),
    "a thread beyond the end": (
        "upfirdn_2d.cu", "i < items; i += num_threads()", "i <= items; i += num_threads()",
        "written outside of the tensor",
    ),
    "the wrong path": ("upfirdn_2d.cu", "path == kUp2 ? strip_kernel<V, 2, 1, T>",
                       "path == kUp2 ? strip_kernel<V, 1, 2, T>", "differs from NumPy"),
}  # fmt: skip


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(tmp_path, fault):
    name, before, after, expected = FAULTS[fault]
    shutil.copytree(SOURCES, tmp_path / "ops")
    source = tmp_path / "ops" / name
    text = source.read_text()
    assert before in text
    source.write_text(text.replace(before, after))
    launchers = Launchers(compile_host(tmp_path, tmp_path / "ops"))
    some = [ActCase((257, 8), shift=1), ActCase((513, 1)), ActCase((GRID // 3 + 5, 3))]
    some += [ActCase((9, 5)), FirCase((2, 7, 10, 19), (4, 4), (2, 2), fast=True)]
    some += [FirCase((1, 8, 33, 8), fast=True), FirCase((2, 7, 9, 3))]
    found = failures(launchers, some)
    assert found
    assert any(expected in problem for _, _, problem in found)


@needs_compiler
def test_an_index_of_32_bits_is_found(tmp_path):
    """Planted likewise: the test above needs no memory, and sees it nevertheless."""
    shutil.copytree(SOURCES, tmp_path / "ops")
    source = tmp_path / "ops" / "upfirdn_2d.h"
    text = source.read_text()
    before = "return ((n * height + y) * width + x) * channels + c;"
    assert before in text
    source.write_text(text.replace(before, f"return static_cast<uint32_t>({before[7:-1]});"))
    launchers = Launchers(compile_host(tmp_path, tmp_path / "ops"))
    size, channels = (24, 32), 8
    n = 2**32 // (size[0] * size[1] * channels) + 2  # beyond 32 bits, the sign's one included
    x, y = (sparse([n, *size, channels], n * size[0] * size[1] * channels) for _ in range(2))
    x[-1] = encode(np.ones([*size, channels]), "float16")
    case = FirCase((n, *size, channels), pad0=(1, 2), fast=True, dtype="float16")
    last = n * size[0] // 8 * size[1] - 1
    launchers.set_blocks(last % GRID // 256, last % GRID // 256 + 1)
    try:
        launchers.upfirdn("float16", x.ctypes.data, y.ctypes.data, case.call(), *case.filter())
    finally:
        launchers.set_blocks(0, 2**32 - 1)
    assert not y[-1].any()


@needs_compiler
def test_a_launch_that_fails_says_why(host):
    x = np.zeros(100, np.float32)
    call = bias_act_call((4, 8), "linear", 0, 0, 1, None)
    host.bias_act("float32", 0, x.ctypes.data + 4, 0, x.ctypes.data + 4, call)  # one at a time
    with pytest.raises(LaunchError, match="misaligned address"):
        host.bias_act("float32", 0, x.ctypes.data + 2, 0, x.ctypes.data + 2, call)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_those_of_others(dtype):
    import ml_dtypes

    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-3, 2).repeat(200)
    values = values.astype(np.float32)
    other = values.astype(np.float16 if dtype == "float16" else ml_dtypes.bfloat16)
    np.testing.assert_array_equal(encode(values, dtype), other.view(np.uint16))
    np.testing.assert_array_equal(decode(encode(values, dtype), dtype), other.astype(np.float64))


@needs_compiler
@needs_nvcc
@pytest.mark.slow
def test_nvcc_compiles_the_launchers_alone(tmp_path):
    path = compile_cuda(tmp_path, ["sm_80", "sm_90"])
    library = ctypes.CDLL(str(path))  # no driver and no TensorFlow needed
    for name in ("gan_bias_act_cuda", "gan_upfirdn_cuda", "gan_cuda_problem"):
        assert getattr(library, name)
    code = path.read_bytes()
    for arch in ("sm_80", "sm_90"):
        assert f"-arch {arch} ".encode() in code
    for kernel in (b"bias_act_kernel", b"pixel_kernel", b"strip_kernel"):
        assert kernel in code
    assert Launchers(path).problem() in (None, "no CUDA driver")


@needs_compiler
def test_a_source_that_does_not_compile(tmp_path):
    shutil.copytree(SOURCES, tmp_path / "ops")
    with open(tmp_path / "ops" / "upfirdn_2d.cu", "a") as file:
        file.write("no C++;\n")
    with pytest.raises(UserError, match=r"the build failed: .*error: .*; see .*kernels-host.log"):
        compile_host(tmp_path, tmp_path / "ops")


def has_gpu_arrays():
    try:
        return bool(arrays.gpu_arrays())
    except UserError:
        return False


@pytest.mark.skipif(has_gpu_arrays(), reason="of machines without a GPU, CuPy or PyTorch")
def test_no_gpu_is_one_line_and_status_2():
    code = "import sys; sys.modules['tensorflow'] = None; from dnnlib import cli; "
    code += "from tools.check_kernels import main; cli.run(main)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: the CUDA kernels cannot be run here: CuPy ")
    assert line.endswith("or give --host to run them as loops on the CPU")


@needs_compiler
def test_the_table_and_status_1(monkeypatch, capsys):
    good, bad = ActCase((9, 8)), FirCase((2, 7, 9, 3))
    monkeypatch.setattr(check_kernels, "all_cases", lambda: iter([good]))
    check_kernels.main(["--host"])
    out, _ = capsys.readouterr()
    assert out.startswith("Kernels against NumPy on CPU, threads as loops\n")
    assert "| `fused_bias_act` | float32 | " in out
    monkeypatch.setattr(check_kernels, "all_cases", lambda: iter([good, bad]))
    monkeypatch.setattr(reference, "upfirdn", lambda *a: np.ones([2, 7, 9, 3]))
    with pytest.raises(SystemExit) as caught:
        check_kernels.main(["--host"])
    assert caught.value.code == 1
    assert "error: FirCase(shape=(2, 7, 9, 3)" in capsys.readouterr().err


@needs_compiler
def test_speed_is_given_beside_that_of_a_copy(host, monkeypatch):
    small = ActCase((64, 8)), FirCase((1, 8, 8, 8), fast=True)
    monkeypatch.setattr(
        check_kernels, "speed_cases", lambda dtype: {"fused_bias_act": small[0], "fir": small[1]}
    )
    lines = check_kernels.speed_table(host, HOST)
    names = [line.split(" | ")[0] for line in lines[2:]]
    assert names == ["| copy", "| `fused_bias_act`", "| `fir`"] * 3
    assert cases.traffic(small[0]) == 2 * 4 * 512
