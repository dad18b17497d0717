"""The soak test itself: it kills, and it notices whatever a kill could leave behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import cli
from dnnlib.image_grid import save_png
from tests.support.checkpoints import POSITION
from tools import soak
from tools.run_files import damaged_files, end_differences
from training.checkpoint import Checkpoints, Position
from training.models.snapshot import read_snapshot, save_networks, save_snapshot
from training.networks.configs import DecoderConfig
from training.networks.decoder import Decoder

METRIC = "metric-watermark_accuracy_1k"
NAMES = ("network-snapshot-000001.pkl", "network-final.pkl")


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The command changes them for its process."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def status_of(*flags: str) -> object:
    with pytest.raises(SystemExit) as exit:
        cli.run(lambda argv: soak.main(flags))
    return exit.value.code


def rows(output: str) -> dict[str, str]:
    """The summary's rows."""
    lines = [line.rsplit(maxsplit=1) for line in output.splitlines()[:6]]
    return {name.strip(): value for name, value in lines}


@pytest.mark.slow
@pytest.mark.long
def test_real_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, killed while it writes a checkpoint, ends like the one that is left alone."""
    monkeypatch.setattr(soak, "RESOLUTION", 4)
    # Ten checkpoints, and a seed that waits for a fiftieth of the training: however unevenly the
    # machine runs, one of them is still to be written then.
    monkeypatch.setattr(soak, "ITERATIONS", 40)
    monkeypatch.setattr(soak, "TICK", 4)
    monkeypatch.setattr(soak, "MOMENTS", {"starting": 0, "training": 0, "checkpoint": 1})
    status = status_of("--minutes=0.01", "--jobs=1", "--seed=4", f"--result-dir={tmp_path}")
    output = capsys.readouterr().out
    assert status == 0, output
    assert rows(output) == {
        "kills": "1",
        "while starting": "0",
        "while writing a checkpoint": "1",
        "runs finished and compared": "1",
        "lost or damaged files": "0",
        "bit-identical": "yes",
    }
    (folder,) = tmp_path.iterdir()
    assert not (folder / "killed-000").exists()
    (run_dir,) = (folder / "uninterrupted").iterdir()
    assert f"{METRIC}.jsonl" in os.listdir(run_dir)


# Stands for the training command: it copies a run that was made before. Below "killed-*", where the
# soak test kills, the first process waits for that, and it can do what the real one must never do.
FAKE = """
import os, shutil, sys, time
from pathlib import Path

flags = dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag)
result_dir = Path(flags["--result-dir"])
killed = result_dir.name.startswith("killed")
template, fault = Path(os.environ["FAKE_RUN"]), os.environ["FAKE_FAULT"] if killed else ""
again = result_dir.exists()
first = killed and not again

def wait_for_the_kill():
    (result_dir / "process").write_text(str(os.getpid()))
    time.sleep(60)

if fault == "status":
    sys.exit("error: made up")
result_dir.mkdir(exist_ok=True)
if fault == "starting" and first:
    wait_for_the_kill()
anew = again and fault in ("second", "finished")
run_dir = result_dir / ("00001-again" if anew else template.name)
run_dir.mkdir(exist_ok=True)
for path in sorted(template.glob("*.*")):
    if path.name != "network-final.pkl":
        shutil.copy(path, run_dir)
if fault == "damaged" and first:
    os.truncate(run_dir / "network-snapshot-000001.pkl", 1000)
if fault == "lost" and first:
    shutil.copy(template / "network-final.pkl", run_dir / "network-snapshot-000002.pkl")
if fault == "lost" and again:
    (run_dir / "network-snapshot-000002.pkl").unlink()
(run_dir / "checkpoints").mkdir(exist_ok=True)
shutil.rmtree(run_dir / "checkpoints" / "000001.incomplete-01234567", ignore_errors=True)
if not (run_dir / "checkpoints" / "000000").exists():
    temporary = run_dir / "checkpoints" / "000000.incomplete-01234567"
    shutil.copytree(template / "checkpoints" / "000000", temporary)
    temporary.rename(run_dir / "checkpoints" / "000000")
def finish():
    shutil.copy(template / "network-final.pkl", run_dir)
    position = run_dir / "checkpoints" / "000000" / "position.json"
    position.write_text(position.read_text().replace('"finished": false', '"finished": true'))

if first:
    if fault == "finished":
        finish()
    if fault == "checkpoint":
        time.sleep(0.1)
        (run_dir / "checkpoints" / "000001.incomplete-01234567").mkdir()
    wait_for_the_kill()
finish()
if fault == "weight":
    path = run_dir / "network-final.pkl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
