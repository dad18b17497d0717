"""The benchmarks: the floor is counted right, and every file runs and reports what it measured."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import run_fingerprints
import run_generator
from benchmarks import (
    bench_creation,
    bench_data,
    bench_generation,
    bench_memory,
    bench_ops,
    bench_training,
    device,
    floor,
    measure_data,
    report,
)
from benchmarks.settings import SETTINGS, Setting
from dnnlib.errors import UserError
from tests.support.paths import ROOT
from training.networks.configs import DecoderConfig, DiscriminatorConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.setup import make_networks

FILES = sorted((ROOT / "benchmarks").glob("bench_*.py"))

# 16 channels at 4x4 (and for the dense layers), 8 at 8x8.
SMALL = {"resolution": 8, "fmap_base": 32, "fmap_max": 16}
CODES = {"latent_size": 3, "fingerprint_size": 5}


def read(folder: Path, name: str) -> dict:
    """The figures of a benchmark; its table must lie beside them."""
    record = json.loads((folder / f"{name}.json").read_text())
    assert record["benchmark"] == name
    assert record["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert (folder / f"{name}.md").read_text().startswith(f"## {name}\n\n")
    return record["figures"]


# The floor, counted by hand: 2 * weights * places where they are used.


def test_multiply_adds_of_a_generator() -> None:
    generator = Generator(
        GeneratorConfig(**SMALL, **CODES, dlatent_size=4, mapping_fmaps=4), seed=1
    )
    mapping = 5 * 4 + 7 * 4 * 4
    latent = 3 * 16 * 4 * 4
    styles = 4 * 16 + 4 * 16 + 4 * 16 + 4 * 8 + 4 * 8
    at_4 = (9 * 16 * 16 + 16 * 3) * 4 * 4
    up = 9 * 16 * 8 * 4 * 4  # as a transposed convolution: once per pixel of the smaller image
    at_8 = (9 * 8 * 8 + 8 * 3) * 8 * 8
    expected = 2 * (mapping + latent + styles + at_4 + up + at_8)
    assert floor.network_flops(generator) == expected


def test_multiply_adds_of_discriminator_and_decoder() -> None:
    at_8 = (3 * 8 + 9 * 8 * 8) * 8 * 8
    down = (9 * 8 * 16 + 8 * 16) * 4 * 4
    dense = 16 * 4 * 4 * 16
    body = at_8 + down + dense
    discriminator = Discriminator(DiscriminatorConfig(**SMALL), seed=1)
    assert floor.network_flops(discriminator) == 2 * (body + 9 * 17 * 16 * 4 * 4 + 16)
    decoder = Decoder(DecoderConfig(**SMALL, **CODES), seed=1)
    assert floor.network_flops(decoder) == 2 * (body + 9 * 16 * 16 * 4 * 4 + 16 * (3 + 5))


@pytest.mark.parametrize(("name", "gflop"), [("128x128", 22.5), ("32x32", 0.244)])
def test_multiply_adds_of_the_settings(name: str, gflop: float) -> None:
    generator = make_networks(SETTINGS[name].make_config()).G
    assert floor.network_flops(generator) / 1e9 == pytest.approx(gflop, rel=0.01)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"odd/weight: not the weight of a convolution"):
        floor.weight_flops({"odd/weight": (3, 3, 8, 8)})


def test_multiply_adds_of_an_iteration() -> None:
    phases = floor.phase_flops(g=100, d=10, e=1)
    assert phases == {
        "generator and decoder": 623,
        "discriminator": 160,
        "path length": 300,
        "R1": 60,
    }
    intervals = {"generator and decoder": 1, "discriminator": 1, "path length": 4, "R1": 16}
    assert floor.iteration_flops(phases, intervals) == 623 + 160 + 75 + 3.75
    del intervals["path length"]
    assert floor.iteration_flops(phases, intervals) == 623 + 160 + 3.75


def test_peak_is_that_of_a_matrix_product() -> None:
    size = floor.PEAK_SIZE
    start = time.perf_counter()
    peak = device.measure_peak(1)
    # Three products were made in this time, so that the peak cannot be lower.
    assert peak > 2 * size**3 / (time.perf_counter() - start)


def test_settings() -> None:
    config = SETTINGS["32x32"].make_config(ops="reference")
    assert (config.G.fmap_base, config.D.fmap_max, config.E.fmap_base) == (1024, 128, 1024)
    assert (config.num_bits, config.minibatch, config.minibatch_gpu) == (32, 16, 16)
    assert config.ops == "reference"
    config = SETTINGS["128x128"].make_config()
    assert (config.num_bits, config.minibatch, config.G.fmap_base) == (128, 4, 8192)


# What they share


def test_functions_are_timed_in_turn() -> None:
    order: list[str] = []
    functions = {"a": lambda: order.append("a"), "b": lambda: time.sleep(0.05)}
    medians = report.paired_medians(functions, rounds=2, between=lambda: order.append("-"))
    assert order == ["-", "a", "-", "a"]
    assert medians["b"] >= 0.05 > medians["a"]


def test_table() -> None:
    assert report.table(["name", "s"], [["a", 1.5], ["long name", "10"]]).splitlines() == [
        "| name      |   s |",
        "| --------- | --: |",
        "| a         | 1.5 |",
        "| long name |  10 |",
    ]


def _fill(mib: int) -> float:
    np.ones(mib * 2**17)
    return report.peak_memory_gb()


@pytest.mark.slow
def test_peak_memory_belongs_to_one_process() -> None:
    held = np.ones(800 * 2**17)
    small, large = report.in_process(_fill, 1), report.in_process(_fill, 300)
    assert 0.25 < large - small < 0.35
    # What this process has held before does not count there.
    assert report.peak_memory_gb() > small + held.nbytes / 2**30 / 2


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_process_that_is_killed() -> None:
    with pytest.raises(UserError, match=r"a measurement was killed"):
        report.in_process(_die)


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file"):
        report.publish("x", "text", {}, str(tmp_path / "file"))


# The benchmarks


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_help(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, cwd="/", check=True
    )
    assert "--out DIR" in run.stdout


@pytest.mark.slow
def test_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--config=config-tiny", "--resolution=16", "--minibatch=4", "--rounds=1"]
    bench_training.main([*flags, "--ops=reference", f"--out={tmp_path}"])
    found = read(tmp_path, "training")["16x16"]
    assert found["phases"].keys() == {"generator and decoder", "discriminator", "R1"}
    per_iteration = {name: f["median"] / f["interval"] for name, f in found["phases"].items()}
    mean = found["iteration"]
    assert mean["median"] == pytest.approx(sum(per_iteration.values()))
    assert mean["images_per_second"] == pytest.approx(4 / mean["median"])
    assert mean["fraction"] == pytest.approx(mean["floor"] / mean["median"])
    first = found["phases"]["discriminator"]
    flops = found["gflop_per_image"]
    work = 4 * (flops["G"] + 6 * flops["D"]) * 1e9
    assert first["floor"] == pytest.approx(work / found["peak_flops"])
    assert first["first"] > first["median"] > 0
    assert found["memory_gb"] > 0.2
    assert (
        "### 16x16, config-tiny, minibatch 4, ops reference, precision fp32"
        in capsys.readouterr().out
    )


@pytest.mark.slow
def test_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SETTINGS, "small", Setting("config-tiny", resolution=16))
    # Emptying the page cache would slow down what runs beside this test.
    forgotten: list[Path] = []
    monkeypatch.setattr(bench_generation, "forget_files", forgotten.extend)
    commands: list[list[str]] = []
    monkeypatch.setattr(bench_generation, "_run", lambda command, env: commands.append(command[1:]))
    bench_generation.main(["--setting=small", "--rounds=1", "--starts=2", f"--out={tmp_path}"])
    found = read(tmp_path, "generation")["small"]
    for command in bench_generation.COMMANDS:
        for minibatch in ("1", "16"):
            figures = found[command][minibatch]
            assert figures["images_per_second"] > 0
            assert figures["with_files"] > 0
            expected = found["peak_flops"] / found[command]["gflop_per_image"] / 1e9
            assert figures["floor"] == pytest.approx(expected)
            fraction = figures["images_per_second"] / figures["floor"]
            assert figures["fraction"] == pytest.approx(fraction)
        assert found["start"][command].keys() == {"cold", "warm"}
    assert forgotten
    assert len(commands) == 2 * (1 + 2)
    for (script, *flags), module in zip(
        commands[::3], (run_generator, run_fingerprints), strict=True
    ):
        assert script == str(ROOT / f"{module.__name__}.py")
        module.build_parser().parse_args(flags)
    assert capsys.readouterr().out.count("| decode ") == 3


def test_files_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"kept")
    bench_generation.forget_files([tmp_path])
    assert (tmp_path / "folder" / "file").read_bytes() == b"kept"


# Takes the flags of run_training.py and 20 MiB per image of a slice.
GREEDY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import run_training
args = run_training.build_parser().parse_args()
held = b"x" * (args.minibatch_gpu * 20 * 2**20)
"""


