"""What published scripts and dashboards read: tags with their values, lines, kimg of a snapshot."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from metrics.metric import MetricResult
from metrics.report import format_line
from tests.support.small_steps import PHASES, make_steps
from training.adam import Adam
from training.config import LossConfig, setup_training_config
from training.options import TrainOptions
from training.origin import find_origin
from training.progress_log import MAX_IN_A_ROW, Statistics
from training.tick import published_scalars

# As the published code writes them: terms of the loss with their weights, regularisers without.
MEANS = {
    "loss_G": 0.7,
    "loss_decouple": 0.3,
    "loss_E_latents": 0.9,
    "loss_E_watermarks": 0.6,
    "pl_lengths": 3.0,
    "pl_penalty": 8.0,  # times its weight, 2
    "gradient_penalty": 5.0,  # times gamma / 2
    "scores/real": 0.1,
    "bit_accuracy": 0.75,
    "skipped/G": 0.25,
    "skipped/G_reg": 0.5,
}


def test_tags_have_the_published_values() -> None:
    config = setup_training_config(TrainOptions(dataset="x", config="config-e"), 128, 3)
    assert config.loss == LossConfig(decouple=2.0, latent=1.0, bits=2.0, gamma=100.0)
    assert published_scalars(config, MEANS, 0) == pytest.approx({
        "Loss/loss_G": 0.7,
        "Loss/loss_decouple": 0.6,
        "Loss/loss_E_latents": 0.9,
        "Loss/loss_E_watermarks": 1.2,
        "Loss/pl_lengths": 3.0,
        "Loss/pl_penalty": 4.0,
        "Loss/gradient_penalty": 0.1,
        "Loss/scores/real": 0.1,
        "Progress/bit_accuracy": 0.75,
        "TrainG/overflow_frequency": 0.25,
    })  # fmt: skip


def test_without_gamma_the_gradients_length_cannot_be_told() -> None:
    config = setup_training_config(TrainOptions(dataset="x", gamma=0.0), 128, 3)
    assert "Loss/gradient_penalty" not in published_scalars(config, MEANS, 0)


@pytest.mark.parametrize("length", [5, 29, 30, 64])
def test_a_metric_line_is_read_as_published_ones_are(length: int) -> None:
    """Names of 30 letters at most, two spaces of fields, then pairs of a name and a figure."""
    name = ("n" * (length - 6) + "000300")[-length:]
    values = {"m_fid": 12.5, "m_watermark_bit_accuracy": 0.99, "m_watermark_bit_accuracy_uint8": 1}
    result = MetricResult("m", values, dict.fromkeys(values, True), 187.0, 1000)
    line = format_line(result, name)
    shown, rest = line[:30].rstrip(), line[30:]
    assert shown == (name if length <= 29 else f"...{name[-26:]}")
    match = re.fullmatch(r" time (\S+(?: \S+)*?)\s{2,}(.*)", rest)
    assert match
    assert match[1] == "3m 07s"
    fields = match[2].split()
    pairs = dict(zip(fields[::2], map(float, fields[1::2]), strict=True))
    assert pairs == pytest.approx(values)


# Gradients that are not finite


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("graph", [False, True])
def test_an_update_that_is_not_finite_is_skipped(bad: float, graph: bool) -> None:
    """All of it, the optimiser's own state included; the next one is as if it had not been."""
    variables = [{k: tf.Variable([1.0, 2.0]) for k in "ab"} for _ in range(2)]
    ours, expected = (Adam(each, beta1=0.5) for each in variables)
    good = [tf.constant([0.1, -0.2]), tf.constant([0.3, 0.4])]
    apply = tf.function(ours.apply) if graph else ours.apply
    rate = tf.constant(0.01)
    for gradients in (good, [good[0], tf.constant([1.0, bad])], good):
        skipped = apply(gradients, rate)
        assert float(skipped) == (gradients is not good)
        if gradients is good:
            expected.apply(gradients, rate)
    assert int(ours.updates) == 2
    for mine, theirs in zip(ours.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for name in "ab":
        np.testing.assert_array_equal(variables[0][name], variables[1][name])


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["generator", "path_length", "discriminator", "r1"])
def test_a_step_whose_gradients_are_not_finite_changes_nothing(
    phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trainable, moment, or mean; of the discriminator's step the average goes on."""
    tf.config.run_functions_eagerly(True)
    try:
        steps = make_steps()
        name = f"{phase}_gradients"
        compute = steps._compiled[name]

        def spoilt(*inputs: Any) -> Any:
            gradients, stats = compute(*inputs)
            stats = {key: value * np.nan for key, value in stats.items()}
            return [gradient * np.nan for gradient in gradients], stats

        monkeypatch.setitem(steps._compiled, name, spoilt)
        before = {v.ref(): tf.identity(v) for v in steps.variables}
        averages = {v.ref() for v in steps.average.variables}
        stats = PHASES[phase](steps, 2)
        skipped = {name: float(value) for name, value in stats.items() if "skipped" in name}
        assert skipped
        assert set(skipped.values()) == {1.0}
        for variable in steps.variables:
            if variable.ref() not in averages:
                np.testing.assert_array_equal(variable, before[variable.ref()])
            assert np.isfinite(variable).all()
    finally:
        tf.config.run_functions_eagerly(False)


def test_statistics_leave_out_what_is_not_finite() -> None:
    statistics = Statistics()
    for value in (1.0, np.nan, 3.0, np.inf):
        statistics.add({"a": tf.constant(value), "skipped/D": tf.constant(float(value > 3))})
    means, skipped = statistics.take_means()
    assert means == {"a": 2.0, "skipped/D": 0.25}
    assert skipped == 1
    assert statistics.take_means() == ({}, 0)


@pytest.mark.parametrize(
    ("stats", "named"),
    [
        ({"loss_D": np.nan, "skipped/D": 1.0}, "loss_D"),
        ({"loss_D": 1.0, "skipped/D": 1.0}, "the gradients of D"),
    ],
)
def test_several_in_a_row_end_the_run(stats: dict[str, float], named: str) -> None:
    """By the statistic's name where one tells; those before and between do not count."""
    statistics = Statistics()
    good = {"loss_D": tf.constant(1.0), "skipped/D": tf.constant(0.0)}
    bad = {name: tf.constant(value) for name, value in stats.items()}
    for _ in range(3):
        for _ in range(MAX_IN_A_ROW - 1):
            statistics.add(bad)
        statistics.add(good)
    statistics.take_means()
    for _ in range(MAX_IN_A_ROW):
        statistics.add(bad)
    with pytest.raises(Exception, match=f"training diverged: {named} not finite"):
        statistics.take_means()


# Where the training of a published snapshot stood


def test_kimg_by_the_name() -> None:
    origin = find_origin("somewhere/network-snapshot-000300.pkl", {})
    assert (origin.num_images, origin.source) == (300_000, "by its name")
    assert find_origin("https://x/network-snapshot-010000.pkl?a=b", {}).num_images == 10_000_000


def test_kimg_by_the_log_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "network-final.pkl"
    assert find_origin(str(path), {}).num_images == 0
    (tmp_path / "log.txt").write_text(
        "Training...\n"
        "tick 0     kimg 0.1      lod 0.00  minibatch 32   time 45s          sec/tick 45.0\n"
        "tick 1     kimg 145.3    lod 0.00  minibatch 32   time 1h 02m 03s   sec/tick 45.0\n"
        "network-snapshot-000145        time 3m 07s       fid50k 12.5\n"
    )
    origin = find_origin(str(path), {})
    assert origin.num_images == 145_300
    assert "log.txt" in origin.source


def test_our_own_snapshot_says_it_itself() -> None:
    position = {"num_images": 64, "iteration": 2, "pl_mean": 0.5}
    origin = find_origin("network-snapshot-000300.pkl", position)
    assert (origin.num_images, origin.iteration, origin.pl_mean) == (64, 2, 0.5)
