"""The kept programs: used again, never believed blindly, out of the way where they cannot be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnnlib.cache import CACHE_VARIABLE
from dnnlib.tflib import hardware, xla_cache
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

PROGRAM = """
from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
quiet_tensorflow(False)
import tensorflow as tf
@tf.function(jit_compile=True)
def function(x):
    return tf.math.tanh(x @ tf.transpose(x)) / (1 + tf.exp(x[:, :1]))
print(function(tf.reshape(tf.range(48.0), [6, 8]) / 50).numpy().tobytes().hex())
"""
# Without TensorFlow: takes the cache, says so, and keeps it until its input ends.
HOLDER = """
import sys
from dnnlib.tflib import xla_cache
print(xla_cache.enable(), flush=True)
sys.stdin.read()
"""


def start(cache: Path, code: str, **variables: str) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_XLA_FLAGS", "XLA_FLAGS")}
    environment |= {CACHE_VARIABLE: str(cache), **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]") -> str:
    """What the process printed; it must have ended well and said nothing else."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


def run(cache: Path, **variables: str) -> str:
    return end(start(cache, PROGRAM, **variables))


def programs(cache: Path) -> list[Path]:
    return sorted(cache.glob("xla/*/*.pb"))


def state(cache: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in cache.glob("xla/*/*.pb*")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache after its first command, and the result of that command."""
    cache = tmp_path_factory.mktemp("filled")
    return cache, run(cache)


def test_a_second_command_compiles_nothing(filled: tuple[Path, str]) -> None:
    cache, result = filled
    before = state(cache)
    (program,) = programs(cache)
    assert set(before) == {program.name, f"{program.name}.sha256"}
    assert run(cache) == result
    assert state(cache) == before


def test_the_kept_program_is_what_runs(filled: tuple[Path, str], tmp_path: Path) -> None:
    """With a checksum that fits, TensorFlow reads even a damaged file, and fails."""
    shutil.copytree(filled[0], tmp_path, dirs_exist_ok=True)
    (program,) = programs(tmp_path)
    program.write_bytes(program.read_bytes()[:1000])
    program.with_name(f"{program.name}.sha256").write_text(xla_cache._checksum(program))
    process = start(tmp_path, PROGRAM)
    process.communicate(timeout=120)
    assert process.returncode == 1


def test_without_it_the_result_is_the_same(filled: tuple[Path, str], tmp_path: Path) -> None:
    assert run(tmp_path, **{xla_cache.VARIABLE: "0"}) == filled[1]
    assert not list(tmp_path.iterdir())


def test_a_damaged_program_is_compiled_again(filled: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(filled[0], tmp_path, dirs_exist_ok=True)
    (program,) = programs(tmp_path)
    data = program.read_bytes()
    program.write_bytes(data[: len(data) // 2])
    assert run(tmp_path) == filled[1]
    (again,) = programs(tmp_path)
    assert again.name == program.name
    assert again.stat().st_size == len(data)
    assert xla_cache._is_whole(again)


def test_two_commands_at_once(filled: tuple[Path, str], tmp_path: Path) -> None:
    both = [start(tmp_path, PROGRAM) for _ in range(2)]
    assert [end(process) for process in both] == [filled[1]] * 2
    (program,) = programs(tmp_path)
    assert xla_cache._is_whole(program)


def test_a_program_that_another_command_replaced_is_sealed_anew(tmp_path: Path) -> None:
    """XLA's programs differ in their bytes, so that the first one's checksum would not fit."""
    program = tmp_path / "a.pb"
    program.write_bytes(b"ours")
    xla_cache.seal(tmp_path)
    checksum = xla_cache._checksum_path(program)
    written = checksum.stat().st_mtime_ns
    program.write_bytes(b"theirs")
    os.utime(program, ns=(written + 1, written + 1))
    assert not xla_cache._is_whole(program)
    xla_cache.seal(tmp_path)
    assert xla_cache._is_whole(program)


def test_nothing_disappears_while_others_run(tmp_path: Path) -> None:
    first = start(tmp_path, HOLDER)
    assert first.stdout is not None
    folder = Path(first.stdout.readline().strip())
    new = folder / "new.pb"
    new.write_bytes(b"program")
    assert end(start(tmp_path, HOLDER)) == f"{folder}\n"
    assert new.exists()
    end(first)  # adds the checksum, if the other one has not
    assert xla_cache._is_whole(new)
    end(start(tmp_path, HOLDER))
    assert new.exists()


@pytest.fixture
def before_tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in a command that has not imported TensorFlow yet; returns its cache folder."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(xla_cache, "_locks", [])
    monkeypatch.setattr(xla_cache.atexit, "register", lambda *_: None)
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(xla_cache.VARIABLE, raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return tmp_path / "cache"


def release() -> None:
    while xla_cache._locks:
        xla_cache._locks.pop().close()


def test_flags(before_tensorflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    folder = xla_cache.enable()
    assert folder is not None
    assert folder.parent == before_tensorflow / "xla"
    assert os.environ["TF_XLA_FLAGS"] == (
        f"--tf_xla_clustering_debug --tf_xla_persistent_cache_directory={folder} "
        "--tf_xla_persistent_cache_device_types=CPU"
    )
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "why",
    ["off", "own folder", "tensorflow is there", "a file", "spaces", "open to others", "full"],
)
def test_where_nothing_is_kept(
    before_tensorflow: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    assert xla_cache.enable() is not None  # it is this one thing that makes the difference
    release()
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    if why == "off":
        monkeypatch.setenv(xla_cache.VARIABLE, "0")
    elif why == "own folder":
        monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/elsewhere")
    elif why == "tensorflow is there":
        monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    elif why == "a file":
        (tmp_path / "blocked").write_bytes(b"")
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "blocked"))
    elif why == "spaces":
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "my cache"))
    elif why == "open to others":
        (before_tensorflow / "xla").chmod(0o777)
    elif why == "full":
        monkeypatch.setattr(xla_cache, "FREE_BYTES", 1 << 80)
    flags = os.environ["TF_XLA_FLAGS"]
    assert xla_cache.enable() is None
    assert os.environ["TF_XLA_FLAGS"] == flags


def test_key(before_tensorflow: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = xla_cache.cache_key()
    assert key == xla_cache.cache_key()
    assert key.startswith(f"{xla_cache.importlib.metadata.version('tensorflow')}-")
    keys = {key}
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        keys.add(xla_cache.cache_key())
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: set(range(99)))
        keys.add(xla_cache.cache_key())
    with monkeypatch.context() as patch:
        info = tmp_path / "cpuinfo"
        patch.setattr(hardware, "_CPU_INFO", info)
        for text in ("flags : sse", "flags : sse avx", "model name : another"):
            info.write_text(f"{text}\ncpu MHz : 1\n")
            keys.add(xla_cache.cache_key())
        info.write_text("model name : another\ncpu MHz : 2\n")
        assert xla_cache.cache_key() in keys
    assert len(keys) == 6


@pytest.mark.parametrize("damage", ["empty", "cut", "altered", "without checksum"])
def test_what_is_not_whole_goes(before_tensorflow: Path, damage: str) -> None:
    folder = xla_cache.enable()
    assert folder is not None
    good, bad = folder / "good.pb", folder / "bad.pb"
    for path in (good, bad):
        path.write_bytes(bytes(range(256)) * 20)
    (folder / "bad.pbhost-1.tmp").write_bytes(b"half")
    (folder / "gone.pb.sha256").write_text("0" * 64)
    xla_cache.seal(folder)
    data = bad.read_bytes()
    if damage == "without checksum":
        (folder / "bad.pb.sha256").unlink()
    else:
        changed = {"empty": b"", "cut": data[:-1], "altered": data[:-1] + b"\0"}
        bad.write_bytes(changed[damage])
    release()
    os.environ["TF_XLA_FLAGS"] = ""
    assert xla_cache.enable() == folder
    assert sorted(p.name for p in folder.iterdir()) == ["good.pb", "good.pb.sha256", "lock"]


def test_the_oldest_go_when_there_are_too_many(
    before_tensorflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = xla_cache.enable()
    assert folder is not None
    for age, name in enumerate(("new", "middle", "old")):
        path = folder / f"{name}.pb"
        path.write_bytes(bytes(100))
        os.utime(path, (10**9 - age, 10**9 - age))
    xla_cache.seal(folder)
    release()
    monkeypatch.setattr(xla_cache, "LIMIT_BYTES", 250)
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    xla_cache.enable()
    assert sorted(path.stem for path in folder.glob("*.pb")) == ["middle", "new"]
