"""retune by the command: what stays valid, what a registry says, and every way of being stopped."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import run_fingerprints
import run_generator
from dnnlib.errors import UserError
from fingerprints.detection.detector import load_calibration
from fingerprints.registry.facade import Registry
from gan_fingerprints.work import retune as work
from gan_fingerprints.work.images import load_decoder
from tests.support.paths import ROOT
from training import retuning
from training.models.hashes import ORIGINAL
from training.models.snapshot import read_snapshot, save_snapshot
from training.networks.configs import DecoderConfig, DiscriminatorConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator

PREVIOUS = ROOT / "tests" / "data" / "previous"
SIZES = {"resolution": 8, "latent_size": 4, "fingerprint_size": 32}
WIDTHS = {"fmap_base": 64, "fmap_max": 8}
SHORT = ["--kimg=0.032", "--minibatch=4", "--immunize=flip,jpeg", "--ops=reference", "--seed=3"]


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retuning, "_REPORT_SEEDS", range(100, 104))
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A snapshot of untrained networks as training writes it."""
    path = tmp_path / "network.pkl"
    first, average = (Generator(GeneratorConfig(**SIZES, **WIDTHS), seed=s) for s in (1, 2))
    decoder = Decoder(DecoderConfig(**SIZES, **WIDTHS), seed=3)
    critic = Discriminator(DiscriminatorConfig(resolution=8, **WIDTHS), seed=4)
    position = {"kimg": 1.0, "num_images": 1000}
    save_snapshot(path, E=decoder, G=first, D=critic, Gs=average, position=position)
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """24 pictures of noise."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels = rng.integers(0, 256, [8, 8, 3], np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; what it writes to stdout and stderr."""

    def call(*arguments: object) -> tuple[str, str]:
        capsys.readouterr()
        run_fingerprints.main([str(argument) for argument in arguments])
        out = capsys.readouterr()
        return out.out, out.err

    return call


def retune(network: Path, out: Path, *more: str) -> list[str]:
    return ["retune", f"--network={network}", f"--out={out}", *SHORT, *more]


def bytes_of(path: Path, slot: str) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in read_snapshot(path)[0][slot].variables.items()}


