"""A run from the command's arguments to the files that it leaves, and all that may go wrong."""

import contextlib
import io
import json
import os
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_training
import training.run
from dnnlib import cli
from dnnlib.config import load_json
from dnnlib.errors import UserError
from dnnlib.interrupts import interrupts
from dnnlib.tflib.execution import PLAIN, Execution
from tests.support.paths import REFERENCE
from tests.support.small_runs import METRIC, SMALL, ticks_of, write_images
from tests.support.tiny_networks import tiny_generator
from training import grids, loss, training_loop
from training.checkpoint import list_checkpoints
from training.config import (
    PRESETS,
    Preset,
    TrainConfig,
    TrainOptions,
    setup_training_config,
)
from training.data.dataset import open_dataset
from training.draws import draw_inputs
from training.models.snapshot import load_networks, save_snapshot
from training.networks.configs import PlainGeneratorConfig
from training.networks.plain_generator import PlainGenerator
from training.run import Run

SEED = 5


@pytest.fixture(scope="module", autouse=True)
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Small networks under a name of their own, and a cache of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "config-test", SMALL)
        patch.setitem(
            PRESETS,
            "config-wide",
            Preset(**{**SMALL.__dict__, "fmap_base": 512, "fmap_max": 64}),
        )
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    write_images(folder / "noise", 50)
    write_images(folder / "grey", 50, channels=1)
    # More images than a grid shows, so that the last ones are read by training alone.
    write_images(folder / "many", 1100)
    return folder


def arguments(data_dir: Path, *more: str, dataset: str = "noise") -> list[str]:
    return [
        f"--data-dir={data_dir}", f"--dataset={dataset}", "--config=config-test", "--num-gpus=0",
        f"--seed={SEED}", "--ops=reference", "--minibatch=64", *more,
    ]  # fmt: skip


def only_run(result_dir: Path) -> Path:
    (run_dir,) = result_dir.iterdir()
    return run_dir