if fault == "left":
    (run_dir / ".log.txt.01234567.tmp").touch()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script, in place of the training command; one kill per run, while it trains."""
    template = tmp_path / "00000-noise"
    make_run(template)
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    monkeypatch.setenv("FAKE_RUN", str(template))
    monkeypatch.setattr(soak, "COMMAND", (str(path),))
    monkeypatch.setattr(soak, "KILLS", (1, 1))
    monkeypatch.setattr(soak, "MOMENTS", {"starting": 0, "training": 1, "checkpoint": 0})
    return path


def make_run(run_dir: Path) -> None:
    """What a run leaves, without training."""
    run_dir.mkdir(parents=True)
    rnd = np.random.RandomState(0)
    decoder = Decoder(
        DecoderConfig(resolution=8, latent_size=4, fingerprint_size=4, fmap_base=32, fmap_max=8)
    )
    for name in NAMES:
        save_snapshot(run_dir / name, E=decoder, position={"kimg": 1})
    weights = {"G/weight": tf.Variable(rnd.randn(50).astype(np.float32))}
    Checkpoints(run_dir, weights, 2, Position).save(POSITION)
    save_png(rnd.randint(0, 256, [16, 16, 3]).astype(np.uint8), run_dir / "reals.png")
    (run_dir / "training_options.json").write_text('{"seed": 1}\n')
    (run_dir / "log.txt").write_text("tick 0\n")
    (run_dir / f"{METRIC}.txt").write_text("network-final   time 1m 03s   accuracy 0.5000\n")
    (run_dir / f"{METRIC}.jsonl").write_text('{"values": {"accuracy": 0.5}, "seconds": 63}\n')


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("fault", "message", "compared"),
    [
        ("weight", "is not what was saved", "1"),
        ("damaged", "network-snapshot-000001.pkl is damaged: ", "1"),
        ("lost", "network-snapshot-000002.pkl is lost", "1"),
        ("left", "killed-000: 00000-noise/.log.txt.01234567.tmp was left", "1"),
        ("second", "did not go on with", "0"),
        ("status", "the command ended with status 1: error: made up", "0"),
    ],
)
def test_what_a_command_must_not_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    message: str,
    compared: str,
) -> None:
    """Whatever differs is named, and the status says so."""
    monkeypatch.setenv("FAKE_FAULT", fault)
    result_dir = tmp_path / "results"
    status = status_of("--minutes=0.001", "--jobs=1", f"--result-dir={result_dir}")
    output = capsys.readouterr().out
    found, problems = rows(output), output.splitlines()[6:]
    assert status == 1
    assert len(problems) == 1, output
    assert message in problems[0]
    assert found["runs finished and compared"] == compared
    assert found["bit-identical"] == ("no" if compared == "1" else "-")
    assert found["lost or damaged files"] == (
        "1" if fault in ("damaged", "lost", "weight") else "0"
    )
    (folder,) = result_dir.iterdir()
    assert (folder / "killed-000.log").exists(), "what is wrong is kept"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("moment", list(soak.MOMENTS))
def test_moments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    """Two runs at a time, killed when they shall be; the table tells what was there."""
    monkeypatch.setenv("FAKE_FAULT", moment)
    monkeypatch.setattr(soak, "MOMENTS", {name: int(name == moment) for name in soak.MOMENTS})

    def pause(job: soak.Job, process: subprocess.Popen[bytes], seconds: float) -> None:
        job._until(process, (job.folder / "process").exists)

    if moment == "starting":
        monkeypatch.setattr(soak.Job, "_pause", pause)
    status = status_of("--minutes=0.001", "--jobs=2", f"--result-dir={tmp_path / 'results'}")
    found = rows(capsys.readouterr().out)
    assert status == 0
    assert (found["kills"], found["runs finished and compared"]) == ("2", "2")
    assert found["while starting"] == ("2" if moment == "starting" else "0")
    assert found["while writing a checkpoint"] == ("2" if moment == "checkpoint" else "0")


@pytest.mark.usefixtures("fake")
def test_killed_when_all_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command would begin another run; there is nothing to go on with."""
    monkeypatch.setenv("FAKE_FAULT", "finished")

    def pause(job: soak.Job, process: subprocess.Popen[bytes], seconds: float) -> None:
        job._until(process, (job.folder / "process").exists)

    monkeypatch.setattr(soak.Job, "_pause", pause)
    status = status_of("--minutes=0.001", "--jobs=1", f"--result-dir={tmp_path / 'results'}")
    output = capsys.readouterr().out
    assert status == 0, output
    assert rows(output)["runs finished and compared"] == "1"


