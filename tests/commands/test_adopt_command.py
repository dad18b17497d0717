"""adopt by the command, on files of both layouts: what it leaves, refuses, and goes on with."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_fingerprints
import run_generator
from dnnlib.errors import UserError
from tests.support.paths import REFERENCE, ROOT
from training import adoption
from training.models.snapshot import load_networks, save_snapshot
from training.networks.adopted import AdoptedGenerator
from training.networks.configs import StyleGAN2GeneratorConfig
from training.networks.stylegan2 import StyleGAN2Generator

SKIP = REFERENCE / "plain_skip_16_tf.pkl"
LABELS = REFERENCE / "plain_resnet_32_labels_torch.pkl"  # with five classes
SHORT = [
    "--bits=8", "--kimg=0.012", "--kimg-per-tick=0.004", "--minibatch=4", "--ops=reference",
    "--immunize=flip", "--seed=3",
]  # fmt: skip

Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module", autouse=True)
def few_pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adoption, "_REPORT_SEEDS", range(100, 104))
        patch.setattr(adoption, "_LOOKED_AT", range(100, 104))
        patch.setattr(adoption, "_MINIBATCH", 2)
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; what it writes to stdout and stderr."""

    def call(main: Callable[[list[str]], None], *arguments: object) -> tuple[str, str]:
        capsys.readouterr()
        main([str(argument) for argument in arguments])
        out = capsys.readouterr()
        return out.out, out.err

    return call


def adopt(network: Path, result_dir: Path, *more: str) -> list[str]:
    return ["adopt", f"--network={network}", f"--result-dir={result_dir}", *SHORT, *more]


@dataclass
class Adopted:
    """A run of the command."""

    file: Path  # that came in
    folder: Path
    network: Path  # of the result
    out: str
    err: str

    @property
    def classes(self) -> list[str]:
        return ["--class=3"] if self.file == LABELS else []


@pytest.fixture(scope="module", params=[SKIP, LABELS], ids=["tf", "torch"])
def adopted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    results = tmp_path_factory.mktemp("results")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        run_fingerprints.main(adopt(request.param, results, "--json"))
    (folder,) = results.iterdir()
    network = folder / "network-final.pkl"
    return Adopted(request.param, folder, network, out.getvalue(), err.getvalue())


def test_what_a_run_leaves(adopted: Adopted) -> None:
    assert adopted.folder.name == f"00000-adopt-{adopted.file.stem}-8bits"
    names = {path.name for path in adopted.folder.iterdir()}
    assert {
        "log.txt", "adopt_options.json", "adopt_report.json", "network-final.pkl",
        "fakes-adopted-init.png", "fakes-adopted-000000.png", "_finished.txt",
    } <= names  # fmt: skip
    generator = load_networks(adopted.network, only="generator").generator
    assert isinstance(generator, AdoptedGenerator)
    np.testing.assert_array_equal(generator.original_file, np.fromfile(adopted.file, np.uint8))
    log = (adopted.folder / "log.txt").read_text()
    assert log.count("\ntick ") == 3
    assert " edited 0." in log
    assert "SSIM" in log
    (events,) = adopted.folder.glob("events.*")
    accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = set(accumulator.Tags()["scalars"])
    assert {"Loss/loss_bits", "Loss/loss_distance", "Progress/psnr_original"} <= tags


def test_the_first_grid_is_the_originals(adopted: Adopted) -> None:
    """Row by row: the original's pictures, the same with fingerprints, no difference."""
    with Image.open(adopted.folder / "fakes-adopted-init.png") as picture:
        first = np.asarray(picture)
    with Image.open(adopted.folder / "fakes-adopted-000000.png") as picture:
        last = np.asarray(picture)
    size = load_networks(adopted.network, only="generator").generator.resolution
    assert first.shape == last.shape == (3 * size, 4 * size, 3)
    originals, made, difference = np.split(first, 3)
    np.testing.assert_array_equal(originals, made)
    assert set(np.unique(difference)) == {127}
    originals, made, difference = np.split(last, 3)
    np.testing.assert_array_equal(originals, np.split(first, 3)[0])
    assert not np.array_equal(originals, made)
    expected = np.clip(127.5 + 10.0 * (made.astype(float) - originals), 0, 255)
    np.testing.assert_array_equal(difference, expected.astype(np.uint8))


def pictures(run: Run, network: Path, result_dir: Path, *flags: str) -> np.ndarray:
    out, _ = run(
        run_generator.main, "generate-images", f"--network={network}", "--seeds=5,6",
        f"--result-dir={result_dir}", "--ops=reference", *flags,
    )  # fmt: skip
    found = []
    for seed in (5, 6):
        with Image.open(Path(out.strip()) / f"seed{seed:04d}.png") as picture:
            found.append(np.asarray(picture).astype(int))
    return np.stack(found)