@pytest.fixture(scope="module")
def finished(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[str]]]:
    """Run folder and standard output of a whole run, two slices per minibatch."""
    result_dir = tmp_path_factory.mktemp("results")
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        run_training.main(arguments(data_dir, f"--result-dir={result_dir}", f"--metrics={METRIC}"))
    return only_run(result_dir), text.getvalue().splitlines()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterations that read their images and train nothing, for what is not about training."""

    def iteration(run: Run, batches: Iterator[tf.Tensor]) -> dict[str, tf.Tensor]:
        assert next(batches).shape[0] == run.config.minibatch
        run.state.iteration += 1
        run.state.num_images += run.config.minibatch
        return {"loss_G": tf.constant(1.0)}

    monkeypatch.setattr(Run, "train_iteration", iteration)


# What a run leaves


def test_files(finished: tuple[Path, list[str]]) -> None:
    run_dir, _ = finished
    assert run_dir.name == "00000-noise-1gpu-config-test-8bits"
    kinds = ("arbitrary", "watermarks-same", "latents-same")
    names = {
        *(f"fakes-{kind}-{at}.png" for kind in kinds for at in ("init", "000000", "000001")),
        *(f"fakes-{kind}-000002.png" for kind in kinds),
        "reals.png",
        *(f"network-snapshot-{number:06d}.pkl" for number in range(3)),
        "network-final.pkl",
        "_finished.txt",
        "log.txt",
        "training_options.json",
        f"metric-{METRIC}.txt",
        f"metric-{METRIC}.jsonl",
        "checkpoints",
        ".lock",
    }
    found = {path.name for path in run_dir.iterdir()}
    events = {name for name in found if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert found - events == names


def read_grid(path: Path) -> np.ndarray:
    """The cells of a grid of 32x32 images, [1024,8,8,...]."""
    pixels = np.asarray(Image.open(path))
    assert pixels.shape[:2] == (256, 256)
    cells = pixels.reshape(32, 8, 32, 8, -1).transpose(0, 2, 1, 3, 4)
    return cells.reshape(1024, 8, 8, -1)


def test_reals(finished: tuple[Path, list[str]], data_dir: Path) -> None:
    cells = read_grid(finished[0] / "reals.png")
    images = np.stack(list(open_dataset(data_dir, "noise").images()))
    np.testing.assert_array_equal(cells[:50], images)
    assert not cells[50:].any()


@pytest.mark.parametrize("at", ["init", "000002"])
def test_fakes(finished: tuple[Path, list[str]], at: str) -> None:
    """Where latent and fingerprint agree the images do, and nowhere else."""
    arbitrary, same_bits, same_latent = (
        read_grid(finished[0] / f"fakes-{kind}-{at}.png").astype(int)
        for kind in ("arbitrary", "watermarks-same", "latents-same")
    )
    np.testing.assert_array_equal(arbitrary[0], same_bits[0])
    np.testing.assert_array_equal(arbitrary[0], same_latent[0])
    for one, two in (
        (arbitrary, same_bits),
        (arbitrary, same_latent),
        (same_bits, same_latent),
        (arbitrary, np.roll(arbitrary, 1, 0)),
        (same_bits, np.roll(same_bits, 1, 0)),
        (same_latent, np.roll(same_latent, 1, 0)),
    ):
        assert np.abs(one - two)[1:].mean() > 0.5


def test_grids_can_be_compared(finished: tuple[Path, list[str]]) -> None:
    """The same latents, fingerprints and noise from beginning to end: what changes was learnt."""
    first, second = (
        read_grid(finished[0] / f"fakes-arbitrary-{at}.png").astype(int)
        for at in ("init", "000001")
    )
    size = first.shape[0] // 32
    moved = np.roll(second, (size, size), axis=(0, 1))  # by one image
    assert 0 < np.abs(first - second).mean() < np.abs(first - moved).mean()


@pytest.mark.slow
def test_grids_are_the_same_on_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six images, four at a time: the second batch is filled up where XLA compiles."""
    monkeypatch.setattr(grids, "grid_size", lambda resolution: (3, 2))
    generator = tiny_generator()
    pictures = []
    for execution in (PLAIN, Execution("xla", "xla", True, "fp32")):
        grids.Grids(generator, 3, 4, execution).save(tmp_path, execution.ops)
        with Image.open(tmp_path / f"fakes-arbitrary-{execution.ops}.png") as picture:
            pictures.append(np.asarray(picture).astype(int))
    assert pictures[0].shape == (16, 24, 3)
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert len(np.unique(pictures[0])) > 2


def test_log(finished: tuple[Path, list[str]]) -> None:
    run_dir, printed = finished
    log = (run_dir / "log.txt").read_text()
    assert log.splitlines() == printed
    assert ticks_of(log) == [
        (str(number), kimg, "64") for number, kimg in enumerate(("0.1", "0.6", "1.1", "1.6", "2.0"))
    ]
    assert "50 images of 8x8, 8 bits, minibatch 64 in slices of 32, seed 5" in printed[0]
    assert sum(line.startswith("  bit_accuracy 0.") for line in printed) == 5
    assert sum(line.startswith("  PSNR between fingerprints ") for line in printed) == 5
    assert not any("bit accuracy after" in line for line in printed)
    assert "network-final.pkl" in printed[-1]


RATES = ("learning_rate", "overflow_frequency")
LOSSES = ("loss_G", "loss_decouple", "loss_E_latents", "loss_E_watermarks", "scores/real",
          "scores/fake", "pl_lengths", "pl_penalty")  # fmt: skip


