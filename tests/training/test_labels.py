"""`--cond` with fingerprints: labels reach all networks, the loss and commands; grey images."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import run_fingerprints
import run_generator
import run_training
from dnnlib.config import from_dict, to_dict
from dnnlib.errors import UserError
from dnnlib.tflib.execution import PLAIN
from metrics.sampling import make_context
from tests.support.paths import ROOT
from tests.support.small_runs import SMALL, write_images
from training import loss
from training.channels import CHANNELS
from training.config import PRESETS, TrainConfig, TrainOptions, setup_training_config
from training.data.writer import DatasetWriter
from training.models.baking import Baker, write_instance
from training.models.functions import inputs_by_seed, make_decoder, make_generator
from training.models.snapshot import load_networks
from training.networks.configs import StyleGAN2DiscriminatorConfig
from training.retune_steps import RetuneSteps
from training.setup import make_networks, make_steps
from training.steps import Steps

CLASSES = 3
STEP = tf.constant(4, tf.int64)


@pytest.fixture(scope="module", autouse=True)
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "config-test", SMALL)
        patch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def make_config(num_channels: int = 1, **more: object) -> TrainConfig:
    options = TrainOptions(
        dataset="n", config="config-test", seed=5, cond=True, ops="reference", **more
    )  # type: ignore[arg-type]
    return setup_training_config(options, 8, num_channels, CLASSES)


LABELS = np.eye(CLASSES, dtype=np.float32)[np.array([0] * 6 + [2] * 2)]  # none of class 1


@pytest.fixture(scope="module")
def steps() -> Steps:
    config = make_config(minibatch=4)
    return make_steps(config, make_networks(config), PLAIN, labels=LABELS)


# ---- Settings


def test_networks_with_classes() -> None:
    config = make_config(3)
    assert config.G.label_size == CLASSES
    assert config.G.label_fmaps == config.G.latent_size == SMALL.latent_size
    assert config.E is not None
    assert config.E.label_size == CLASSES
    d = config.D
    assert isinstance(d, StyleGAN2DiscriminatorConfig)
    assert (d.label_size, d.label_fmaps, d.dlatent_size) == (CLASSES, d.nf(1), d.nf(1))
    assert (d.mapping_layers, d.mapping_lrmul, d.mapping_act) == (1, 1.0, "linear")
    published = make_config(3, mapping="published").D
    assert isinstance(published, StyleGAN2DiscriminatorConfig)
    assert (published.mapping_layers, published.mapping_lrmul) == (8, 0.01)
    assert from_dict(TrainConfig, to_dict(config)) == config


def test_without_cond_labels_of_a_data_set_change_nothing() -> None:
    options = TrainOptions(dataset="n", config="config-test")
    assert setup_training_config(options, 8, 3, 0) == setup_training_config(options, 8, 3, CLASSES)


def test_a_recipe_says_what_it_changes_with_classes(data_dir: Path, tmp_path: Path, capsys) -> None:
    flags = ("--cond", "--recipe=recommended", "--dry-run")
    run_training.main([
        f"--data-dir={data_dir}", "--dataset=classes", "--config=config-test", "--num-gpus=0",
        f"--result-dir={tmp_path}", *flags,
    ])  # fmt: skip
    assert "--recipe=recommended changes" in capsys.readouterr().err


# ---- Phases


def test_labels_of_fakes_are_those_of_real_images(steps: Steps) -> None:
    latents, codes, _ = steps._draw(STEP, "generator", 0, 2000, 2)
    assert codes.shape == (2, 2000, SMALL.watermark_size + CLASSES)
    bits, labels = np.split(codes.numpy(), [SMALL.watermark_size], axis=2)
    np.testing.assert_array_equal(labels[0], labels[1])
    assert np.abs(bits[0] - bits[1]).any()
    np.testing.assert_allclose(labels[0].mean(axis=0), [0.75, 0, 0.25], atol=0.04)
    # Latents and bits are those of a run without classes.
    config = setup_training_config(
        TrainOptions(dataset="n", config="config-test", seed=5, minibatch=4, ops="reference"), 8, 1
    )
    others = make_steps(config, make_networks(config), PLAIN)
    their_latents, their_bits, _ = others._draw(STEP, "generator", 0, 2000, 2)
    np.testing.assert_array_equal(latents, their_latents)
    np.testing.assert_array_equal(bits, their_bits)


def test_what_the_steps_compute_follows_from_the_networks(steps: Steps) -> None:
    """Losses and scores of the phases, against calls of the networks with the labels drawn."""
    g, d, e = steps.generator, steps.discriminator, steps.decoder
    assert e is not None
    latents, codes, noise = steps._draw(STEP, "generator", 0, 4, 2)
    bits, labels = tf.split(codes[0], [SMALL.watermark_size, CLASSES], axis=1)
    images = g(latents, bits, g.split_noise(noise[0]), labels)
    weights = loss.weights_of(make_config().loss, 0)
    _, stats = steps.generator_gradients(latents, codes, noise, weights)
    found = e.recover(images)
    error = np.square(found.labels - labels).sum(axis=1).mean()
    np.testing.assert_allclose(stats["loss_E_labels"], error, rtol=1e-4)
    np.testing.assert_allclose(stats["scores/fake"], np.mean(d(images, labels)), rtol=1e-4)

    reals = tf.random.stateless_uniform([4, 8, 8, 1], [1, 2], -1, 1)
    shown = tf.one_hot([2, 1, 0, 0], CLASSES)
    _, stats = steps.discriminator_gradients(latents, codes, noise, reals, labels=shown)
    np.testing.assert_allclose(stats["scores/real"], np.mean(d(reals, shown)), rtol=1e-4)
    np.testing.assert_allclose(stats["scores/fake"], np.mean(d(images, labels)), rtol=1e-4)
    assert np.abs(d(reals, shown) - d(reals, tf.roll(shown, 1, 1))).max() > 1e-4

    pixels = tf.ones([4, 8, 8, 1])
    gradients, _ = steps.path_length_gradients(latents, codes[:1], noise[:1], pixels)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_losses_are_absent_without_what_they_need() -> None:
    names = {name: tf.zeros([2, 3]) for name in ("latents", "bits", "bits_other", "decoded")}
    images = {name: tf.zeros([2, 4, 4, 1]) for name in ("images", "images_other", "received")}
    forward = loss.Forward(**names, **images, logits=tf.zeros([2, 3]))
    weights = loss.weights_of(make_config().loss, 0)
    total, stats = loss.generator_loss(tf.zeros([2, 1]), forward, weights)
    assert not {"loss_E_labels", "loss_anchor"} & stats.keys()
    labelled = loss.Forward(
        **names, **images, logits=tf.zeros([2, 3]), labels=tf.eye(2), decoded_labels=tf.eye(2) / 2
    )
    more, stats = loss.generator_loss(tf.zeros([2, 1]), labelled, weights)
    np.testing.assert_allclose(stats["loss_E_labels"], 0.25)
    np.testing.assert_allclose(more - total, 0.25 * weights.label, rtol=1e-5)


def test_retuning_keeps_the_label() -> None:
    config = make_config(minibatch=4)
    networks = make_networks(config)
    assert networks.E is not None
    steps = RetuneSteps(
        networks.Gs, networks.E, CHANNELS["clip"], minibatch=4, seed=0, execution=PLAIN
    )
    inputs = steps.draw(STEP)
    assert inputs.codes.shape == (1, 4, SMALL.watermark_size + CLASSES)
    gradients, _ = steps.gradients(inputs.latents, inputs.codes, inputs.noise, inputs.draws)
    (of_output,) = (
        gradient
        for gradient, name in zip(gradients, networks.E.named_trainables(), strict=True)
        if name == "Output/bias"
    )
    begin = SMALL.latent_size
    assert np.all(of_output[begin : begin + CLASSES])


def test_metrics_draw_labels_of_the_data_set() -> None:
    networks = make_networks(make_config())
    found = []
    for labels in (np.eye(CLASSES, dtype=np.float32)[[1]], np.eye(CLASSES, dtype=np.float32)[[2]]):
        context = make_context(generator=networks.Gs, decoder=networks.E, labels=labels)
        batch = context.generate(4, 0)
        assert batch.bits.shape == (4, SMALL.watermark_size)
        found.append(batch)
    np.testing.assert_array_equal(found[0].bits, found[1].bits)
    assert np.abs(found[0].images_float - found[1].images_float).max() > 1e-3


def test_the_sample_model_of_classes() -> None:
    found = load_networks(ROOT / "models" / "fashion-32.pkl")
    generator, decode = found.fingerprinted, make_decoder(found.decoder)
    assert (generator.label_size, generator.num_channels) == (10, 1)
    bits = np.random.default_rng(0).integers(0, 2, generator.fingerprint_size)
    generate_all = make_generator(generator)
    made = [
        generate_all(next(inputs_by_seed(generator, range(2), fingerprint=bits, class_index=c)))
        for c in range(10)
    ]
    assert np.mean((decode(np.concatenate(made)) > 0) == bits) > 0.98
    # Trousers (1) are narrower than pullovers (2).
    widths = [np.mean(images.mean(axis=(0, 1)) > 30) for images in made]
    assert widths[1] < widths[2]


# ---- Commands, with grey images


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    with DatasetWriter(folder / "classes") as writer:
        # Each class has a grey of its own.
        for number in range(50):
            writer.add(np.full([8, 8, 1], 60 + 60 * (number % CLASSES), np.uint8))
        writer.add_labels(np.eye(CLASSES)[np.arange(50) % CLASSES])
    write_images(folder / "noise", 50, channels=1)
    return folder


def train(data_dir: Path, result_dir: Path, *more: str, dataset: str = "classes") -> Path:
    run_training.main([
        f"--data-dir={data_dir}", f"--dataset={dataset}", "--config=config-test", "--num-gpus=0",
        "--seed=5", "--ops=reference", "--minibatch=64", f"--result-dir={result_dir}", *more,
    ])  # fmt: skip
    return sorted(result_dir.iterdir())[-1]


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    return train(data_dir, folder, "--cond", "--total-kimg=0.192")


@pytest.mark.slow
def test_what_a_run_leaves(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"fakes-watermarks-same-init.png", "fakes-latents-same-init.png"} <= names
    assert "loss_E_labels" in (finished / "log.txt").read_text()
    reals = np.asarray(Image.open(finished / "reals.png"))
    assert reals.shape == (256, 256)
    # Rows go through the classes one after the other.
    greys = reals.reshape(32, 8, 32, 8).mean(axis=(1, 3))
    assert (greys == greys[:, :1]).all()
    assert sorted(set(greys[:, 0])) == [60, 120, 180]
    assert greys[:, 0].tolist() == sorted(greys[:, 0])
    before = make_networks(make_config())
    after = load_networks(finished / "network-final.pkl")
    keys = {"G": "G_synthesis/4x4/LabelEmbed/weight", "D": "LabelEmbed/weight"}
    for slot, key in keys.items():
        first = getattr(before, slot).named_variables()[key]
        assert not np.array_equal(first, getattr(after, slot).named_variables()[key])


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bits(finished: Path, data_dir: Path, tmp_path) -> None:
    half = train(data_dir, tmp_path, "--total-kimg=0.064", "--cond")
    train(data_dir, tmp_path, "--total-kimg=0.192", f"--resume={half}", "--cond")
    ours, theirs = (load_networks(path / "network-final.pkl") for path in (half, finished))
    for slot in ("E", "G", "D", "Gs"):
        wanted = getattr(theirs, slot).named_variables()
        for name, variable in getattr(ours, slot).named_variables().items():
            np.testing.assert_array_equal(variable, wanted[name], f"{slot}/{name}")


@pytest.mark.slow
def test_a_snapshot_with_classes_goes_on_with_classes_alone(
    finished: Path, data_dir: Path, tmp_path: Path
) -> None:
    flag = f"--resume-pkl={finished / 'network-final.pkl'}"
    with pytest.raises(UserError, match="its label_size is 3, this run's is 0; choose --cond"):
        train(data_dir, tmp_path, flag, "--total-kimg=0.32", dataset="noise")


def generate(network: Path, results: Path, *flags: str) -> Path:
    run_generator.main(
        [
            "generate-images",
            f"--network={network}",
            f"--result-dir={results}",
            "--seeds=0-3",
            *flags,
        ]
    )
    return sorted(results.iterdir())[-1]


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("seed*.png"))])


@pytest.mark.slow
def test_pictures_of_a_class_and_of_an_instance(finished: Path, tmp_path: Path, capsys) -> None:
    network = finished / "network-final.pkl"
    folders = [generate(network, tmp_path / "a", f"--class={c}") for c in (0, 2)]
    made = [pictures(folder) for folder in folders]
    assert made[0].shape == (4, 8, 8)
    assert not np.array_equal(*made)

    bits = "10110010"
    chosen = pictures(generate(network, tmp_path / "b", "--class=2", f"--fingerprint={bits}"))
    parent = load_networks(network).fingerprinted
    baked = Baker(parent).bake(np.array([int(bit) for bit in bits]))  # type: ignore[arg-type]
    write_instance(tmp_path / "acme.pkl", baked)
    theirs = pictures(generate(tmp_path / "acme.pkl", tmp_path / "c", "--class=2"))
    assert np.abs(theirs.astype(int) - chosen).max() <= 1

    capsys.readouterr()
    flags = ["decode", f"--network={network}", "--json", str(folders[0])]
    run_fingerprints.main(flags)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["num_bits"] for line in lines if "num_bits" in line][:1] == [SMALL.watermark_size]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ([], "makes pictures of 3 classes; name one: --class=0 to --class=2"),
        (["--class=3"], "--class=3 with .* its classes are 0 to 2"),
    ],
)
def test_a_class_that_there_is_not(flags, wanted, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=wanted):
        generate(finished / "network-final.pkl", tmp_path, *flags)
