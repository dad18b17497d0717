"""What may go wrong while a run trains: every fault is made to happen, none costs a file.

docs/troubleshooting.md lists the messages: what a test here passes to `check` must stand there, and
what stands there must be produced here.
"""

import contextlib
import dataclasses
import gc
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import run_training
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.locks import try_lock_folder
from dnnlib.tflib.devices import check_equal_devices
from dnnlib.tflib.workers import Task
from tests.support.checkpoints import cut_variables, damage_position, damage_variables
from tests.support.page import DOCS, check, documented, produced
from tests.support.paths import ROOT
from tests.support.small_runs import METRIC, SMALL, write_images
from tests.support.workers import TRAINING, python
from tools.run_files import damaged_files, end_differences, read_checkpoint, remains
from training import grids
from training.checkpoint import list_checkpoints, read_position
from training.config import PRESETS, TickConfig
from training.models.snapshot import read_snapshot
from training.run import Run

pytestmark = pytest.mark.slow

ITERATIONS = 10
# Ticks 0 to 5 come after 1, 3, 5, 7, 9 and 10 iterations, snapshots with ticks 2 and 4.
PRESET = dataclasses.replace(
    SMALL, total_kimg=0.64, ticks=TickConfig(kimg=0.128, image_ticks=2, snapshot_ticks=2)
)
WIDE = dataclasses.replace(PRESET, fmap_base=512, fmap_max=64)
WIDE_LIMIT = 400_000  # bytes: grids fit, neither a snapshot nor a checkpoint of WIDE does


# The messages

ran: set[str] = set()
not_possible_here: list[str] = []