def test_commands_take_the_result(run: Run, adopted: Adopted, tmp_path: Path) -> None:
    """Pictures near those of the file that came in, with the fingerprint asked for; it is read."""
    theirs = pictures(run, adopted.file, tmp_path, *adopted.classes)
    ours = [
        pictures(run, adopted.network, tmp_path, f"--fingerprint={bits}", *adopted.classes)
        for bits in ("0f", "f0")
    ]
    assert np.abs(ours[0] - ours[1]).max() > 0
    for made in ours:
        assert np.abs(made - theirs).mean() < 20  # other seeds differ by far more
    assert np.abs(theirs[0] - theirs[1]).mean() > 20
    folder = sorted(tmp_path.iterdir())[-1]
    out, _ = run(
        run_fingerprints.main, "decode", "--json", f"--network={adopted.network}", folder,
        "--ops=reference",
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    assert [len(line["fingerprint"]) for line in lines[:2]] == [2, 2]


def test_result_on_stdout_and_log_on_stderr(adopted: Adopted) -> None:
    values = json.loads(adopted.out)
    assert values["network"] == str(adopted.network)
    assert 0 <= values["bit_accuracy"] <= 1
    assert "tick 1 " in adopted.err


class Stop(Exception):
    """In place of a kill."""


def test_stopped_before_it_says_that_it_has_finished(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is written already: the command goes on in the same folder, and writes the same."""
    command = adopt(SKIP, tmp_path)

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(adoption, "mark_finished", stop)
        with pytest.raises(Stop):
            run(run_fingerprints.main, *command)
    (written,) = tmp_path.glob("*/network-final.pkl")
    before = written.read_bytes()
    out, err = run(run_fingerprints.main, *command)
    assert "going on at 0.0 kimg" in err
    assert out.splitlines() == [str(written)]
    assert written.read_bytes() == before


def test_what_cannot_be_adopted(run: Run, adopted: Adopted, tmp_path: Path) -> None:
    """Each is refused before a folder is made."""
    results = tmp_path / "results"
    results.mkdir()
    alone = tmp_path / "alone.pkl"
    small = {"resolution": 8, "fmap_base": 32, "fmap_max": 4, "latent_size": 4, "dlatent_size": 4}
    only = StyleGAN2Generator(StyleGAN2GeneratorConfig(**small, mapping_fmaps=4), seed=1)
    save_snapshot(alone, Gs=only)
    for network, more, text in (
        (adopted.network, [], "is not plain StyleGAN2: it can have fingerprints already"),
        (REFERENCE / "snapshot_resnet_skip_16.pkl", [], "is not plain StyleGAN2"),
        (alone, ["--realism-weight=1"], "--realism-weight needs the discriminator"),
        (SKIP, ["--immunize=wobble"], "edit wobble: unknown"),
        (tmp_path / "missing.pkl", [], "missing.pkl"),
    ):
        with pytest.raises(UserError, match=text):
            run(run_fingerprints.main, *adopt(network, results, *more))
    assert not list(results.iterdir())


# The command as it is, with few pictures in the report, and slow enough to be stopped midway.
SCRIPT = """
import sys, time, run_fingerprints
from dnnlib import cli
from training import adoption, step_loop
adoption._REPORT_SEEDS = adoption._LOOKED_AT = range(100, 104)
class Slow(step_loop.tqdm):
    def update(self, n=1):
        time.sleep(0.05)
        return super().update(n)
step_loop.tqdm = Slow
sys.argv[0] = "run_fingerprints.py"
cli.run(run_fingerprints.main)
"""


@pytest.mark.slow
@pytest.mark.long
def test_killed_and_gone_on_with_under_xla(tmp_path: Path) -> None:
    """By SIGKILL, then by Ctrl-C: the file is that of a run that nobody stopped, to the byte."""

    def start(results: str, minutes: float) -> "subprocess.Popen[str]":
        arguments = [
            "adopt", f"--network={LABELS}", f"--result-dir={tmp_path / results}", "--bits=8",
            "--kimg=0.16", "--minibatch=4", f"--checkpoint-minutes={minutes}", "--ops=xla",
            "--threads=1",
        ]  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    whole = start("whole", 60)
    out, err = whole.communicate(timeout=600)
    assert whole.returncode == 0, err
    expected = Path(out.strip()).read_bytes()
    for least, number, status in ((3, signal.SIGKILL, -9), (20, signal.SIGINT, 130)):  # of 40
        process = start("stopped", 0.0001)
        deadline = time.monotonic() + 300
        pattern = "stopped/00000-*/checkpoints/" + "[0-9]" * 6
        while not any(int(path.name) >= least for path in tmp_path.glob(pattern)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == status, err
        assert not list(tmp_path.glob("stopped/*/network-final.pkl"))
    last = start("stopped", 60)
    out, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    assert "going on at" in err
    assert Path(out.strip()).read_bytes() == expected