def test_the_decoder_alone_is_new(run: Run, network: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.pkl"
    out, err = run(*retune(network, new))
    assert out.splitlines()[0] == "edit        before  after"
    assert out.splitlines()[1].startswith("none        0.")
    assert out.splitlines()[-1] == f"wrote {new}"
    assert "there is no registry fingerprints.db: the new decoder will not be entered" in err
    report = json.loads((tmp_path / "new.json").read_text())
    assert list(report["before"]) == list(report["after"])
    assert "jpeg50" in report["after"]
    for slot in ("G", "Gs", "D"):
        assert bytes_of(network, slot) == bytes_of(new, slot)
    assert bytes_of(network, "E") != bytes_of(new, "E")
    position = read_snapshot(new)[1]
    assert position == {"kimg": 1.0, "num_images": 1000, ORIGINAL: load_decoder(str(network))[2]}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["network.pkl", "new.json", "new.pkl"]


def test_the_model_keeps_its_hash(run: Run, network: Path, tmp_path: Path) -> None:
    """Also when it is retuned again; that of the decoder is its own."""
    once, twice = tmp_path / "once.pkl", tmp_path / "twice.pkl"
    run(*retune(network, once))
    run(*retune(once, twice, "--learning-rate=0.01"))
    hashes = [load_decoder(str(path))[1:] for path in (network, once, twice)]
    assert len({model_hash for model_hash, _ in hashes}) == 1
    assert len({decoder_hash for _, decoder_hash in hashes}) == 3
    assert read_snapshot(twice)[1][ORIGINAL] == hashes[0][1]


def test_another_generator_is_another_model(run: Run, network: Path, tmp_path: Path) -> None:
    """Whatever it says of its first decoder."""
    new, other = tmp_path / "new.pkl", tmp_path / "other.pkl"
    run(*retune(network, new))
    generator = Generator(GeneratorConfig(**SIZES, **WIDTHS), seed=9)
    decoder, model_hash, _ = load_decoder(str(new))
    save_snapshot(other, E=decoder, Gs=generator, position=read_snapshot(new)[1])
    assert load_decoder(str(other))[1] != model_hash


def decoders(run: Run, registry: str) -> list[dict[str, Any]]:
    out, _ = run("list", "--decoders", "--json", registry)
    return [json.loads(line) for line in out.splitlines()]


def test_life_with_two_decoders(run: Run, network: Path, foreign: Path, tmp_path: Path) -> None:
    """Issued with one, calibrated, retuned; each decoder has its own calibration."""
    registry = f"--registry={tmp_path / 'fingerprints.db'}"
    key, new = tmp_path / "signing.key", tmp_path / "new.pkl"
    run("keygen", key)
    issue = [f"--key={key}", registry, "--licensee=acme"]
    old_flags = [f"--network={network}", registry]
    new_flags = [f"--network={new}", registry]
    _, err = run("issue", *old_flags[:1], *issue, f"--result-dir={tmp_path / 'one'}")
    assert "not calibrated (see the command calibrate): fingerprints" in err
    run("calibrate", *old_flags, "--ops=reference", foreign)

    out, err = run(*retune(network, new, "--json"), registry)
    assert json.loads(out)["entered"] is True
    assert "entered the new decoder in" in err
    first, second = decoders(run, registry)
    assert (first["name"], first["newest"]) == ("network.pkl", False)
    assert first["calibrated"] is not None
    assert (second["name"], second["newest"], second["calibrated"]) == ("new.pkl", True, None)
    assert first["model_hash"] == second["model_hash"]
    text, _ = run("list", "--decoders", registry)
    assert "(an earlier decoder)" in text.splitlines()[1]
    assert text.splitlines()[2].endswith("  no")

    def verdict(flags: list[str]) -> tuple[bool, str]:
        out, err = run("verify", "--json", *flags, "--ops=reference", foreign / "0.png")
        return json.loads(out.splitlines()[0])["calibrated"], err

    is_calibrated, err = verdict(new_flags)
    assert not is_calibrated
    assert f"not calibrated with this decoder ({second['decoder_hash'][:12]}), only" in err
    assert "with that of network.pkl" in err
    assert verdict(old_flags) == (True, "")

    run("calibrate", *new_flags, "--ops=reference", foreign)
    assert verdict(new_flags) == (True, "")
    assert verdict(old_flags) == (True, "")
    with Registry.open(str(tmp_path / "fingerprints.db")) as opened:
        found = {
            entry.name: load_calibration(opened, entry.model)
            for entry in opened.decoders(opened.models()[0])
        }
    assert found["network.pkl"].decoder_hash == first["decoder_hash"]
    assert found["new.pkl"].decoder_hash == second["decoder_hash"]

    # The same instance again, its manifest good, and candidates named by either decoder.
    run("issue", *new_flags[:1], *issue, f"--result-dir={tmp_path / 'two'}")
    for folder in ("one", "two"):
        manifest = tmp_path / folder / "acme.pkl.manifest.json"
        run("verify-manifest", f"--public-key={key}.pub", manifest)
        assert json.loads(manifest.read_text())["manifest"]["model_hash"] == first["model_hash"]
    assert (tmp_path / "one" / "acme.pkl").read_bytes() == (
        tmp_path / "two" / "acme.pkl"
    ).read_bytes()
    out, _ = run("attribute", "--json", *new_flags, "--ops=reference", foreign / "0.png")
    assert json.loads(out.splitlines()[0])["candidates"][0]["licensee"] == "acme"
    shown = json.loads(run("show", "acme", registry)[0])
    assert [entry["name"] for entry in shown["decoders"]] == ["network.pkl", "new.pkl"]
    assert "all agree" in run("audit", registry)[0]


def test_calibrate_enters_a_decoder(run: Run, network: Path, foreign: Path, tmp_path: Path) -> None:
    """That was retuned without the registry; before, verdicts know its model all the same."""
    place, new = tmp_path / "fingerprints.db", tmp_path / "new.pkl"
    run("keygen", tmp_path / "k")
    run(
        "issue", f"--network={network}", f"--key={tmp_path / 'k'}", f"--registry={place}",
        "--licensee=acme", f"--result-dir={tmp_path / 'i'}",
    )  # fmt: skip
    run(*retune(network, new))
    verify = ["verify", "--json", f"--network={new}", f"--registry={place}", "--ops=reference"]
    assert json.loads(run(*verify, foreign / "0.png")[0].splitlines()[0])["verdict"] == "not-ours"
    assert len(decoders(run, f"--registry={place}")) == 1
    run("calibrate", f"--network={new}", f"--registry={place}", "--ops=reference", foreign)
    assert [entry["name"] for entry in decoders(run, f"--registry={place}")] == [
        "network.pkl",
        "new.pkl",
    ]


def test_a_registry_of_another_model(run: Run, network: Path, tmp_path: Path) -> None:
    place = tmp_path / "fingerprints.db"
    with Registry.create(str(place)) as registry:
        registry.add_model("a" * 64, "b" * 64, 32, "cats")
    _, err = run(*retune(network, tmp_path / "new.pkl", f"--registry={place}"))
    assert "does not know the model" in err
    assert len(decoders(run, f"--registry={place}")) == 1


def test_a_registry_that_cannot_be_opened(run: Run, network: Path, tmp_path: Path) -> None:
    """Is noticed before the work."""
    (tmp_path / "text.db").write_text("no registry")
    with pytest.raises(UserError, match=r"text\.db"):
        run(*retune(network, tmp_path / "new.pkl", f"--registry={tmp_path / 'text.db'}"))
    assert not (tmp_path / "new.pkl.retune").exists()


def test_a_registry_of_the_version_before(run: Run, foreign: Path, tmp_path: Path) -> None:
    """Reading leaves it as it is; a decoder brings the table, and the audit agrees."""
    place = tmp_path / "fingerprints.db"
    shutil.copy(PREVIOUS / "fingerprints.db", place)
    before, registry = place.read_bytes(), f"--registry={place}"
    network, new = PREVIOUS / "network.pkl", tmp_path / "new.pkl"
    (first,) = decoders(run, registry)
    for command in (["list"], ["show", "acme"], ["export"], ["audit"]):
        run(*command, registry)
    assert place.read_bytes() == before
    run(*retune(network, new), registry)
    known, added = decoders(run, registry)
    assert (known["decoder_hash"], known["newest"]) == (first["decoder_hash"], False)
    assert (added["name"], added["newest"]) == ("new.pkl", True)
    assert added["model_hash"] == first["model_hash"]
    verify = ["verify", "--json", registry, "--ops=reference", foreign / "0.png"]
    out, err = run(*verify, f"--network={new}")
    assert json.loads(out.splitlines()[0])["calibrated"] is False
    assert "not calibrated with this decoder" in err
    assert "all agree" in run("audit", registry)[0]


class Stop(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("where", ["save_json", "save_snapshot", "_enter", "remove"])
def test_stopped_while_the_result_is_written(
    run: Run, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Behind the last checkpoint: the same command goes on, and all is there once."""
    place = tmp_path / "fingerprints.db"
    decoder, model_hash, decoder_hash = load_decoder(str(network))
    with Registry.create(str(place)) as registry:
        registry.add_model(str(model_hash), decoder_hash, decoder.fingerprint_size, "network.pkl")
    run(*retune(network, tmp_path / "whole.pkl"))

    def stop(*arguments: object, **kwargs: object) -> None:
        raise Stop

    command = retune(network, tmp_path / "new.pkl", f"--registry={place}")
    owner = work.WorkFolder if where == "remove" else work
    with monkeypatch.context() as patch:
        patch.setattr(owner, where, stop)
        with pytest.raises(Stop):
            run(*command)
    _, err = run(*command)
    assert "going on at 0.0 kimg" in err
    assert (tmp_path / "new.pkl").read_bytes() == (tmp_path / "whole.pkl").read_bytes()
    assert (tmp_path / "new.json").exists()
    assert not (tmp_path / "new.pkl.retune").exists()
    names = [entry["name"] for entry in decoders(run, f"--registry={place}")]
    assert names == ["network.pkl", "new.pkl"]
    with pytest.raises(UserError, match=r"new\.pkl exists already"):
        run(*command)


def test_what_cannot_be_retuned(run: Run, network: Path, tmp_path: Path) -> None:
    decoder = load_decoder(str(network))[0]
    save_snapshot(tmp_path / "only.pkl", E=decoder, position={})
    with pytest.raises(UserError, match="must hold a generator and its decoder"):
        run(*retune(tmp_path / "only.pkl", tmp_path / "new.pkl"))
    with pytest.raises(UserError, match=r"--out=.*new: a snapshot's name ends with \.pkl"):
        run(*retune(network, tmp_path / "new"))
    with pytest.raises(UserError, match="edit wobble: unknown"):
        run(*retune(network, tmp_path / "new.pkl", "--immunize=wobble"))
    (tmp_path / "new.json").write_text("{}")  # of something else
    with pytest.raises(UserError, match=r"new\.json exists already"):
        run(*retune(network, tmp_path / "new.pkl"))


# The command as it is, with few pictures in the report, and slow enough to be stopped midway.
SCRIPT = """
import sys, time, run_fingerprints
from dnnlib import cli
from training import retuning, step_loop
retuning._REPORT_SEEDS = range(100, 104)
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
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on_with_under_xla(network: Path, tmp_path: Path, number: int) -> None:
    """Twice, at any moment: the file is that of a command that nobody stopped, to the byte."""

    def start(out: Path, minutes: float) -> "subprocess.Popen[str]":
        arguments = [
            "retune", f"--network={network}", f"--out={out}", "--kimg=0.24", "--minibatch=4",
            f"--checkpoint-minutes={minutes}", "--ops=xla", "--threads=1",
        ]  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    whole = start(tmp_path / "whole.pkl", 60)
    _, err = whole.communicate(timeout=600)
    assert whole.returncode == 0, err
    out = tmp_path / "new.pkl"
    checkpoints = tmp_path / "new.pkl.retune" / "checkpoints"
    for least in (3, 30):  # of 60 steps
        process = start(out, 0.0001)
        deadline = time.monotonic() + 300
        while not any(int(p.name) >= least for p in checkpoints.glob("[0-9]" * 6)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130), err
        assert not out.exists()
    last = start(out, 60)
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    assert "going on at" in err
    assert out.read_bytes() == (tmp_path / "whole.pkl").read_bytes()


@pytest.mark.slow
def test_payloads_and_pictures_from_before_are_read(run: Run, tmp_path: Path) -> None:
    """The trained model, retuned a little: issued with the old file, judged with the new one."""
    network, new = ROOT / "models" / "portraits-32.pkl", tmp_path / "new.pkl"
    run("keygen", "--kind=payload", tmp_path / "payload.key")
    run("keygen", tmp_path / "signing.key")
    run(
        "issue", f"--network={network}", f"--key={tmp_path / 'signing.key'}", "--payload=9",
        f"--payload-key={tmp_path / 'payload.key'}", f"--result-dir={tmp_path / 'instances'}",
    )  # fmt: skip
    run_generator.main([
        "generate-images", f"--network={tmp_path / 'instances' / 'payload-9.pkl'}", "--seeds=0-3",
        f"--result-dir={tmp_path / 'pictures'}", "--ops=reference",
    ])  # fmt: skip
    run(*retune(network, new, "--learning-rate=0.0001"))
    out, _ = run(
        "verify", "--json", f"--network={new}", f"--payload-key={tmp_path / 'payload.key'}",
        "--ops=reference", tmp_path / "pictures" / "00000-generate-images",
    )  # fmt: skip
    *found, _ = map(json.loads, out.splitlines())
    assert [entry["payload"] for entry in found] == [9, 9, 9, 9]