@pytest.mark.slow
def test_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "greedy.py"
    script.write_text(GREEDY)
    monkeypatch.setattr(bench_memory, "COMMAND", script)
    bench_memory.main(["--minibatch=16", "--slices=16,4", f"--out={tmp_path}"])
    found = read(tmp_path, "memory")["minibatch_gpu"]
    saved = found["16"]["memory_gb"] - found["4"]["memory_gb"]
    assert saved == pytest.approx(12 * 20 / 2**10, abs=0.02)
    assert "minibatch 16" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_of_a_run_that_fails() -> None:
    with pytest.raises(UserError, match=r"status 2: error: --minibatch=4 is not a multiple of"):
        bench_memory.main(["--resolution=16", "--minibatch=4", "--slices=3"])


@pytest.mark.slow
def test_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_data.main(["--resolution=8", "--images=32", "--rounds=1", f"--out={tmp_path}"])
    found = read(tmp_path, "data")["8x8"]
    assert found["images"] == 32
    for name in ("published", "published, mirrored", "compressed", "compressed, mirrored"):
        assert min(found[name].values()) > 0
    expected = found["peak_flops"] / measure_data.training_flops(8)
    assert found["consumption"] == pytest.approx(expected)
    assert "8x8 | compressed, mirrored |" in capsys.readouterr().out


@pytest.mark.slow
def test_creation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_creation.main(["--images=4", "--rounds=1", "--tiny", "20", "40", f"--out={tmp_path}"])
    figures = read(tmp_path, "creation")
    found = figures["178x218 PNG"]
    assert min(found[way]["cpu"] for way in ("pillow", "plain", "ours", "read_ours")) > 0
    assert found["ours"]["bytes"] < found["plain"]["bytes"]
    assert all(figures["memory"][n]["peak"] > 0.01 for n in ("20", "40"))
    assert "1024x1024 JPEG | the command " in capsys.readouterr().out


@pytest.mark.slow
def test_operations_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    bench_ops.main(["--rounds=1", f"--out={tmp_path}"])
    found = read(tmp_path, "ops")
    assert found["cases"].keys() == bench_ops.CASES.keys()
    for times in found["cases"].values():
        assert times["forward"].keys() == times["both"].keys() == {"plain", "XLA"}
    assert "No compiled operations: custom operations: there is no no-such" in (
        capsys.readouterr().out
    )
