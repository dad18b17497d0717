"""Learning rates and weights over a run."""

import dataclasses

import pytest

from training.config import (
    PRESETS,
    LossConfig,
    ScheduleConfig,
    TrainConfig,
    TrainOptions,
    setup_training_config,
)
from training.schedule import Moment, moment


def make_config(**schedule: float) -> TrainConfig:
    """100 kimg with weights and rates that can be told apart."""
    config = setup_training_config(TrainOptions(dataset="d"), 32, 3)
    return dataclasses.replace(
        config,
        total_kimg=100.0,
        loss=LossConfig(decouple=3.0, latent=5.0, bits=7.0),
        schedule=ScheduleConfig(g_lr=0.01, e_lr=0.02, d_lr=0.03, **schedule),  # type: ignore[arg-type]
    )


def kimg(config: TrainConfig, value: float) -> Moment:
    return moment(config, round(value * 1000))


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if name.startswith(("config-e", "config-f"))]
)
@pytest.mark.parametrize("num_images", [0, 1, 100_000, 88_000_000, 10**9])
def test_published_schedules_are_constant(name: str, num_images: int) -> None:
    config = setup_training_config(TrainOptions(dataset="d", config=name), 128, 3)
    assert moment(config, num_images) == Moment(
        bits_only=False,
        learning_rates=(0.002, 0.002, 0.002),
        weights=(1.0, 2.0, 1.0, 2.0),
    )


def test_bits_come_first() -> None:
    config = make_config(bits_kimg=10.0, bits_lr=0.5)
    first = Moment(True, (0.5, 0.5, 0.0), (0.0, 0.0, 5.0, 7.0))
    assert kimg(config, 0) == first
    assert kimg(config, 9.999) == first
    later = Moment(False, (0.01, 0.02, 0.03), (1.0, 3.0, 5.0, 7.0))
    assert kimg(config, 10) == later
    assert kimg(config, 99) == later


def test_ramp() -> None:
    """Realism and decoupling grow linearly from nothing; the decoder's weights stay."""
    config = make_config(bits_kimg=10.0, ramp_kimg=20.0)
    for position, share in ((10, 0.0), (15, 0.25), (20, 0.5), (30, 1.0), (80, 1.0)):
        assert kimg(config, position).weights == pytest.approx((share, 3 * share, 5.0, 7.0))
        assert kimg(config, position).learning_rates == (0.01, 0.02, 0.03)


def test_decay() -> None:
    """The last 40 kimg: linear from the full rates to a tenth, and no further."""
    config = make_config(decay_kimg=40.0, final_lr=0.1)
    for position, share in ((0, 1.0), (60, 1.0), (80, 0.55), (90, 0.325), (100, 0.1), (120, 0.1)):
        assert kimg(config, position).learning_rates == pytest.approx(
            (0.01 * share, 0.02 * share, 0.03 * share)
        )
        assert kimg(config, position).weights == (1.0, 3.0, 5.0, 7.0)


def test_decay_covers_runs_shorter_than_itself() -> None:
    config = make_config(decay_kimg=200.0, final_lr=0.0)
    assert kimg(config, 0).learning_rates[0] == pytest.approx(0.005)
    assert kimg(config, 100).learning_rates[0] == 0.0


def test_every_preset_is_steady() -> None:
    """No preset jumps in its weights but at the end of the bits alone, and all rates are sane."""
    for name in PRESETS:
        config = setup_training_config(TrainOptions(dataset="d", config=name), 128, 3)
        steps = [kimg(config, config.total_kimg * i / 1000) for i in range(1001)]
        for now in steps:
            g, e, d = now.learning_rates
            assert 0 < g < 0.1
            assert 0 < e < 0.1
            assert (d == 0) == now.bits_only
            assert min(now.weights) >= 0
            assert now.weights[3] > 0
        joined = [now.bits_only for now in steps]
        assert joined == sorted(joined, reverse=True)
        assert steps[-1].weights[0] == 1.0
