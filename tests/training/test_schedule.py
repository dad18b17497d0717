"""Learning rates over a run."""

import dataclasses

import pytest

from training.config import (
    PRESETS,
    ScheduleConfig,
    TrainConfig,
    TrainOptions,
    setup_training_config,
)
from training.schedule import ema_beta, learning_rates, strengths


def make_config(**schedule: float) -> TrainConfig:
    """100 kimg with rates that can be told apart."""
    config = setup_training_config(TrainOptions(dataset="d"), 32, 3)
    rates = ScheduleConfig(g_lr=0.01, e_lr=0.02, d_lr=0.03, **schedule)  # type: ignore[arg-type]
    return dataclasses.replace(config, total_kimg=100.0, schedule=rates)


def rates_at(config: TrainConfig, kimg: float) -> tuple[float, float, float]:
    return learning_rates(config, round(kimg * 1000))


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if name.startswith(("config-e", "config-f"))]
)
@pytest.mark.parametrize("num_images", [0, 1, 100_000, 88_000_000, 10**9])
def test_published_rates_are_constant(name: str, num_images: int) -> None:
    config = setup_training_config(TrainOptions(dataset="d", config=name), 128, 3)
    assert learning_rates(config, num_images) == (0.002, 0.002, 0.002)


def test_every_network_has_its_rate() -> None:
    assert rates_at(make_config(), 50) == (0.01, 0.02, 0.03)


def test_decay() -> None:
    """The last 40 kimg: linear from the full rates to a tenth, and no further."""
    config = make_config(decay_kimg=40.0, final_lr=0.1)
    for kimg, share in ((0, 1.0), (60, 1.0), (80, 0.55), (90, 0.325), (100, 0.1), (120, 0.1)):
        expected = (0.01 * share, 0.02 * share, 0.03 * share)
        assert rates_at(config, kimg) == pytest.approx(expected)


def test_decay_of_runs_shorter_than_itself() -> None:
    config = make_config(decay_kimg=200.0, final_lr=0.0)
    assert rates_at(config, 0)[0] == pytest.approx(0.005)
    assert rates_at(config, 100)[0] == 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sane(name: str) -> None:
    """Rates that Adam can live with, never growing."""
    config = setup_training_config(TrainOptions(dataset="d", config=name), 128, 3)
    course = [rates_at(config, config.total_kimg * i / 100) for i in range(101)]
    for rates in zip(*course, strict=True):
        assert 0 < min(rates) <= max(rates) < 0.1
        assert list(rates) == sorted(rates, reverse=True)


def test_average_forgets_its_beginning() -> None:
    """The half-life is at most the share of the images shown, as Karras et al. have it."""
    published = make_config()
    assert ema_beta(published, 0) == ema_beta(published, 10**6) == 0.5 ** (8 / 10_000)
    rampup = make_config(ema_rampup=0.05)
    assert ema_beta(rampup, 0) < 1e-9
    assert ema_beta(rampup, 100_000) == pytest.approx(0.5 ** (8 / 5_000))
    assert ema_beta(rampup, 200_000) == ema_beta(rampup, 10**6) == 0.5 ** (8 / 10_000)


def test_edits_become_stronger() -> None:
    config = make_config(channel_strength="0@10,1@30")
    found = [strengths(config, kimg * 1000).channel for kimg in (0, 10, 15, 30, 100)]
    assert found == pytest.approx([0, 0, 0.25, 1, 1])
    assert strengths(make_config(), 0).channel == 1.0
