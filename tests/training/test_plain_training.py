"""`--watermark-size=0`: plain StyleGAN2 is trained, stopped, resumed, and started from a file."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import run_training
from dnnlib.config import from_dict, to_dict
from dnnlib.errors import UserError
from dnnlib.tflib.execution import PLAIN
from tests.support.paths import REFERENCE, ROOT
from tests.support.small_runs import SMALL, write_images
from training import plain_steps
from training.config import PRESETS, TrainConfig, TrainOptions, setup_training_config
from training.data.dataset import open_dataset
from training.data.writer import DatasetWriter
from training.models.snapshot import load_networks
from training.networks.configs import StyleGAN2GeneratorConfig
from training.networks.stylegan2 import StyleGAN2Generator
from training.plain_steps import PlainSteps
from training.setup import make_networks, make_steps


@pytest.fixture(scope="module", autouse=True)
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "config-test", SMALL)
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    write_images(folder / "noise", 50)
    write_images(folder / "noise16", 50, size=16)
    for name, size in (("classes", 8), ("classes32", 32)):
        with DatasetWriter(folder / name) as writer:
            # Each class has a colour of its own.
            for number in range(50):
                writer.add(np.full([size, size, 3], 40 + 40 * (number % 5), np.uint8))
            writer.add_labels(np.eye(5)[np.arange(50) % 5])
    return folder


def train(data_dir: Path, result_dir: Path, *more: str, dataset: str = "noise") -> Path:
    run_training.main([
        f"--data-dir={data_dir}", f"--dataset={dataset}", "--config=config-test", "--num-gpus=0",
        "--seed=5", "--ops=reference", "--minibatch=64", "--watermark-size=0",
        f"--result-dir={result_dir}", *more,
    ])  # fmt: skip
    return sorted(result_dir.iterdir())[-1]


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data_dir, tmp_path_factory.mktemp("results"), "--total-kimg=0.64")


def values(path: Path) -> dict[str, np.ndarray]:
    found = load_networks(path)
    assert found.E is None
    return {
        f"{slot}/{name}": variable.numpy()
        for slot in ("G", "D", "Gs")
        for name, variable in getattr(found, slot).named_variables().items()
    }


def test_what_a_run_leaves(finished: Path) -> None:
    assert finished.name == "00000-noise-1gpu-config-test-0bits"
    names = {path.name for path in finished.iterdir()}
    assert {"network-final.pkl", "fakes-arbitrary-init.png", "reals.png", "log.txt"} <= names
    assert not [name for name in names if "same" in name]
    log = (finished / "log.txt").read_text()
    assert "PSNR between latents" in log
    assert "fingerprints" not in log
    assert "bit_accuracy" not in log
    assert "\nE: " not in log


def test_all_that_is_trained_has_moved(finished: Path, data_dir: Path) -> None:
    options = TrainOptions(dataset="noise", config="config-test", seed=5, watermark_size=0)
    before = make_networks(setup_training_config(options, 8, 3))
    after = load_networks(finished / "network-final.pkl")
    for slot in ("G", "D", "Gs"):
        for name, variable in getattr(before, slot).named_variables().items():
            moved = not np.array_equal(variable, getattr(after, slot).named_variables()[name])
            assert moved != name.startswith("G_synthesis/noise"), name
    # The average is that of the styles: nearer to their mean than 0 is.
    assert isinstance(after.G, StyleGAN2Generator)
    np.testing.assert_array_equal(after.Gs.dlatent_avg, after.G.dlatent_avg)
    latents = tf.random.stateless_normal([512, after.G.latent_size], [1, 2])
    mean = np.mean(after.G.map_latents(latents)[:, 0], axis=0)
    assert np.linalg.norm(mean - after.G.dlatent_avg) < np.linalg.norm(mean)


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bits(finished: Path, data_dir: Path, tmp_path) -> None:
    half = train(data_dir, tmp_path, "--total-kimg=0.32")
    train(data_dir, tmp_path, "--total-kimg=0.64", f"--resume={half}")
    ours, theirs = (values(path / "network-final.pkl") for path in (half, finished))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], name)


@pytest.mark.slow
def test_a_run_starts_from_its_snapshot(finished: Path, data_dir: Path, tmp_path) -> None:
    flag = f"--resume-pkl={finished / 'network-final.pkl'}"
    run_dir = train(data_dir, tmp_path, "--total-kimg=0.704", flag)
    assert "at 0.64 kimg, as it says itself" in (run_dir / "log.txt").read_text()
    moved = values(run_dir / "network-final.pkl")["Gs/dlatent_avg"]
    assert 0 < np.abs(moved - values(finished / "network-final.pkl")["Gs/dlatent_avg"]).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["tf", "torch"])
def test_a_run_starts_from_files_of_the_original_code(layout, data_dir, tmp_path) -> None:
    """Its networks are those of the file, whatever the config says."""
    path = REFERENCE / f"plain_skip_16_{layout}.pkl"
    flags = (f"--resume-pkl={path}", "--total-kimg=0.064")
    run_dir = train(data_dir, tmp_path, *flags, dataset="noise16")
    before, after = values(path), values(run_dir / "network-final.pkl")
    assert before.keys() == after.keys()
    for name in before:
        assert after[name].shape == before[name].shape
    assert (
        0
        < np.abs(after["Gs/G_mapping/Dense0/weight"] - before["Gs/G_mapping/Dense0/weight"]).max()
        < 1
    )
    np.testing.assert_array_equal(after["G/G_synthesis/noise1"], before["G/G_synthesis/noise1"])
    # The same command goes on with the run.
    train(
        data_dir,
        tmp_path,
        f"--resume-pkl={path}",
        "--total-kimg=0.128",
        f"--resume={run_dir}",
        dataset="noise16",
    )


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("plain_skip_16_tf.pkl", "its resolution is 16, this run's is 8; choose a data set"),
        ("plain_resnet_32_labels_tf.pkl", "has labels of 5 numbers, this run's have 0"),
        ("snapshot_resnet_skip_16.pkl", "is no plain StyleGAN2, .* choose --watermark-size"),
    ],
)
def test_snapshots_that_do_not_fit(file, wanted, data_dir, tmp_path) -> None:
    with pytest.raises(UserError, match=wanted):
        train(data_dir, tmp_path, f"--resume-pkl={REFERENCE / file}")
    assert not list(tmp_path.iterdir())


def test_a_fingerprinted_run_does_not_start_from_plain_networks(finished, data_dir, tmp_path):
    with pytest.raises(UserError, match="is plain StyleGAN2, whose pictures carry no fingerprint"):
        train(
            data_dir,
            tmp_path,
            "--watermark-size=8",
            f"--resume-pkl={finished / 'network-final.pkl'}",
        )


@pytest.mark.parametrize(
    "option",
    [
        {"res_modulated_range": "4-8"},
        {"mapping": "linear"},
        {"fingerprint_maps": "8-8"},
        {"fingerprint_biases": True},
        {"immunize": "light"},
        {"edit_strength": 0.5},
        {"clip_decoder_input": True},
        {"decouple_weight": 1.0},
        {"latent_weight": 1.0},
        {"bits_weight": 1.0},
    ],
)
def test_options_of_fingerprints_are_refused(option) -> None:
    options = TrainOptions(dataset="noise", watermark_size=0, **option)
    with pytest.raises(UserError, match="--.* with --watermark-size=0: plain StyleGAN2 has no"):
        setup_training_config(options, 32, 3)


@pytest.mark.parametrize(
    ("config", "base", "gamma"), [("config-e", 8192, 100), ("config-f", 16384, 10)]
)
def test_presets_are_those_of_stylegan2(config, base, gamma) -> None:
    options = TrainOptions(dataset="noise", config=config, watermark_size=0)
    found = setup_training_config(options, 128, 3)
    assert StyleGAN2GeneratorConfig(resolution=128, fmap_base=base) == found.G
    assert found.D.fmap_base == base
    assert found.D.architecture == "resnet"
    assert found.E is None
    assert found.loss.gamma == gamma
    assert from_dict(TrainConfig, to_dict(found)) == found
    assert from_dict(TrainConfig, to_dict(setup_training_config(TrainOptions(dataset="n"), 8, 3))).E


# ---- Labels


def test_labels_of_a_batch_are_those_of_its_images(data_dir: Path) -> None:
    dataset = open_dataset(data_dir, "classes")
    assert dataset.label_size == 5
    with dataset.batches(8, 3, first=5) as batches:
        for number in range(5, 9):
            labels = dataset.labels_of(8, 3, number)
            shown = next(batches)[:, 0, 0, 0]
            np.testing.assert_array_equal(40 + 40 * labels.argmax(axis=1), shown)
            np.testing.assert_array_equal(dataset.labels_of(8, 3, number, rows=(2, 5)), labels[2:5])
    assert open_dataset(data_dir, "noise").label_size == 0


@pytest.mark.slow
def test_a_run_with_labels_and_its_end_when_stopped(data_dir: Path, tmp_path: Path) -> None:
    whole = train(data_dir, tmp_path / "a", "--total-kimg=0.256", "--cond", dataset="classes")
    half = train(data_dir, tmp_path / "b", "--total-kimg=0.128", "--cond", dataset="classes")
    train(
        data_dir, tmp_path / "b", "--total-kimg=0.256", "--cond", f"--resume={half}",
        dataset="classes",
    )  # fmt: skip
    ours, theirs = (values(path / "network-final.pkl") for path in (half, whole))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], name)
    found = load_networks(whole / "network-final.pkl")
    assert found.Gs.config.label_size == found.D.config.label_size == 5
    options = TrainOptions(dataset="n", config="config-test", seed=5, watermark_size=0, cond=True)
    before = make_networks(setup_training_config(options, 8, 3, 5))
    for slot, key in (("G", "G_mapping/LabelEmbed/weight"), ("D", "LabelEmbed/weight")):
        first = getattr(before, slot).named_variables()[key]
        assert not np.array_equal(first, getattr(found, slot).named_variables()[key])


@pytest.mark.slow
def test_a_run_starts_from_a_file_with_labels(data_dir: Path, tmp_path: Path) -> None:
    path = REFERENCE / "plain_resnet_32_labels_torch.pkl"
    flags = (f"--resume-pkl={path}", "--total-kimg=0.064", "--cond")
    run_dir = train(data_dir, tmp_path, *flags, dataset="classes32")
    assert values(path).keys() == values(run_dir / "network-final.pkl").keys()


@pytest.mark.parametrize("more", [[], ["--watermark-size=8"]])
def test_cond_of_a_data_set_without_labels(more, data_dir, tmp_path) -> None:
    with pytest.raises(UserError, match="--cond: the data set noise has no labels"):
        train(data_dir, tmp_path, "--cond", *more)


# ---- Style mixing


def make() -> PlainSteps:
    options = TrainOptions(
        dataset="noise",
        config="config-test",
        seed=5,
        watermark_size=0,
        minibatch=64,
        ops="reference",
    )
    config = setup_training_config(options, 16, 3)
    steps = make_steps(config, make_networks(config), PLAIN)
    assert isinstance(steps, PlainSteps)
    return steps


def test_nine_in_ten_pictures_mix_two_latents() -> None:
    steps = make()
    latents, codes, noise = steps._draw(tf.constant(3, tf.int64), "generator", 0, 4000, 2)
    assert latents.shape == (4000, 2, 6)
    assert noise.shape == (1, 4000, sum(h * w for h, w in steps.generator.noise_shapes))
    assert abs(np.std(latents) - 1) < 0.02
    codes = codes[0].numpy()
    assert codes.shape == (4000, 6)
    assert not codes[:, 0].any()
    assert (np.diff(codes, axis=1) >= 0).all()
    begins = 6 - codes.sum(axis=1).astype(int)
    counts = np.bincount(begins, minlength=7)
    assert abs(counts[6] / 4000 - (1 - plain_steps.STYLE_MIXING)) < 0.02
    np.testing.assert_allclose(counts[1:6] / 4000, 0.9 / 5, atol=0.025)


def test_mixed_styles_are_those_of_the_two_latents() -> None:
    steps = make()
    latents, codes, _ = steps._draw(tf.constant(0, tf.int64), "generator", 0, 16, 2)
    mixed = steps._styles(latents, codes[0]).numpy()
    first, second = (steps.generator.map_latents(latents[:, i]).numpy() for i in (0, 1))
    for image in range(16):
        for slot in range(6):
            source = second if codes[0, image, slot] else first
            np.testing.assert_allclose(mixed[image, slot], source[image, slot], atol=1e-6)


# ---- Several devices


@pytest.mark.slow
def test_two_devices_train_as_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.plain_on_devices", str(tmp_path / "found")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    found = dict(np.load(tmp_path / "found.npz"))
    names = [name.removeprefix("one/") for name in found if name.startswith("one/")]
    assert "Gs/dlatent_avg" in names
    assert found["one/Gs/dlatent_avg"].any()
    for name in names:
        one, two = found[f"one/{name}"], found[f"two/{name}"]
        np.testing.assert_allclose(
            two, one, rtol=0, atol=1e-4 * max(1, np.abs(one).max()), err_msg=name
        )