def test_tensorboard(finished: tuple[Path, list[str]]) -> None:
    """Every scalar is there at its ticks, at the number of images shown, for old readers too."""
    accumulator = EventAccumulator(str(finished[0]), size_guidance={"scalars": 0})
    accumulator.Reload()
    assert not accumulator.Tags()["tensors"]
    series = {
        tag: {event.step: event.value for event in accumulator.Scalars(tag)}
        for tag in accumulator.Tags()["scalars"]
    }
    steps = [64, 576, 1088, 1600, 2048]
    for tag in (
        *(f"Loss/{name}" for name in LOSSES),
        *(f"Progress/{name}" for name in ("tick", "kimg", "lod", "minibatch", "bit_accuracy")),
        *(f"Progress/psnr_{name}" for name in ("fingerprints", "latents")),
        *(f"Timing/{name}" for name in ("sec_per_tick", "sec_per_kimg", "maintenance_sec")),
        "Resources/peak_gpu_mem_gb",
        "Resources/process_mem_gb",
        "Resources/total_days",
        "Timing/total_days",
        "Train/skipped_updates",
        *(f"Train{slot}/{name}" for slot in "GED" for name in RATES),
    ):
        assert list(series[tag]) == steps, tag
        assert np.isfinite(list(series[tag].values())).all()
    # R1 comes every 16 iterations, which is every second tick here.
    assert list(series["Loss/gradient_penalty"]) == [64, 1088]
    assert list(series["Progress/kimg"].values()) == pytest.approx([s / 1000 for s in steps])
    assert list(series["Progress/tick"].values()) == [0, 1, 2, 3, 4]
    assert all(0.2 < value < 0.8 for value in series["Progress/bit_accuracy"].values())
    assert series["Resources/process_mem_gb"][64] > 0.1
    for suffix in ("", "_uint8", "_float"):
        measured = series[f"Metrics/{METRIC}_watermark_bit_accuracy{suffix}"]
        assert list(measured) == [64, 1088, 2048]
        assert all(0.4 < value < 0.6 for value in measured.values())


