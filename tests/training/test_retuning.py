"""Retuning: the decoder alone learns, to the bit whatever stops it, and a report says what."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import Terminated, UserError
from dnnlib.tflib.execution import PLAIN
from training import retuning
from training.channels import find_channel
from training.checkpoint import list_checkpoints
from training.edits.probes import PROBES
from training.networks.configs import DecoderConfig, GeneratorConfig
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.retune_steps import RetuneSteps
from training.retuning import RetuneConfig, Retuning, WorkFolder

SIZES = {"resolution": 8, "num_channels": 3, "latent_size": 4, "fingerprint_size": 6}
CONFIG = RetuneConfig("hash", immunize="flip,noise", kimg=0.032, minibatch=4, seed=3)


def make_networks() -> tuple[Generator, Decoder]:
    widths = {"fmap_base": 64, "fmap_max": 8}
    generator = Generator(GeneratorConfig(**SIZES, **widths, dlatent_size=8), seed=1)
    return generator, Decoder(DecoderConfig(**SIZES, **widths), seed=2)


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retuning, "_REPORT_SEEDS", range(100, 108))


def make(config: RetuneConfig = CONFIG) -> tuple[Retuning, Generator, Decoder]:
    generator, decoder = make_networks()
    return Retuning(config, generator, decoder, PLAIN, 1), generator, decoder


def values_of(network: Generator | Decoder) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in network.named_variables().items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_the_decoder_alone_learns(tmp_path: Path) -> None:
    work, generator, decoder = make()
    before = values_of(generator), values_of(decoder)
    report = work.run(tmp_path, 60, print)
    assert same(before[0], values_of(generator))
    assert not same(before[1], values_of(decoder))
    assert list(report.before) == list(report.after) == ["none", *PROBES]
    assert report.settings["kimg"] == 0.032


def test_bits_are_learned(tmp_path: Path) -> None:
    """Of a generator that paints them, in colours that mirroring leaves."""
    config = replace(CONFIG, immunize="flip", kimg=4.0, minibatch=16)
    work, _, _ = make(config)
    report = work.run(tmp_path, 60, print)
    assert report.after["flip"] > report.before["flip"] + 0.1
    assert report.after["none"] > report.before["none"] + 0.1


class Stop(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("at", [1, 5, 8])
def test_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Stopped behind a checkpoint that is older than the last step."""
    whole, _, expected = make()
    expected_report = whole.run(tmp_path / "whole", 60, print)
    stopped, _, _ = make()
    run_step, steps = stopped._steps.step, []

    def step(number: tf.Tensor, rate: tf.Tensor) -> dict[str, tf.Tensor]:
        if len(steps) == at:
            raise Stop
        steps.append(int(number))
        return run_step(number, rate)

    monkeypatch.setattr(stopped._steps, "step", step)
    folder = tmp_path / "stopped"
    with pytest.raises(Stop) if at < 8 else pytest.MonkeyPatch.context():
        stopped.run(folder, 0, print)  # a checkpoint behind every step
    assert list_checkpoints(folder)
    again, _, decoder = make()
    said: list[str] = []
    report = again.run(folder, 60, said.append)
    assert "going on" in said[0]
    assert same(values_of(expected), values_of(decoder))
    assert (report.before, report.after) == (expected_report.before, expected_report.after)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_signals_leave_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]
) -> None:
    work, _, _ = make()
    run_step = work._steps.step

    def step(at: tf.Tensor, rate: tf.Tensor) -> dict[str, tf.Tensor]:
        if int(at) == 3:
            signal.raise_signal(number)
        return run_step(at, rate)

    monkeypatch.setattr(work._steps, "step", step)
    with pytest.raises(error):
        work.run(tmp_path, 60, print)
    position = json.loads((list_checkpoints(tmp_path)[-1] / "position.json").read_text())
    assert position["step"] == 4


def test_rate_falls_to_nothing() -> None:
    rates = [CONFIG.rate(step) for step in range(CONFIG.num_steps + 1)]
    assert rates[0] == CONFIG.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0)


def test_xla_gives_the_gradients_of_plain_tensorflow() -> None:
    generator, decoder = make_networks()
    channel = find_channel("flip,jpeg,brightness")
    steps = RetuneSteps(generator, decoder, channel, minibatch=4, seed=3, execution=PLAIN)
    inputs = steps.draw(tf.constant(0, tf.int64))
    arguments = (inputs.latents, inputs.codes, inputs.noise, inputs.draws)
    plain, stats = steps.gradients(*arguments)
    compiled, stats_compiled = tf.function(steps.gradients, jit_compile=True)(*arguments)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(one).max() + 1e-9)
    assert float(stats["bits"]) == pytest.approx(float(stats_compiled["bits"]), rel=1e-4)


class TestWorkFolder:
    def test_of_another_retuning(self, tmp_path: Path) -> None:
        out = tmp_path / "new.pkl"
        WorkFolder(out, CONFIG)._lock.close()
        with pytest.raises(UserError, match="unfinished retuning of other settings: seed"):
            WorkFolder(out, replace(CONFIG, seed=4))

    def test_in_use(self, tmp_path: Path) -> None:
        held = WorkFolder(tmp_path / "new.pkl", CONFIG)
        with pytest.raises(UserError, match="in use by another process"):
            WorkFolder(tmp_path / "new.pkl", CONFIG)
        held.remove()
        assert not held.path.exists()

    def test_result_is_not_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "new.pkl").touch()
        with pytest.raises(UserError, match="exists already"):
            WorkFolder(tmp_path / "new.pkl", CONFIG)

    def test_no_place(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="nowhere"):
            WorkFolder(tmp_path / "nowhere" / "new.pkl", CONFIG)


def test_gradients_that_are_never_finite(tmp_path: Path) -> None:
    """The decoder stays, and a line says so."""
    work, _, decoder = make(replace(CONFIG, kimg=0.24))
    decoder.named_trainables()["Output/bias"].assign_add([np.inf] * 10)
    with pytest.raises(UserError, match="50 steps in a row were not finite; delete .*smaller"):
        work.run(tmp_path, 60, print)


def test_channels_that_are_no_edits() -> None:
    with pytest.raises(UserError, match="names no edits"):
        make(replace(CONFIG, immunize="clip"))