@pytest.fixture(autouse=True)
def keep_account(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    ran.add(request.function.__name__)


# The runs


@pytest.fixture(scope="module", autouse=True)
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        set_up(patch)
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def set_up(patch: pytest.MonkeyPatch) -> None:
    """Small networks, and grids of six images."""
    patch.setitem(PRESETS, "config-test", PRESET)
    patch.setitem(PRESETS, "config-wide", WIDE)
    patch.setattr(grids, "grid_size", lambda resolution: (3, 2))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    write_images(folder / "noise", 50, size=4)
    return folder


@pytest.fixture
def own_data_dir(data_dir: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(data_dir, tmp_path / "datasets")
    return tmp_path / "datasets"


@pytest.fixture
def result_dir(tmp_path: Path) -> Path:
    return tmp_path / "results"


def idle_iteration(run: Run, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
    """An iteration that reads its images and counts itself in a variable."""
    assert len(next(batches)) == run.config.minibatch
    run.steps.pl_mean.assign_add(1)
    run.state.iteration += 1
    run.state.num_images += run.config.minibatch
    return {"loss_G": tf.constant(1.0)}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "train_iteration", idle_iteration)


def flags_of(data_dir: Path, result_dir: Path, *more: str) -> list[str]:
    """A command that writes a checkpoint after every iteration, unless `more` says otherwise."""
    return [
        f"--data-dir={data_dir}", "--dataset=noise", "--config=config-test", "--num-gpus=0",
        f"--result-dir={result_dir}", "--ops=reference", "--minibatch=64", "--seed=5",
        "--checkpoint-minutes=0", *more,
    ]  # fmt: skip


class Command:
    """Runs the command as its process would: exit status and lines on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, flags: list[str]) -> tuple[object, list[str]]:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.run(lambda argv: run_training.main(flags))
        status = exit.value.code
        # A process that ends lets go of its run; here the traceback holds it.
        del exit
        gc.collect()
        return status, self._capsys.readouterr().err.splitlines()

    def fails(self, flags: list[str]) -> str:
        """The one line that a failing command prints; a message of the page."""
        status, lines = self(flags)
        assert (status, len(lines)) == (2, 1), lines
        check(lines[0])
        return lines[0]

    def succeeds(self, flags: list[str]) -> None:
        """The command finishes without a word on stderr."""
        assert self(flags) == (0, [])


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@contextlib.contextmanager
def at_iteration(number: int, act: Callable[[Run], object]) -> Iterator[None]:
    """Within this block, `act` is called at the beginning of that iteration."""
    iteration = Run.train_iteration

    def hooked(run: Run, batches: Iterator[np.ndarray]) -> dict[str, tf.Tensor]:
        if run.state.iteration == number:
            act(run)
        return iteration(run, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "train_iteration", hooked)
        yield


def only_run(result_dir: Path) -> Path:
    (run_dir,) = result_dir.glob("[0-9]*")
    return run_dir


def stop(run: Run) -> None:
    raise UserError("stopped")


def stopped_run(command: Command, flags: list[str], result_dir: Path) -> Path:
    """A run that has ended after four iterations; its checkpoints are 000002 and 000003."""
    with at_iteration(4, stop):
        assert command(flags) == (2, ["error: stopped"])
    run_dir = only_run(result_dir)
    assert names(run_dir) == ["000002", "000003"]
    return run_dir


def names(run_dir: Path) -> list[str]:
    """Of the checkpoints; nothing else may lie beside them."""
    found = sorted(os.listdir(run_dir / "checkpoints"))
    assert found == [path.name for path in list_checkpoints(run_dir)]
    return found


def assert_counted(run_dir: Path, iterations: int = ITERATIONS) -> None:
    """Every iteration of an idle run took part once, and all files are whole."""
    _, position = read_snapshot(run_dir / "network-final.pkl")
    assert (position["iteration"], position["pl_mean"]) == (iterations, iterations)
    assert damaged_files(run_dir) == []
    assert remains(run_dir.parent) == []


def last_line(run_dir: Path) -> str:
    return (run_dir / "log.txt").read_text().splitlines()[-1]


# Disks and folders


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """Sets how large a file may become."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("idle")
def test_file_limit_in_a_checkpoint(
    command: Command, data_dir: Path, result_dir: Path, limit: Callable[[int], None]
) -> None:
    flags = flags_of(data_dir, result_dir, "--config=config-wide")
    with at_iteration(3, lambda run: limit(WIDE_LIMIT)):
        error = command.fails(flags)
    run_dir = only_run(result_dir)
    assert error == (
        f"error: cannot write {run_dir}/checkpoints/000003: File too large; the file would be "
        "larger than the limit (see `ulimit -f`): raise it"
    )
    assert names(run_dir) == ["000001", "000002"]
    assert damaged_files(run_dir) == []
    limit(resource.RLIM_INFINITY)
    command.succeeds(flags)
    assert_counted(only_run(result_dir))


@pytest.mark.usefixtures("idle")
def test_file_limit_in_a_snapshot(
    command: Command, data_dir: Path, result_dir: Path, limit: Callable[[int], None]
) -> None:
    flags = flags_of(data_dir, result_dir, "--config=config-wide", "--checkpoint-minutes=60")
    limit(WIDE_LIMIT)
    error = command.fails(flags)
    run_dir = only_run(result_dir)
    assert error.startswith(f"error: cannot write {run_dir}/network-snapshot-000000.pkl: File ")
    assert not list(run_dir.glob("*.pkl"))
    assert damaged_files(run_dir) == []
    limit(resource.RLIM_INFINITY)
    command.succeeds(flags)
    assert_counted(only_run(result_dir))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        not_possible_here.append("a file system of its own")
        pytest.skip("needs the right to mount a file system")
    yield path
    gc.collect()  # closes what is open there
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.usefixtures("idle")
def test_full_disk_in_a_checkpoint(command: Command, data_dir: Path, disk: Path) -> None:
    flags = flags_of(data_dir, disk / "results", "--kimg-per-tick=0.3")
    with at_iteration(3, lambda run: fill(disk)):
        error = command.fails(flags)
    run_dir = only_run(disk / "results")
    assert error == (
        f"error: cannot write {run_dir}/checkpoints/000003: No space left on device; free some "
        "space or choose another folder, then run the command again"
    )
    assert names(run_dir) == ["000001", "000002"]
    assert damaged_files(run_dir) == []
    (disk / "filler").unlink()
    command.succeeds(flags)
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("iteration", [2, 4])
def test_full_disk_at_a_tick(command: Command, data_dir: Path, disk: Path, iteration: int) -> None:
    """Whatever is written first: a line of the log, scalars, a grid, a snapshot."""
    flags = flags_of(data_dir, disk / "results", "--checkpoint-minutes=60")
    with at_iteration(iteration, lambda run: fill(disk)):
        error = command.fails(flags)
    run_dir = only_run(disk / "results")
    assert error.startswith(f"error: cannot write {run_dir}/")
    assert ": No space left on device; free some space or" in error
    assert damaged_files(run_dir) == []
    assert remains(disk) == []
    (disk / "filler").unlink()
    command.succeeds(flags)
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
def test_read_only(command: Command, data_dir: Path, disk: Path) -> None:
    """A run folder, and a result folder."""
    result_dir = disk / "results"
    flags = flags_of(data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for more, path in (([f"--resume={run_dir}"], run_dir / ".lock"), ([], result_dir)):
        assert command.fails(flags + more) == (
            f"error: cannot write {path}: Read-only file system; the file system is read-only: "
            "choose another folder"
        )
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    command.succeeds(flags)
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
def test_file_in_place_of_a_folder(command: Command, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = command.fails(flags_of(data_dir, tmp_path / "file"))
    assert error == f"error: --result-dir={tmp_path / 'file'}: a part of this path is a file"

    flags = flags_of(data_dir, tmp_path / "results")
    with at_iteration(0, lambda run: (only_run(tmp_path / "results") / "checkpoints").touch()):
        error = command.fails(flags)
    run_dir = only_run(tmp_path / "results")
    assert error == (
        f"error: cannot write {run_dir}/checkpoints/000000: File exists; a part of this path is a "
        "file: choose another folder"
    )
    (run_dir / "checkpoints").unlink()
    command.succeeds(flags)
    assert_counted(run_dir)


# The data set


@pytest.mark.usefixtures("idle")
def test_no_data_set(command: Command, own_data_dir: Path, result_dir: Path) -> None:
    """It is missed before anything is touched; when it is back, the run goes on."""
    flags = flags_of(own_data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    (own_data_dir / "noise").rename(own_data_dir / "elsewhere")
    assert command.fails(flags) == (
        f"error: there is no data set {own_data_dir}/noise ({own_data_dir} has: elsewhere); make "
        f"it with: python3 dataset_tool.py create_from_images {own_data_dir}/noise IMAGE_DIR"
    )
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    (own_data_dir / "elsewhere").rename(own_data_dir / "noise")
    command.succeeds(flags)
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
def test_data_set_that_vanishes(command: Command, own_data_dir: Path, result_dir: Path) -> None:
    """A run that has opened it goes on to its end."""
    with at_iteration(2, lambda run: shutil.rmtree(own_data_dir)):
        command.succeeds(flags_of(own_data_dir, result_dir))
    assert_counted(only_run(result_dir))


def damage_record(path: Path, number: int) -> None:
    """Flips a bit of an image; records are of one size."""
    content = bytearray(path.read_bytes())
    content[len(content) * (2 * number + 1) // 100] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("idle")
def test_damaged_record(command: Command, own_data_dir: Path, result_dir: Path) -> None:
    (path,) = (own_data_dir / "noise").glob("*.tfrecords")
    whole = path.read_bytes()
    flags = flags_of(own_data_dir, result_dir)
    damage_record(path, 40)
    assert command.fails(flags) == (
        f"error: record 40 (counting from 0) of {path} is truncated or damaged; copy the file or "
        "create the data set again, or leave it out with --skip-bad-records"
    )
    run_dir = only_run(result_dir)
    assert damaged_files(run_dir) == []

    status, (warning,) = command([*flags, "--skip-bad-records"])
    assert status == 0
    check(warning)
    assert warning == (
        f"warning: {path}: skipped 1 of 50 records that are truncated or damaged: 40"
    )
    without = result_dir / f"00001-{run_dir.name.partition('-')[2]}"
    assert_counted(without)

    path.write_bytes(whole)
    command.succeeds(flags)
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
def test_truncated_file(command: Command, own_data_dir: Path, result_dir: Path) -> None:
    (path,) = (own_data_dir / "noise").glob("*.tfrecords")
    os.truncate(path, path.stat().st_size * 91 // 100)
    flags = flags_of(own_data_dir, result_dir)
    error = command.fails(flags)
    assert error.startswith(f"error: record 45 (counting from 0) of {path} is truncated or dama")
    assert not result_dir.exists()
    status, (warning,) = command([*flags, "--skip-bad-records"])
    assert status == 0
    check(warning)
    assert warning.endswith(": skipped 1 of 46 records that are truncated or damaged: 45")
    assert_counted(only_run(result_dir))


@pytest.mark.usefixtures("idle")
def test_damaged_length(command: Command, own_data_dir: Path, result_dir: Path) -> None:
    """Nothing behind such a record can be found."""
    (path,) = (own_data_dir / "noise").glob("*.tfrecords")
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size * 30 // 50)
        file.write(b"\xff")
    flags = flags_of(own_data_dir, result_dir)
    error = command.fails(flags)
    assert error.startswith(f"error: record 30 (counting from 0) of {path} is truncated or dama")
    status, (warning,) = command([*flags, "--skip-bad-records"])
    assert status == 0
    check(warning)
    assert warning.endswith(": 30 and all records behind 30, which cannot be found")
    assert_counted(only_run(result_dir))


# Values that are not finite


def poison(run: Run) -> None:
    variable = run.networks.G.named_trainables()["G_synthesis/4x4/Conv/weight"]
    variable.assign(tf.fill(variable.shape, np.float32(np.nan)))


def test_loss_that_is_not_finite(command: Command, data_dir: Path, result_dir: Path) -> None:
    """The statistic is named; no checkpoint and no snapshot holds what is not finite."""
    flags = flags_of(
        data_dir, result_dir, "--snapshot-ticks=100", "--checkpoint-minutes=10", "--total-kimg=4"
    )
    with at_iteration(3, poison):
        error = command.fails(flags)
    assert re.fullmatch(
        r"error: training diverged: (loss_G|scores/fake|pl_lengths|loss_\w+) not finite 8 times in "
        "a row, and their updates were skipped; the "
        "last checkpoint and snapshot are intact: start again from a snapshot with --resume-pkl, "
        "or anew with --resume=none, with a larger --gamma or other weights",
        error,
    )
    run_dir = only_run(result_dir)
    assert damaged_files(run_dir) == []
    values = [read_checkpoint(path) for path in list_checkpoints(run_dir)]
    assert not values
    (snapshot,) = run_dir.glob("*.pkl")
    networks, _ = read_snapshot(snapshot)
    values += [data.variables for data in networks.values()]
    for tensors in values:
        for name, value in tensors.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                assert np.isfinite(value).all(), name


@pytest.mark.usefixtures("idle")
def test_weight_that_is_not_finite(command: Command, data_dir: Path, result_dir: Path) -> None:
    """One that no statistic tells of."""
    flags = flags_of(data_dir, result_dir)
    with at_iteration(3, poison):
        error = command.fails(flags)
    assert error == (
        "error: training diverged: G/G_synthesis/4x4/Conv/weight is not finite; the last "
        "checkpoint is kept; start anew with a larger --gamma or other weights of the losses "
        "(--resume=none)"
    )
    run_dir = only_run(result_dir)
    assert names(run_dir) == ["000001", "000002"]
    command.succeeds(flags)
    assert_counted(run_dir)


# Runs that go on, and those that cannot


@pytest.mark.usefixtures("idle")
def test_run_in_use(command: Command, data_dir: Path, result_dir: Path) -> None:
    """The one named is refused; `auto` begins another."""
    flags = flags_of(data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    lock = try_lock_folder(run_dir)
    assert lock is not None
    assert command.fails([*flags, f"--resume={run_dir}"]) == (
        f"error: --resume={run_dir} is in use by another process; wait for it or choose another run"
    )
    command.succeeds(flags)
    lock.close()
    assert read_position(run_dir).iteration == 4  # type: ignore[union-attr]
    assert_counted(result_dir / f"00001-{run_dir.name.partition('-')[2]}")
    command.succeeds([*flags, f"--resume={run_dir}"])
    assert_counted(run_dir)


@pytest.mark.usefixtures("idle")
def test_two_commands_at_once(command: Command, data_dir: Path, result_dir: Path) -> None:
    """While one trains, the other does not get its folder."""
    flags = flags_of(data_dir, result_dir)

    def start_another(run: Run) -> None:
        with pytest.raises(UserError, match="is in use by another process; "):
            run_training.main([*flags, f"--resume={only_run(result_dir)}"])

    with at_iteration(2, start_another):
        command.succeeds(flags)
    assert_counted(only_run(result_dir))


@pytest.mark.usefixtures("idle")
def test_other_settings(command: Command, data_dir: Path, result_dir: Path) -> None:
    flags = flags_of(data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    assert command.fails([*flags, f"--resume={run_dir}", "--seed=6", "--gamma=2"]) == (
        f"error: --resume={run_dir} is a run of other settings: seed (5, now 6), loss.gamma (1.0, "
        "now 2.0); repeat its flags, or start a new run with --resume=none"
    )
    error = command.fails([*flags, f"--resume={result_dir}"])
    assert error == (
        f"error: --resume={result_dir} is no run folder (it has no training_options.json); name "
        "one, or `auto`"
    )
    assert names(run_dir) == ["000002", "000003"]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("damage", [cut_variables, damage_position])
def test_damaged_checkpoint(
    command: Command, data_dir: Path, result_dir: Path, damage: Callable[[Path], None]
) -> None:
    """The run goes on from the one before, and only one line tells of it."""
    flags = flags_of(data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    damage(run_dir / "checkpoints" / "000003")
    status, (warning,) = command(flags)
    assert status == 0
    check(warning)
    assert warning.startswith(f"warning: {run_dir}/checkpoints/000003 cannot be read (")
    assert_counted(run_dir)
    assert "at kimg 0.192" in (run_dir / "log.txt").read_text()


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("damage", [damage_variables, damage_position])
def test_no_checkpoint_is_whole(
    command: Command, data_dir: Path, result_dir: Path, damage: Callable[[Path], None]
) -> None:
    flags = flags_of(data_dir, result_dir)
    run_dir = stopped_run(command, flags, result_dir)
    for path in list_checkpoints(run_dir):
        damage(path)
    status, lines = command(flags)
    assert status == 2
    for line in lines:
        check(line)
    assert [line.partition(":")[0] for line in lines] == ["warning", "warning", "error"]
    assert lines[-1] == (
        f"error: no checkpoint in {run_dir}/checkpoints can be read; start a new run with "
        "--resume=none, from a snapshot with --resume-pkl"
    )
    assert names(run_dir) == ["000002", "000003"]
    command.succeeds([*flags, "--resume=none"])


@pytest.mark.usefixtures("idle")
def test_finished_run(command: Command, data_dir: Path, result_dir: Path) -> None:
    """Left alone by `auto`; named, it says so; with more kimg it goes on."""
    flags = flags_of(data_dir, result_dir)
    command.succeeds(flags)
    run_dir = only_run(result_dir)
    assert command.fails([*flags, f"--resume={run_dir}"]) == (
        f"error: --resume={run_dir} has finished at 0.64 kimg; raise --total-kimg to go on with it"
    )
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    command.succeeds(flags)
    again = result_dir / f"00001-{run_dir.name.partition('-')[2]}"
    assert_counted(again)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    command.succeeds([*flags, f"--resume={run_dir}", "--total-kimg=0.768"])
    assert_counted(run_dir, 12)
    position = read_position(run_dir)
    assert position is not None
    assert (position.iteration, position.finished) == (12, True)


# Signals


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGTERM, 75, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signal(
    command: Command, data_dir: Path, result_dir: Path, number: int, status: int, word: str
) -> None:
    """The iteration is finished and kept; the same command goes on."""
    flags = flags_of(data_dir, result_dir, "--checkpoint-minutes=60")
    with at_iteration(3, lambda run: signal.raise_signal(number)):
        assert command(flags) == (status, [word])
    check(word)
    run_dir = only_run(result_dir)
    assert names(run_dir) == ["000000"]
    assert read_position(run_dir).iteration == 4  # type: ignore[union-attr]
    check(last_line(run_dir))
    assert last_line(run_dir).endswith(
        f"; the same command goes on with {run_dir} (or --resume={run_dir})"
    )
    command.succeeds(flags)
    assert_counted(run_dir)


# Processes of their own. One that has TensorFlow imported forks them: quicker than starting each.


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_faults"])
    return context


class Lives:
    """Runs the command again and again, each time in a process of its own."""

    def __init__(self, context: multiprocessing.context.ForkServerContext, log: Path) -> None:
        self._context = context
        self._log = log

    def __call__(self, flags: list[str], end: tuple[str, str] | None = None) -> int | None:
        """One process; returns its exit status, negative for a signal."""
        process = self._context.Process(target=_live, args=(flags, end, str(self._log)))
        process.start()
        process.join(120)
        assert process.exitcode is not None, self._log.read_text()
        return process.exitcode


@pytest.fixture
def lives(processes: multiprocessing.context.ForkServerContext, tmp_path: Path) -> Lives:
    return Lives(processes, tmp_path / "lives.log")


def _live(flags: list[str], end: tuple[str, str] | None, log: str) -> None:
    """A process: trains, and ends as `end` says.

    Args:
        end: when and what: ("before" or "after", pattern of a name) kills it at the renaming to
            that name, ("behind", name) behind a line of that metric file; ("idle", "7") lets
            SIGTERM come in that of the iterations, which train nothing.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    with pytest.MonkeyPatch.context() as patch:
        set_up(patch)
        when, what = end or ("", "")
        if when == "idle":
            patch.setattr(Run, "train_iteration", idle_iteration)
            with at_iteration(int(what), lambda run: os.kill(os.getpid(), signal.SIGTERM)):
                cli.run(lambda argv: run_training.main(flags))
        if when in ("before", "after"):
            _kill_at_renaming(patch, when, what)
        if when == "behind":
            _kill_behind_line(patch, what)
        cli.run(lambda argv: run_training.main(flags))


def _kill_at_renaming(patch: pytest.MonkeyPatch, when: str, pattern: str) -> None:
    for function in ("rename", "replace"):
        real = getattr(os, function)

        def hooked(source: object, target: object, real: Callable[..., None] = real) -> None:
            found = re.search(f"{pattern}$", os.fspath(target))  # type: ignore[call-overload]
            if found and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
            if found:
                os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(os, function, hooked)


def _kill_behind_line(patch: pytest.MonkeyPatch, name: str) -> None:
    from metrics import report

    append_line = report.append_line

    def hooked(path: Path, line: str) -> None:
        append_line(path, line)
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    patch.setattr(report, "append_line", hooked)


HEX = "[0-9a-f]{8}"


def test_killed_runs_end_the_same(lives: Lives, data_dir: Path, tmp_path: Path) -> None:
    """One run dies at every bad moment there is, and ends with the bits of one that never did."""
    flags = (f"--metrics={METRIC}",)
    assert lives(flags_of(data_dir, tmp_path / "whole", *flags)) == 0
    expected = only_run(tmp_path / "whole")
    for end in [
        ("before", "/training_options.json"),
        ("before", "/checkpoints/000000"),  # written, and not yet there
        ("before", rf"/000002\.incomplete-{HEX}/position\.json"),  # half written
        ("after", "/checkpoints/000003"),  # there, and the oldest not yet removed
        ("after", rf"/checkpoints/\.000002\.{HEX}\.tmp"),  # the oldest half removed
        ("before", "/network-snapshot-000000.pkl"),
        ("behind", f"metric-{METRIC}.txt"),
        ("before", "/network-final.pkl"),
        ("behind", f"metric-{METRIC}.jsonl"),
    ]:
        assert lives(flags_of(data_dir, tmp_path / "killed", *flags), end) == -signal.SIGKILL, end
        assert damaged_files(only_run(tmp_path / "killed")) == [], end
    assert lives(flags_of(data_dir, tmp_path / "killed", *flags)) == 0
    found = only_run(tmp_path / "killed")
    assert end_differences(expected, found) == []
    assert remains(tmp_path / "killed") == []


def test_other_threads_and_operations(lives: Lives, data_dir: Path, result_dir: Path) -> None:
    """A run that goes on takes its number of threads; others are told, and remembered."""
    flags = flags_of(data_dir, result_dir)
    for more, iteration in ((["--threads=1"], 2), ([], 4), (["--threads=2", "--ops=xla"], 6)):
        assert lives([*flags, *more], ("idle", str(iteration))) == 75
        run_dir = only_run(result_dir)
        position = read_position(run_dir)
        assert position is not None
        warnings = [
            line
            for line in (run_dir / "log.txt").read_text().splitlines()
            if line.startswith("warning")
        ]
        assert position.iteration == iteration + 1
        assert position.bit_exact == (not warnings) == (iteration != 6)
    (warning,) = warnings
    check(warning)
    assert warning == (
        "warning: ops (reference, now xla), threads (1, now 2): the run goes on, but its weights "
        "will not be bit-identical to those of a run that was never stopped"
    )


# Several workers


UNEVEN = """
    from dnnlib import cli
    from dnnlib.tflib.start import quiet_tensorflow

    def main(argv):
        quiet_tensorflow(False)
        import tensorflow as tf
        from dnnlib.tflib.devices import check_equal_devices, make_devices

        cpu = tf.config.list_physical_devices("CPU")[0]
        some = [tf.config.LogicalDeviceConfiguration()] * COUNTS[index]
        tf.config.set_logical_device_configuration(cpu, some)
        check_equal_devices(make_devices(0).task, "CPU")
        print("equal")

    cli.run(main)
"""


def launched(code: str, **values: object) -> tuple[int, list[str]]:
    """Status and stderr of two workers that run this code, without the ports of their addresses."""
    code = textwrap.dedent(code)
    for name, value in values.items():
        code = code.replace(name, repr(value))
    launcher = (
        "import sys; from dnnlib.tflib import workers; workers.GRACE = 60.0; "
        f"sys.exit(workers.launch(2, {python(code)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", launcher], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()


def test_lost_worker() -> None:
    """What the other one and the launcher say; `test_worker_training` goes on from there."""
    status, lines = launched(TRAINING, VICTIM=1)
    assert status == 128 + signal.SIGKILL
    errors = [line for line in lines if "error: " in line]
    for line in errors:
        check(line)
    lost, ended = errors
    assert lost.startswith("error: lost worker 1 of 2 (localhost:")
    assert ended == "error: worker 1 of 2 ended with signal SIGKILL, and the run with it"


def test_unequal_workers() -> None:
    """Devices of CPUs in place of GPUs: who sees it says both counts, and nobody trains.

    The slower one may be ended by TensorFlow, because the other has ended already.
    """
    status, lines = launched(UNEVEN, COUNTS=(1, 2))
    assert status == 2
    errors = [line.removeprefix("worker 1: ") for line in lines if "workers need" in line]
    assert errors
    assert "equal" not in lines
    for line in errors:
        assert re.fullmatch(
            r"error: workers need equally many CPUs, but worker 1 of 2 \(localhost:\d+\) has 2 and "
            r"worker 0 of 2 \(localhost:\d+\) has 1; start all of them with --num-gpus=1",
            line,
        )
        check(line.replace("CPUs", "GPUs"))


def test_worker_without_gpus(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made up: TensorFlow's list of the GPUs of all workers."""
    task = Task(("worker:0", "worker:1"), ("host0:2222", "host1:2222"), 0)
    gpu = SimpleNamespace(name="/job:worker/replica:0/task:0/device:GPU:0")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [gpu])
    monkeypatch.setattr(run_training, "main", lambda flags: check_equal_devices(task))
    assert command.fails([]) == (
        "error: workers need equally many GPUs, but worker 0 of 2 (host0:2222) has 1 and worker 1 "
        "of 2 (host1:2222) has 0; look at the latter why it sees none (nvidia-smi, "
        "CUDA_VISIBLE_DEVICES)"
    )


# The page


def test_page_says_what_to_do() -> None:
    """Behind every block of messages there is a text."""
    text = DOCS.read_text()
    for block in re.findall(r"^```text\n.*?^```\n(.*?)(?=^```text|\Z)", text, re.DOTALL | re.M):
        assert len(re.sub(r"^#.*", "", block, flags=re.MULTILINE).split()) > 5, block


def test_page() -> None:
    """Each message stands there once and is produced by a test above."""
    functions = {name for name in globals() if name.startswith("test_")} - {"test_page"}
    if not functions <= ran:
        pytest.skip("only some tests of this file ran")
    missing = documented().keys() - produced
    if missing and not_possible_here:
        pytest.skip(f"not produced on this machine, which lacks {', '.join(not_possible_here)}")
    assert not missing, f"no test produces: {sorted(missing)}"