def test_metric_file(finished: tuple[Path, list[str]]) -> None:
    run_dir, printed = finished
    lines = (run_dir / f"metric-{METRIC}.txt").read_text().splitlines()
    names = [f"network-snapshot-{number:06d}" for number in range(3)]
    for name, line in zip(names, lines, strict=True):
        pattern = rf"{name:<30s} time \d+s {{10}} *{METRIC}_watermark_bit_accuracy 0\.\d{{4}} {{5}}"
        assert re.match(pattern, line), line
        assert line in printed
    text = (run_dir / f"metric-{METRIC}.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["snapshot"] for record in records] == names
    assert records[0]["settings"]["seed"] == SEED


def test_settings(finished: tuple[Path, list[str]], data_dir: Path) -> None:
    options = TrainOptions(
        dataset="noise",
        data_dir=str(data_dir),
        config="config-test",
        metrics=(METRIC,),
        minibatch=64,
        seed=SEED,
        ops="reference",
    )
    expected = setup_training_config(options, 8, 3)
    assert load_json(TrainConfig, finished[0] / "training_options.json") == expected


def variables(path: Path) -> dict[str, np.ndarray]:
    found = load_networks(path)
    return {
        f"{slot}:{name}": variable.numpy()
        for slot in ("G", "D", "E", "Gs")
        for name, variable in getattr(found, slot).named_variables().items()
    }


def test_snapshots(finished: tuple[Path, list[str]]) -> None:
    """Positions are those of the names; every network goes on learning; Gs stays behind G."""
    early, late, final = (
        finished[0] / f"network-{name}.pkl"
        for name in ("snapshot-000001", "snapshot-000002", "final")
    )
    position = load_networks(early).position
    assert (position["num_images"], position["iteration"]) == (1088, 17)
    assert position["kimg"] == pytest.approx(1.088)
    assert position["pl_mean"] > 0
    assert (position["seed"], position["config"]) == (SEED, "config-test")
    assert load_networks(final).position["num_images"] == 2048
    before, after, last = variables(early), variables(late), variables(final)
    for name in last:
        np.testing.assert_array_equal(after[name], last[name])
    for slot, name in (
        ("G", "G_synthesis/8x8/Conv1/weight"),
        ("Gs", "G_synthesis/8x8/Conv1/weight"),
        ("D", "Output/weight"),
        ("E", "Output/weight"),
    ):
        assert np.abs(after[f"{slot}:{name}"] - before[f"{slot}:{name}"]).max() > 1e-4
    name = "G_synthesis/8x8/Conv1/weight"
    assert np.abs(last[f"G:{name}"] - last[f"Gs:{name}"]).max() > 1e-4


@pytest.mark.slow
def test_grey(data_dir: Path, tmp_path: Path) -> None:
    flags = (f"--result-dir={tmp_path}", "--total-kimg=0.064", "--minibatch=32")
    run_training.main(arguments(data_dir, *flags, dataset="grey"))
    run_dir = only_run(tmp_path)
    assert read_grid(run_dir / "fakes-arbitrary-000000.png").shape == (1024, 8, 8, 1)
    found = load_networks(run_dir / "network-final.pkl")
    assert found.generator.num_channels == found.decoder.num_channels == 1
    assert found.position["num_images"] == 64


def test_dry_run(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result_dir = tmp_path / "results"
    run_training.main(arguments(data_dir, "--dry-run", f"--result-dir={result_dir}"))
    settings = json.loads(capsys.readouterr().out)
    assert settings["dataset"] == "noise"
    assert not result_dir.exists()


def test_dry_run_looks_at_the_result_folder(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--result-dir=.*file/results: .*file is a file"):
        run_training.main(
            arguments(data_dir, "--dry-run", f"--result-dir={tmp_path / 'file' / 'results'}")
        )
    run_training.main(arguments(data_dir, "--dry-run", f"--result-dir={tmp_path}"))
    err = capsys.readouterr().err
    assert f"it would train in a new folder below {tmp_path}" in err


def test_a_range_that_is_floored_is_said(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dry-run", f"--result-dir={tmp_path}"]
    run_training.main(arguments(data_dir, *flags, "--res-modulated-range=5-15"))
    assert "--res-modulated-range=5-15 means 4-8: both are floored" in capsys.readouterr().err
    run_training.main(arguments(data_dir, *flags, "--res-modulated-range=4-8"))
    assert "both are floored" not in capsys.readouterr().err


def test_sizes_are_checked_before_networks_are_made(data_dir: Path, tmp_path: Path) -> None:
    """A million bits used to take two minutes until they were refused."""
    flags = arguments(data_dir, "--dry-run", f"--result-dir={tmp_path}")
    with pytest.raises(UserError, match="--watermark-size=1000000: a fingerprint has at most 4096"):
        run_training.main([*flags, "--watermark-size=1000000"])
    for flag in ("--minibatch", "--watermark-size"):
        with pytest.raises(SystemExit, match="2"):
            run_training.main([*flags, f"{flag}=99999999999"])


# Resuming


@pytest.mark.usefixtures("idle")
def test_resume(finished: tuple[Path, list[str]], data_dir: Path, tmp_path: Path) -> None:
    """Weights, position and mean path length go on; the first pictures are the last ones."""
    before = finished[0] / "network-final.pkl"
    run_training.main(
        arguments(
            data_dir, f"--result-dir={tmp_path}", f"--resume-pkl={before}", "--total-kimg=2.176"
        )
    )
    run_dir = only_run(tmp_path)
    for kind in ("arbitrary", "watermarks-same", "latents-same"):
        np.testing.assert_array_equal(
            read_grid(run_dir / f"fakes-{kind}-init.png"),
            read_grid(finished[0] / f"fakes-{kind}-000002.png"),
        )
    assert [kimg for _, kimg, _ in ticks_of((run_dir / "log.txt").read_text())] == ["2.1", "2.2"]
    position = load_networks(run_dir / "network-final.pkl").position
    assert (position["num_images"], position["iteration"]) == (2176, 34)
    assert position["pl_mean"] == pytest.approx(load_networks(before).position["pl_mean"])
    expected = variables(before)
    for name, value in variables(run_dir / "network-final.pkl").items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.usefixtures("idle")
def test_resume_makes_a_linear_mapping_orthogonal(
    finished: tuple[Path, list[str]], data_dir: Path, tmp_path: Path
) -> None:
    before = finished[0] / "network-final.pkl"
    assert load_networks(before).fingerprinted.config.mapping_act == "linear"
    flags = [f"--resume-pkl={before}", "--mapping=orthogonal", "--total-kimg=2.176"]
    run_training.main(arguments(data_dir, f"--result-dir={tmp_path}", *flags))
    run_dir = only_run(tmp_path)
    assert "mapping of fingerprints is made orthogonal" in (run_dir / "log.txt").read_text()
    found = load_networks(run_dir / "network-final.pkl")
    rows = [g.named_variables()["G_mapping/Dense0/weight"].numpy() for g in (found.G, found.Gs)]
    np.testing.assert_array_equal(*rows)
    products = rows[0] @ rows[0].T
    np.testing.assert_allclose(products / products[0, 0], np.eye(len(products)), atol=1e-5)
    # From there on it is a model like others: the next run needs no conversion.
    flags[0] = f"--resume-pkl={run_dir / 'network-final.pkl'}"
    run_training.main(
        arguments(data_dir, f"--result-dir={tmp_path / 'next'}", *flags[:2], "--total-kimg=2.24")
    )
    assert "made orthogonal" not in (only_run(tmp_path / "next") / "log.txt").read_text()


def test_resume_from_a_published_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    path = REFERENCE / "snapshot_skip_resnet_32.pkl"
    preset = Preset(
        fmap_base=512, fmap_max=32, latent_size=32, dlatent_size=32, watermark_size=16,
        modulated_range="4-32",
    )  # fmt: skip
    monkeypatch.setitem(PRESETS, "config-published", preset)
    dataset = open_dataset(REFERENCE / "tfrecords", "emoji12")
    options = TrainOptions(dataset="emoji12", config="config-published", resume_pkl=str(path))
    run = Run(setup_training_config(options, dataset.resolution, dataset.num_channels), dataset)
    expected = variables(path)
    for slot in ("G", "D", "E", "Gs"):
        for name, variable in getattr(run.networks, slot).named_variables().items():
            np.testing.assert_array_equal(variable, expected[f"{slot}:{name}"])
    assert (run.state.num_images, run.state.iteration, run.state.kimg) == (0, 0, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--watermark-size=16"],
            "its fingerprint_size is 8, this run's is 16; choose --watermark-size as in",
        ),
        (
            ["--res-modulated-range=8-8"],
            "its modulated_min_log2 is 2, this run's is 3; choose --res-modulated-range as in",
        ),
        (["--mapping=published"], "choose --mapping as in the snapshot"),
        (["--config=config-wide"], "its fmap_base is 32, this run's is 512; choose --config as in"),
        (["--dataset=grey"], "its num_channels is 3, this run's is 1; choose a data set as in"),
    ],
)
def test_resume_from_another_architecture(
    finished: tuple[Path, list[str]],
    data_dir: Path,
    tmp_path: Path,
    flags: list[str],
    message: str,
) -> None:
    snapshot = finished[0] / "network-final.pkl"
    result_dir = tmp_path / "results"
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run_training.main(
            arguments(data_dir, f"--resume-pkl={snapshot}", f"--result-dir={result_dir}", *flags)
        )
    assert str(error.value).startswith(f"--resume-pkl={snapshot}: ")
    assert "\n" not in str(error.value)
    assert not result_dir.exists()


def test_resume_from_an_instance(data_dir: Path, tmp_path: Path) -> None:
    save_snapshot(
        tmp_path / "a.pkl",
        Gs=PlainGenerator(PlainGeneratorConfig(resolution=8, fmap_base=16), seed=0),
    )
    with pytest.raises(UserError, match="a.pkl is an instance: its one fingerprint is part"):
        run_training.main(arguments(data_dir, f"--resume-pkl={tmp_path / 'a.pkl'}", "--dry-run"))


def test_resume_from_a_published_snapshot_that_fits_no_preset() -> None:
    flags = [
        f"--data-dir={REFERENCE / 'tfrecords'}",
        "--dataset=emoji12",
        "--config=config-tiny",
        f"--resume-pkl={REFERENCE / 'snapshot_skip_resnet_32.pkl'}",
        "--dry-run",
    ]
    with pytest.raises(UserError, match="snapshot_skip_resnet_32.pkl: its .*; choose --.* as in"):
        run_training.main(flags)


def test_resume_without_a_discriminator(
    finished: tuple[Path, list[str]], data_dir: Path, tmp_path: Path
) -> None:
    """A new one learns alone at first, which a run that is stopped there does not forget."""
    found = load_networks(finished[0] / "network-final.pkl")
    before = variables(finished[0] / "network-final.pkl")
    light = tmp_path / "light.pkl"
    save_snapshot(light, E=found.E, Gs=found.Gs, position=found.position)

    results = tmp_path / "results"

    def go_on(*flags: str) -> dict[str, np.ndarray]:
        always = (f"--resume-pkl={light}", "--discriminator-alone=0.128")
        run_training.main(arguments(data_dir, f"--result-dir={results}", *always, *flags))
        return variables(only_run(results) / "network-final.pkl")

    alone = go_on("--total-kimg=2.176")
    run_dir = only_run(results)
    assert "no discriminator: a new one learns alone for 0.128" in (run_dir / "log.txt").read_text()
    together = go_on("--total-kimg=2.304", f"--resume={run_dir}")
    for name, value in alone.items():
        slot, _, key = name.partition(":")
        if slot != "D":
            source = f"Gs:{key}" if slot == "G" else name
            np.testing.assert_array_equal(value, before[source])
    moved = {name.partition(":")[0] for name in alone if (alone[name] != together[name]).any()}
    assert moved == {"G", "D", "E", "Gs"}


def test_only_the_fingerprint_learns(
    finished: tuple[Path, list[str]], data_dir: Path, tmp_path: Path
) -> None:
    """What bits do changes, and no picture's content: that of no bits at all stays."""
    before = finished[0] / "network-final.pkl"
    flags = [f"--resume-pkl={before}", "--learn=fingerprint", "--total-kimg=2.304"]
    run_training.main(arguments(data_dir, f"--result-dir={tmp_path}", *flags))
    old, new = variables(before), variables(only_run(tmp_path) / "network-final.pkl")
    moved = {name for name in old if (old[name] != new[name]).any()}
    of_bits = {f"G:{name}" for name in load_networks(before).G.fingerprint_trainables()}
    assert {name for name in moved if name.startswith("G:")} == of_bits
    assert {"D", "E"} <= {name.partition(":")[0] for name in moved}
    assert any(name.endswith("/mod_weight") for name in of_bits)
    assert not any("bias" in name for name in of_bits)


def test_anchor_is_the_model_that_training_began_with(
    finished: tuple[Path, list[str]], data_dir: Path
) -> None:
    """Its pictures without a fingerprint, however the generator moves."""
    options = TrainOptions(
        dataset="noise", config="config-test", ops="reference", minibatch=32, anchor_weight=2.0,
        total_kimg=3.0, resume_pkl=str(finished[0] / "network-final.pkl"), seed=SEED,
    )  # fmt: skip
    dataset = open_dataset(data_dir, "noise")
    run = Run(setup_training_config(options, dataset.resolution, dataset.num_channels), dataset)
    g, before = run.networks.G, load_networks(finished[0] / "network-final.pkl").Gs
    latents, codes, noise = draw_inputs(g, tf.constant([9, 9], tf.int64), 32, 2)
    maps = g.split_noise(noise[0])
    one, other = (before(latents, bits, maps) for bits in (codes[0], 1 - codes[0]))
    weights = loss.weights_of(run.config.loss, 0)
    assert weights.anchor == 2.0
    for _ in range(2):
        _, stats = run.steps.generator_gradients(latents, codes, noise, weights)
        error = np.mean((g(latents, codes[0], maps) - (one + other) / 2) ** 2)
        np.testing.assert_allclose(stats["loss_anchor"], error, rtol=1e-4)
        for variable in g.named_trainables().values():
            variable.assign(variable * 1.5)


def test_an_anchor_needs_a_model_before(data_dir: Path) -> None:
    with pytest.raises(UserError, match="--anchor-weight .*: give a --resume-pkl"):
        run_training.main(arguments(data_dir, "--anchor-weight=1", "--dry-run"))


def test_resume_needs_a_decoder(
    finished: tuple[Path, list[str]], data_dir: Path, tmp_path: Path
) -> None:
    found = load_networks(finished[0] / "network-final.pkl")
    save_snapshot(tmp_path / "light.pkl", D=found.D, Gs=found.Gs)
    with pytest.raises(UserError, match="light.pkl holds no network E"):
        run_training.main(
            arguments(data_dir, f"--resume-pkl={tmp_path / 'light.pkl'}", "--dry-run")
        )


# What may go wrong


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("idle")
def test_damaged_record(data_dir: Path, tmp_path: Path) -> None:
    """One that only training reads: one line with the file and the record."""
    (tmp_path / "data" / "many").mkdir(parents=True)
    source = next((data_dir / "many").iterdir())
    path = tmp_path / "data" / "many" / source.name
    content = bytearray(source.read_bytes())
    content[len(content) * 2181 // 2200] ^= 1  # frames stay intact
    path.write_bytes(content)
    flags = arguments(tmp_path / "data", f"--result-dir={tmp_path / 'results'}", dataset="many")
    with pytest.raises(UserError) as error:
        run_training.main(flags)
    assert str(error.value).startswith(f"record 1090 (counting from 0) of {path} is truncated or")
    assert "\n" not in str(error.value)
    run_dir = only_run(tmp_path / "results")
    assert "reals.png" in names_in(run_dir)
    snapshots = [name for name in names_in(run_dir) if name.endswith((".pkl", ".tmp"))]
    assert snapshots == ["network-snapshot-000000.pkl"]


@pytest.mark.usefixtures("idle")
def test_file_truncated_during_training(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was whole when it was opened."""
    write_images(tmp_path / "data" / "noise", 50)
    (path,) = (tmp_path / "data" / "noise").iterdir()
    save_reals = grids.Grids.save_reals

    def save_and_truncate(*inputs: object) -> None:
        save_reals(*inputs)  # type: ignore[arg-type]
        os.truncate(path, path.stat().st_size * 91 // 100)

    monkeypatch.setattr(grids.Grids, "save_reals", save_and_truncate)
    flags = arguments(tmp_path / "data", f"--result-dir={tmp_path / 'results'}")
    with pytest.raises(UserError) as error:
        run_training.main(flags)
    # The first of those that are gone, in the order of training.
    pattern = (
        rf"record 4[5-9] \(counting from 0\) of {re.escape(str(path))} is truncated or damaged; "
    )
    assert re.match(pattern, str(error.value))


def test_divergence(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several updates in a row that were skipped stop the run; a few do not."""
    shown = []

    def iteration(run: Run, batches: Iterator[tf.Tensor]) -> dict[str, tf.Tensor]:
        run.state.num_images += 64
        shown.append(run.state.num_images)
        count = len(shown)
        bad = 3 <= count <= 6 or count >= 10
        return {
            "loss_G": tf.constant(1.0),
            "skipped/G": tf.constant(float(bad)),
            "pl_penalty": tf.constant(np.nan if bad else 1.0),
        }

    monkeypatch.setattr(Run, "train_iteration", iteration)
    with pytest.raises(UserError, match="diverged: pl_penalty not finite 8 times in a row.*--res"):
        run_training.main(arguments(data_dir, f"--result-dir={tmp_path}"))
    # Bad from the tenth on: eight of them, and those that come before a value is read.
    assert 17 <= len(shown) <= 21
    run_dir = only_run(tmp_path)
    log = (run_dir / "log.txt").read_text()
    assert len(ticks_of(log)) == 2
    assert "  skipped 4 updates, whose gradients were not finite" in log.splitlines()
    assert [path.name for path in run_dir.glob("*.pkl")] == ["network-snapshot-000000.pkl"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may become larger than 400 kB: grids fit, snapshots of config-wide do not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("idle", "small_disk")
def test_no_space(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, one line, and nothing but whole files."""
    flags = arguments(data_dir, f"--result-dir={tmp_path}", "--config=config-wide")
    with pytest.raises(SystemExit, match="2"):
        cli.run(lambda argv: run_training.main(flags))
    run_dir = only_run(tmp_path)
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {run_dir / 'network-snapshot-000000.pkl'}: ")
    assert len(error.splitlines()) == 1
    found = names_in(run_dir)
    assert not [name for name in found if name.endswith((".pkl", ".tmp"))]
    assert {"reals.png", "fakes-arbitrary-000000.png", "training_options.json"} <= found
    for name in found:
        if name.endswith(".png"):
            Image.open(run_dir / name).verify()


# Ctrl-C


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_iterations(monkeypatch: pytest.MonkeyPatch, presses: int) -> list[int]:
    """Ctrl-C within the third iteration; returns the list of iterations that were finished."""
    finished: list[int] = []

    def iteration(run: Run, batches: Iterator[tf.Tensor]) -> dict[str, tf.Tensor]:
        if len(finished) == 2:
            for _ in range(presses):
                press_ctrl_c()
                time.sleep(0.01)
        run.state.iteration += 1
        run.state.num_images += 600
        finished.append(run.state.num_images)
        return {"loss_G": tf.constant(1.0)}

    monkeypatch.setattr(Run, "train_iteration", iteration)
    return finished


def test_interrupt(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration is finished, a tick and a snapshot are written, and the log says which."""
    handler = signal.getsignal(signal.SIGINT)
    finished = interrupt_iterations(monkeypatch, presses=1)
    with pytest.raises(KeyboardInterrupt):
        run_training.main(arguments(data_dir, f"--result-dir={tmp_path}", "--kimg-per-tick=50"))
    assert finished == [600, 1200, 1800]
    run_dir = only_run(tmp_path)
    path = run_dir / "network-snapshot-000001.pkl"  # floored
    assert load_networks(path).position["num_images"] == 1800
    log = (run_dir / "log.txt").read_text()
    assert [kimg for _, kimg, _ in ticks_of(log)] == ["0.6", "1.8"]
    assert f"wrote {path}; the same command goes on with {run_dir}" in log.splitlines()[-1]
    assert [path.name for path in list_checkpoints(run_dir)] == ["000000"]
    assert not [name for name in names_in(run_dir) if name.endswith(".tmp")]
    assert "network-final.pkl" not in names_in(run_dir)
    assert signal.getsignal(signal.SIGINT) is handler


def test_impatient_interrupt(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pressed twice it stops at once."""
    handler = signal.getsignal(signal.SIGINT)
    finished = interrupt_iterations(monkeypatch, presses=2)
    with pytest.raises(KeyboardInterrupt):
        run_training.main(arguments(data_dir, f"--result-dir={tmp_path}"))
    assert finished == [600, 1200]
    assert not [name for name in names_in(only_run(tmp_path)) if name.endswith(".tmp")]
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("during", ["metrics", "snapshot"])
def test_interrupt_of_metrics(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    """Metrics may take hours: they do not make anybody wait, nor start after Ctrl-C."""
    started = []

    def evaluate(*inputs: object) -> list[object]:
        started.append(inputs)
        press_ctrl_c()
        time.sleep(10)
        return []

    def save(path: Path, **networks: object) -> None:
        save_snapshot(path, **networks)  # type: ignore[arg-type]
        if during == "snapshot":
            press_ctrl_c()

    monkeypatch.setattr(training_loop, "evaluate", evaluate)
    monkeypatch.setattr(training.run, "save_snapshot", save)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_training.main(arguments(data_dir, f"--result-dir={tmp_path}", f"--metrics={METRIC}"))
    assert time.monotonic() - start < 10
    assert len(started) == (1 if during == "metrics" else 0)
    run_dir = only_run(tmp_path)
    assert load_networks(run_dir / "network-snapshot-000000.pkl").position["num_images"] == 64
    assert "without its metrics" in (run_dir / "log.txt").read_text().splitlines()[-1]
    assert f"metric-{METRIC}.txt" not in names_in(run_dir)


def test_interrupt_that_a_library_turned_into_an_error() -> None:
    """Within metrics Ctrl-C stays an interrupt, whatever is raised in its course."""

    def build_graph() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("bad argument to internal function") from None

    with interrupts() as flag:
        with pytest.raises(ZeroDivisionError), flag.at_once():
            raise ZeroDivisionError
        with pytest.raises(KeyboardInterrupt), flag.at_once():
            build_graph()
