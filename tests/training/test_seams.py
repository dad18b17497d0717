"""A loss term and a channel from outside, in two places each, on every path of the operations."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.config import with_settings
from dnnlib.errors import UserError
from tests.support.small_runs import SMALL, write_images
from training import channels, loss
from training.channels import Channel
from training.config import PRESETS, LossConfig, TrainConfig, setup_training_config
from training.data.dataset import Dataset, open_dataset
from training.draws import draw_inputs
from training.loss import Term
from training.options import TrainOptions
from training.run import Run

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class LossConfigWithBrightness(LossConfig):
    """The first place of the term: its weight."""

    brightness: float = 3.0


def dim(images: tf.Tensor, draws: channels.Draws) -> tf.Tensor:
    """The first place of the channel: what it does."""
    return images * draws["factor"]


def draw_factor(shape: tuple[int, ...], seed: tf.Tensor, strength: tf.Tensor) -> channels.Draws:
    return {"factor": tf.random.stateless_uniform([shape[0], 1, 1, 1], seed, 0.5, 1.0)}


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second places: rows of the tables."""
    term = Term(lambda f: tf.reduce_mean(tf.abs(f.received), [1, 2, 3]), "loss_brightness")
    monkeypatch.setitem(loss.TERMS, "brightness", term)
    monkeypatch.setitem(channels.CHANNELS, "dim", Channel(dim, draw_factor))
    monkeypatch.setitem(PRESETS, "config-test", SMALL)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("datasets")
    write_images(folder / "noise", 40)
    return open_dataset(folder, "noise")


def make_config(ops: str, **settings: object) -> TrainConfig:
    config = setup_training_config(
        TrainOptions(dataset="noise", config="config-test", ops=ops, seed=1, minibatch_gpu=4), 8, 3
    )
    losses = LossConfigWithBrightness(**dataclasses.asdict(config.loss))
    return with_settings(dataclasses.replace(config, loss=losses), dict(settings))


def two_steps(config: TrainConfig, dataset: Dataset) -> list[dict[str, float]]:
    """Statistics of two iterations; iteration 0 runs all four phases."""
    run = Run(config, dataset)
    run.begin()
    with dataset.batches(config.minibatch, config.seed) as batches:
        found = [run.train_iteration(batches) for _ in range(2)]
    assert run.state.iteration == 2
    return [{name: float(value) for name, value in stats.items()} for stats in found]


@pytest.mark.usefixtures("seams")
@pytest.mark.parametrize("ops", ["reference", "compiled", "xla"])
def test_made_up_term_and_channel(ops: str, dataset: Dataset) -> None:
    """They are used, the statistic has its name, and all paths agree."""
    settings = {"channel": "dim", "augment": "dim"}
    found = two_steps(make_config(ops, **settings), dataset)
    expected = two_steps(make_config("reference", **settings), dataset)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=2e-3, abs=2e-4), name
    assert found[0]["loss_brightness"] > 0
    assert {"gradient_penalty", "pl_penalty", "loss_D"} <= found[0].keys()


@pytest.mark.usefixtures("seams")
@pytest.mark.parametrize("ops", ["compiled", "xla"])
def test_relativistic_loss_on_all_paths(ops: str, dataset: Dataset) -> None:
    settings = {"gan_loss": "rpgan", "augment": "dim"}
    found = two_steps(make_config(ops, **settings), dataset)
    expected = two_steps(make_config("reference", **settings), dataset)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            # Adam's first steps are as long where a gradient is next to nothing.
            assert ours[name] == pytest.approx(value, rel=5e-3, abs=1e-3), name


@pytest.mark.usefixtures("seams")
def test_relativistic_phases(dataset: Dataset) -> None:
    """Pairs of a fake and a real are compared, and fakes are penalised as reals are."""
    run = Run(make_config("reference", gan_loss="rpgan"), dataset)
    g, d, steps = run.networks.G, run.networks.D, run.steps
    latents, codes, noise = draw_inputs(g, tf.constant([3, 4], tf.int64), 4, 2)
    reals = tf.random.stateless_uniform([4, 8, 8, 3], [1, 2], -1, 1)
    fakes = g(latents, codes[0], g.split_noise(noise[0]))
    weights = loss.weights_of(run.config.loss, 0)
    _, stats = steps.generator_gradients(latents, codes, noise, weights, reals=reals)
    difference = (d(fakes) - d(reals))[:, 0].numpy()
    assert float(stats["loss_G"]) == pytest.approx(np.mean(np.log1p(np.exp(-difference))), rel=1e-4)
    _, stats = steps.discriminator_gradients(latents, codes[:1], noise[:1], reals)
    assert float(stats["loss_D"]) == pytest.approx(np.mean(np.log1p(np.exp(difference))), rel=1e-4)
    both, _ = steps.r1_gradients(reals, of_fakes=(latents, codes[:1], noise[:1]))
    parts = [steps.r1_gradients(images)[0] for images in (reals, fakes)]
    for total, one, other in zip(both, *parts, strict=True):
        np.testing.assert_allclose(total, one + other, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("seams")
def test_each_seam_takes_effect(dataset: Dataset) -> None:
    """The channel changes what the decoder sees, the augmentation what the discriminator sees."""
    plain = two_steps(make_config("reference"), dataset)[0]
    channel = two_steps(make_config("reference", channel="dim"), dataset)[0]
    augment = two_steps(make_config("reference", augment="dim"), dataset)[0]
    weight = two_steps(make_config("reference", **{"loss.brightness": 50.0}), dataset)
    # Of the first iteration, before the networks have changed.
    unchanged = {name: plain[name] for name in ("loss_G", "loss_decouple")}
    assert {name: channel[name] for name in unchanged} == pytest.approx(unchanged, rel=1e-5)
    assert channel["loss_E_latents"] != pytest.approx(plain["loss_E_latents"], rel=1e-5)
    assert channel["loss_brightness"] < 0.95 * plain["loss_brightness"]
    assert augment["loss_E_latents"] == pytest.approx(plain["loss_E_latents"], rel=1e-5)
    for name in ("loss_G", "loss_D", "scores/real", "gradient_penalty"):
        assert augment[name] != pytest.approx(plain[name], rel=1e-5), name
    second = two_steps(make_config("reference"), dataset)[1]
    assert weight[1]["loss_brightness"] != pytest.approx(second["loss_brightness"], rel=1e-5)


@pytest.mark.usefixtures("seams")
def test_draws_are_those_of_seed_and_iteration(dataset: Dataset) -> None:
    """Every use of a channel has its own, every iteration others; the same run draws the same."""
    steps = Run(make_config("reference", channel="dim", augment="dim"), dataset).steps
    drawn = {
        (use, step): steps._draw_channel(
            steps.options.channel, tf.constant(step, tf.int64), use, 0, tf.constant(1.0)
        )["factor"].numpy()
        for use in ("decoder", "fakes_of_generator", "fakes", "reals", "reals_of_r1")
        for step in range(3)
    }
    assert len({values.tobytes() for values in drawn.values()}) == len(drawn)
    again = steps._draw_channel(
        steps.options.channel, tf.constant(1, tf.int64), "reals", 0, tf.constant(1.0)
    )
    assert np.array_equal(drawn["reals", 1], again["factor"])


def test_an_unknown_channel_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="edit fog: unknown; choose from none, light, "):
        channels.find_channel("light,fog")
