"""Adopting: what is learned, what stays as it was, and that every stop can be gone on from."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import Terminated, UserError
from dnnlib.tflib.execution import PLAIN
from training import adoption
from training.adopt_steps import AdoptSteps, AdoptWeights, distance_weight
from training.adoption import (
    AdoptConfig,
    AdoptFolder,
    Adoption,
    AdoptReport,
    make_adopted_decoder,
)
from training.channels import find_channel
from training.checkpoint import list_checkpoints
from training.draws import draw_inputs
from training.edits.probes import PROBES
from training.models.adopting import Original, adopt
from training.models.snapshot import load_networks
from training.networks.adopted import AdoptedGenerator
from training.networks.configs import StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

IMAGES = {"resolution": 8, "fmap_base": 64, "fmap_max": 8, "label_size": 3, "label_fmaps": 4}
MAPPING = {"dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
CONFIG = AdoptConfig(
    network="hash",
    name="theirs",
    num_bits=6,
    embedding="styles+biases",
    immunize="flip,noise",
    realism=0.1,
    distance="0.1@0.01,1@0.02",
    variety="0.5@0.01,1@0.02",
    kimg=0.032,
    tick_kimg=0.012,
    minibatch=4,
    decoder_fmap_max=8,
    seed=3,
)
FILE = np.arange(100, dtype=np.uint8)
EVEN = (tf.constant(1.0), tf.constant(1.0))  # a weight that is no ramp


@pytest.fixture(scope="module", autouse=True)
def few_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adoption, "_REPORT_SEEDS", range(100, 112))
        patch.setattr(adoption, "_LOOKED_AT", range(100, 108))
        patch.setattr(adoption, "_MINIBATCH", 4)
        yield


def make_original(**changes: Any) -> StyleGAN2Generator:
    kwargs = {**IMAGES, **MAPPING, "latent_size": 4} | changes
    return StyleGAN2Generator(StyleGAN2GeneratorConfig(**kwargs), seed=1)


def make_discriminator(**changes: Any) -> StyleGAN2Discriminator:
    kwargs = {**IMAGES, **MAPPING} | changes
    return StyleGAN2Discriminator(StyleGAN2DiscriminatorConfig(**kwargs), seed=2)


def make_file(discriminator: StyleGAN2Discriminator | None) -> Original:
    """A generator, its discriminator, and bytes in place of the file that both came in."""
    return Original(make_original(), discriminator, FILE, "theirs.pkl")


def make(config: AdoptConfig = CONFIG) -> Adoption:
    original = make_file(make_discriminator())
    return Adoption(
        config,
        original,
        adopt(original, config.num_bits, biases=config.embedding == "styles+biases"),
        make_adopted_decoder(original, config),
        PLAIN,
        1,
    )


def learned(adopted: Adoption) -> dict[str, np.ndarray]:
    """Everything that a run changes."""
    return {name: v.numpy() for name, v in adopted._steps.variables_by_name().items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def values_of(network: Any) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in network.named_variables().items()}


def test_pictures_are_the_originals_at_first() -> None:
    """Bit for bit, before anything is rounded, and whatever the fingerprint."""
    file = make_file(None)
    generator, original = adopt(file, 6, biases=True), file.generator
    latents = tf.random.stateless_normal([4, 4], [1, 2])
    labels = tf.eye(3)[:1] * tf.ones([4, 1])
    for bits in (tf.zeros([4, 6]), tf.ones([4, 6])):
        np.testing.assert_array_equal(generator(latents, bits, labels), original(latents, labels))
    originals, made, bits = make().look()
    np.testing.assert_array_equal(originals, made)
    assert bits.shape == (8, 6)
    assert len({picture.tobytes() for picture in made}) == 8


@dataclass
class Whole:
    """A run that nobody stopped."""

    adopted: Adoption
    before: dict[str, np.ndarray]
    folder: Path
    report: AdoptReport


@pytest.fixture(scope="module")
def whole(few_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    adopted = make()
    before = learned(adopted)
    return Whole(adopted, before, folder, adopted.run(folder, 60))


def test_what_is_trained(whole: Whole) -> None:
    """All that fingerprints add, and the decoder; nothing of the original nor of its judge."""
    generator, judge = whole.adopted._generator, whole.adopted._steps._discriminator
    assert same(values_of(make_discriminator()), values_of(judge))
    theirs, ours = values_of(make_original()), values_of(generator)
    assert theirs.keys() == ours.keys() - generator.named_trainables().keys()
    assert same(theirs, ours)
    for name, value in learned(whole.adopted).items():
        assert not np.array_equal(value, whole.before[name]), name
    layers = list(generator.synthesis.style_layers())
    assert len(generator.named_trainables()) == 2 * len(layers)


def test_embedding_says_what_fingerprints_shift() -> None:
    generator = make(replace(CONFIG, embedding="styles"))._generator
    assert all(name.endswith("/style_weight") for name in generator.named_trainables())
    shifts = generator.shifts(tf.ones([1, 6]))
    assert all(shift.bias is None for shift in shifts.values())


def test_the_decoder_begins_as_the_discriminator() -> None:
    theirs = values_of(make_discriminator())
    ours = values_of(make_adopted_decoder(make_file(make_discriminator()), CONFIG))
    taken = {name for name in ours if name in theirs and np.array_equal(ours[name], theirs[name])}
    assert {"8x8/FromRGB/weight", "8x8/Conv0/weight", "8x8/Conv1_down/weight"} <= taken
    # It has no standard deviation of the minibatch, and answers more than one score.
    assert not {"4x4/Conv/weight", "Output/weight"} & taken
    alone = make_adopted_decoder(make_file(None), CONFIG)
    assert alone.fingerprint_size == 6
    assert not np.array_equal(values_of(alone)["8x8/Conv0/weight"], theirs["8x8/Conv0/weight"])


def step_through(config: AdoptConfig) -> tuple[Adoption, list[float]]:
    """All steps of a run without its folder, and the bit accuracies of the last ten."""
    adopted = make(config)
    accuracies = []
    for number in range(config.num_steps):
        rate = tf.constant(config.learning_rate)
        stats = adopted._steps.step(tf.constant(number, tf.int64), rate)
        accuracies.append(float(stats["bit_accuracy"]))
    return adopted, accuracies[-10:]


def test_bits_are_learned_and_distance_keeps_pictures() -> None:
    """Both weights of a loss take effect."""
    long = replace(CONFIG, immunize="none", realism=0.0, kimg=4.0, minibatch=16)
    errors = []
    for weight in (0.0, 100.0):
        config = replace(long, distance=weight, learning_rate=0.02)
        adopted, accuracies = step_through(config)
        originals, made, _ = adopted.look()
        errors.append(np.mean(np.square(made.astype(float) - originals)))
        assert weight or np.mean(accuracies) > 0.8
    assert errors[1] < errors[0] / 2


def test_the_distances_ramp_waits_for_the_bits() -> None:
    """It stays at its beginning while bits are guessed, and ends at its end when all are read."""
    weights = [
        float(distance_weight(tf.constant(loss), tf.constant(0.1), tf.constant(15.0)))
        for loss in (0.0, 0.3, 0.69, 0.8)
    ]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(15.0)
    assert 0.1 < weights[1] < 10
    assert weights[2:] == pytest.approx([0.1, 0.1], abs=0.01)
    # A constant stays what it is, and the weight has no gradient of its own.
    assert float(distance_weight(tf.constant(0.5), *EVEN)) == 1.0
    loss = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        weight = distance_weight(loss, tf.constant(0.1), tf.constant(15.0))
    assert tape.gradient(weight, loss) is None


def test_variety_says_how_far_styles_lie_from_their_mean() -> None:
    """At 0 all pictures are those of the mean style, and whatever latents say is lost."""
    steps = make(replace(CONFIG, immunize="none", realism=0.0))._steps
    noise = tf.zeros([1, 4, sum(h * w for h, w in steps._generator.noise_shapes)])
    codes = tf.concat([tf.eye(6)[None, :4], tf.ones([1, 4, 1]) * tf.eye(3)[:1]], axis=2)
    losses = []
    for variety in (0.0, 1.0):
        for seed in (1, 2):
            latents = tf.random.stateless_normal([4, 4], [seed, 0])
            draws = steps._channel.draw((4, 8, 8, 3), tf.constant([1, 2]), tf.constant(1.0))
            _, stats = steps.gradients(latents, codes, noise, draws, EVEN, tf.constant(variety))
            losses.append(float(stats["loss_bits"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert abs(losses[2] - losses[3]) > 1e-4


def test_the_discriminators_word_counts() -> None:
    """With a weight it moves what is learned; without, it is not asked."""
    found = []
    for weight in (0.0, 10.0):
        adopted, _ = step_through(replace(CONFIG, realism=weight, kimg=0.008))
        found.append(learned(adopted))
        assert (adopted._steps._discriminator is None) == (weight == 0)
    assert not same(*found)


def test_labels_are_drawn_evenly() -> None:
    """One class a picture, of all classes, by a stream of its own."""
    generator = adopt(make_file(None), 6)
    _, codes, _ = draw_inputs(generator, tf.constant([1, 2], tf.int64), 600, 1)
    bits, labels = np.split(codes[0], [6], axis=1)
    assert set(np.unique(bits)) == {0, 1}
    np.testing.assert_array_equal(labels.sum(axis=1), 1)
    assert np.all(np.abs(labels.sum(axis=0) - 200) < 60)
    correlations = np.corrcoef(np.concatenate([bits, labels], axis=1).T)[:6, 6:]
    assert np.abs(correlations).max() < 0.2


@pytest.mark.slow
def test_xla_gives_the_gradients_of_plain_tensorflow() -> None:
    original = make_file(make_discriminator())
    generator = adopt(original, 6, biases=True)
    rng = np.random.default_rng(0)
    for variable in generator.named_trainables().values():
        variable.assign(rng.normal(0, 0.3, variable.shape))
    steps = AdoptSteps(
        generator,
        make_adopted_decoder(original, CONFIG),
        original.discriminator,
        find_channel("flip,jpeg"),
        AdoptWeights(distance=1.0, realism=0.5, edit_strength=1.0, variety=1.0),
        minibatch=4,
        seed=3,
        execution=PLAIN,
    )
    seed = tf.constant([3, 0], tf.int64)
    drawn = draw_inputs(generator, seed, 4, 1)
    draws = find_channel("flip,jpeg").draw((4, 8, 8, 3), seed, tf.constant(1.0))
    arguments = (*drawn, draws, (tf.constant(1.0), tf.constant(4.0)), tf.constant(0.7))
    plain, stats = steps.gradients(*arguments)
    compiled, compiled_stats = tf.function(steps.gradients, jit_compile=True)(*arguments)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(one).max() + 1e-9)
    assert stats.keys() == compiled_stats.keys()
    for name, value in stats.items():
        assert float(value) == pytest.approx(float(compiled_stats[name]), rel=1e-3), name


def test_what_a_run_leaves(whole: Whole) -> None:
    folder = whole.folder
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events.")}
    assert {
        "log.txt", "network-final.pkl", "adopt_report.json", "fakes-adopted-init.png",
        "fakes-adopted-000000.png", "_finished.txt",
    } <= names  # fmt: skip
    log = (folder / "log.txt").read_text()
    assert [line.split()[1] for line in log.splitlines() if line.startswith("tick")] == [
        "1", "2", "3",
    ]  # fmt: skip
    report = json.loads((folder / "adopt_report.json").read_text())
    assert list(report["edited"]) == list(PROBES)
    assert report["ssim"] is None  # of pictures this small
    assert f"bit accuracy {report['bit_accuracy']:.4f} from 8-bit pictures" in log
    networks = load_networks(folder / "network-final.pkl")
    assert isinstance(networks.generator, AdoptedGenerator)
    assert networks.decoder.fingerprint_size == 6
    assert networks.position == {"num_images": 32, "adopted": "theirs"}
    np.testing.assert_array_equal(networks.generator.original_file, FILE)


def test_a_report_says_when_few_bits_are_read() -> None:
    report = AdoptReport(0.95, 30.0, None, 29.0, {}, 1.0)
    assert not any("few bits" in line for line in report.lines())
    assert "with fewer --bits" in replace(report, bit_accuracy=0.6).lines()[-1]


class Stop(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("at", [5, 8])
def test_goes_on_to_the_bit(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Stopped within a tick, and between the last step and the result."""
    stopped = make()
    run_step, steps = stopped._steps.step, []

    def step(number: tf.Tensor, rate: tf.Tensor) -> dict[str, tf.Tensor]:
        if len(steps) == at:
            raise Stop
        steps.append(int(number))
        return run_step(number, rate)

    monkeypatch.setattr(stopped._steps, "step", step)
    monkeypatch.setattr(stopped, "save", stop)
    with pytest.raises(Stop):
        stopped.run(tmp_path, 0)  # a checkpoint behind every step
    assert list_checkpoints(tmp_path)
    again = make()
    report = again.run(tmp_path, 60)
    assert "going on" in (tmp_path / "log.txt").read_text()
    assert same(learned(whole.adopted), learned(again))
    assert replace(report, seconds=0.0) == replace(whole.report, seconds=0.0)
    first, second = (path / "network-final.pkl" for path in (tmp_path, whole.folder))
    assert first.read_bytes() == second.read_bytes()