def test_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake: Path,
) -> None:
    """It begins again until the time is over."""
    monkeypatch.setenv("FAKE_FAULT", "")
    result_dir = tmp_path / "results"
    assert status_of("--minutes=0.1", "--jobs=1", f"--result-dir={result_dir}") == 0
    assert int(rows(capsys.readouterr().out)["kills"]) > 1
    (folder,) = result_dir.iterdir()
    assert not list(folder.glob("killed-*/")), "what is well needs no space"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Path, number: int
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "starting")
    script = f"""
import sys
sys.path.insert(0, {str(soak.ROOT)!r})
from dnnlib import cli
from tools import soak
soak.COMMAND = ({str(fake)!r},)
soak.Job._pause = lambda job, process, seconds: job._until(process, lambda: False)
soak.MOMENTS = {{"starting": 1, "training": 0, "checkpoint": 0}}
sys.argv = ["soak", "--result-dir=results"]
cli.run(soak.main)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    notes = "results/*/killed-*/process"
    deadline = time.monotonic() + 60
    children: list[str] = []
    while len(children) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        children = list(filter(None, (path.read_text() for path in tmp_path.glob(notes))))
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)


# The comparison


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        make_run(tmp_path / name)
    return tmp_path / "one", tmp_path / "other"


def test_equal_but_for_times(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    (other / "events.out.tfevents.2").touch()
    (other / "log.txt").write_text("tick 0\nGoing on\ntick 0\n")
    (other / f"{METRIC}.txt").write_text("network-final   time 4s       accuracy 0.5000\n")
    (other / f"{METRIC}.jsonl").write_text('{"values": {"accuracy": 0.5}, "seconds": 4.5}\n')
    assert end_differences(one, other) == []


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)


def test_one_bit_of_a_snapshot(two_runs: tuple[Path, Path]) -> None:
    """Of its arrays: the file itself tells that it is damaged."""
    _, other = two_runs
    flip(other / "network-final.pkl", 0.5)
    (text,) = damaged_files(other)
    assert "network-final.pkl is damaged: " in text
    assert "of E is not what was saved" in text


def test_one_weight_of_a_snapshot(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    networks, position = read_snapshot(other / "network-final.pkl")
    name, value = max(networks["E"].variables.items(), key=lambda item: item[1].size)
    networks["E"].variables[name] = np.nextafter(value, np.float32(9))
    save_networks(other / "network-final.pkl", networks, position)
    assert end_differences(one, other) == [f"network-final.pkl: E/{name} differs"]
    assert damaged_files(other) == []


def test_one_bit_of_a_checkpoint(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    shutil.rmtree(other / "checkpoints")
    values = np.random.RandomState(0).randn(50).astype(np.float32)
    values.view(np.uint8)[17] ^= 1
    Checkpoints(other, {"G/weight": tf.Variable(values)}, 2, Position).save(POSITION)
    (text,) = end_differences(one, other)
    assert text.startswith("last checkpoint: variables/G")
    assert text.endswith(" differs")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (f"{METRIC}.txt", "network-final   time 4s       accuracy 0.5001\n", "line 1 differs"),
        (f"{METRIC}.jsonl", '{"values": {"accuracy": 0.6}, "seconds": 63}\n', "line 1 differs"),
        (f"{METRIC}.jsonl", '{"values": {"accuracy": 0.5}, "seconds": 1}\n' * 2, "line 2 is in"),
        ("training_options.json", '{"seed": 2}', "seed differs (1 and 2)"),
        ("more.pkl", "", "more.pkl is in one of them only"),
    ],
)
def test_other_differences(two_runs: tuple[Path, Path], name: str, content: str, text: str) -> None:
    one, other = two_runs
    (other / name).write_text(content)
    (found,) = end_differences(one, other)
    assert text in found


def test_pictures(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    save_png(np.zeros([16, 16, 3], np.uint8), other / "reals.png")
    assert end_differences(one, other) == ["reals.png: the file differs"]


@pytest.mark.parametrize(
    "name",
    [
        "network-final.pkl", "reals.png", "training_options.json", f"{METRIC}.jsonl",
        "checkpoints/000000/position.json", "checkpoints/000000/variables.index",
        "checkpoints/000000/variables.data-00000-of-00001",
    ],
)  # fmt: skip
def test_cut_file(two_runs: tuple[Path, Path], name: str) -> None:
    """A file that lacks its last bytes is damaged, whatever kind it is."""
    path = two_runs[0] / name
    assert damaged_files(two_runs[0]) == []
    os.truncate(path, path.stat().st_size - 3)
    (text,) = damaged_files(two_runs[0])
    where = path.parent if "checkpoints" in name else path
    assert text.startswith(f"{where} is damaged: ")
    assert "\n" not in text


def test_flipped_checkpoint_is_damaged(two_runs: tuple[Path, Path]) -> None:
    flip(two_runs[0] / "checkpoints/000000/variables.data-00000-of-00001", 0.5)
    (text,) = damaged_files(two_runs[0])
    assert "checkpoints/000000 is damaged" in text