def stop(*_: object) -> None:
    """Behind the last step, before the result is written."""
    raise Stop


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_signals_leave_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]
) -> None:
    adopted = make()
    run_step = adopted._steps.step

    def step(at: tf.Tensor, rate: tf.Tensor) -> dict[str, tf.Tensor]:
        if int(at) == 3:
            signal.raise_signal(number)
        return run_step(at, rate)

    monkeypatch.setattr(adopted._steps, "step", step)
    with pytest.raises(error):
        adopted.run(tmp_path, 60)
    position = json.loads((list_checkpoints(tmp_path)[-1] / "position.json").read_text())
    assert position["step"] == 4
    assert not (tmp_path / "network-final.pkl").exists()
    assert "the same command goes on" in (tmp_path / "log.txt").read_text()


def test_ramps_follow_the_pictures_seen() -> None:
    weights = AdoptWeights(
        distance="1@20,3@60", realism=0.0, edit_strength="0@10,1@20", variety="0.2@0,1@40"
    )
    found = [weights.at(kimg) for kimg in (0, 15, 40, 100)]
    expected = [[1, 1, 0, 0.2], [1, 1, 0.5, 0.5], [1, 2, 1, 1], [1, 3, 1, 1]]
    np.testing.assert_allclose(found, expected)
    rates = [CONFIG.rate(step) for step in range(CONFIG.num_steps + 1)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == (CONFIG.learning_rate, pytest.approx(0.0))


class TestFolder:
    def test_the_same_settings_go_on(self, tmp_path: Path) -> None:
        first = AdoptFolder(str(tmp_path), CONFIG)
        first._lock.close()
        assert AdoptFolder(str(tmp_path), CONFIG).path == first.path
        assert first.path.name == "00000-adopt-theirs-6bits"

    @pytest.mark.parametrize(
        "change", [{"network": "other"}, {"seed": 4}, {"distance": 2.0}, {"embedding": "styles"}]
    )
    def test_other_settings_begin_anew(self, tmp_path: Path, change: dict[str, Any]) -> None:
        first = AdoptFolder(str(tmp_path), CONFIG)
        first._lock.close()
        other = AdoptFolder(str(tmp_path), replace(CONFIG, **change))
        assert other.path != first.path

    def test_one_in_use_or_finished_is_left_alone(self, tmp_path: Path) -> None:
        first = AdoptFolder(str(tmp_path), CONFIG)
        second = AdoptFolder(str(tmp_path), CONFIG)
        assert first.path != second.path
        for folder in (first, second):
            (folder.path / "_finished.txt").touch()
            folder._lock.close()
        third = AdoptFolder(str(tmp_path), CONFIG)
        assert third.path not in (first.path, second.path)

    def test_settings_that_cannot_be_read(self, tmp_path: Path) -> None:
        first = AdoptFolder(str(tmp_path), CONFIG)
        first._lock.close()
        (first.path / "adopt_options.json").write_text("{")
        assert AdoptFolder(str(tmp_path), CONFIG).path != first.path


def test_realism_needs_a_judge() -> None:
    original = make_file(None)
    decoder = make_adopted_decoder(original, CONFIG)
    with pytest.raises(UserError, match="needs the discriminator, which --network lacks"):
        Adoption(CONFIG, original, adopt(original, 6), decoder, PLAIN, 1)


def test_gradients_that_are_never_finite(tmp_path: Path) -> None:
    adopted = make(replace(CONFIG, kimg=0.24, tick_kimg=0.24))
    adopted._decoder.named_trainables()["Output/bias"].assign([np.nan] * 10)
    with pytest.raises(UserError, match="50 steps in a row were not finite; start anew .*smaller"):
        adopted.run(tmp_path, 60)


def test_channels_that_are_no_edits() -> None:
    with pytest.raises(UserError, match="wobble"):
        make(replace(CONFIG, immunize="wobble"))
