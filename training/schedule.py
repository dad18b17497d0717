"""What changes during a run: the learning rates, as a function of the images shown."""

from typing import Any, NamedTuple

from training.config import TrainConfig
from training.ramps import value_at


class Rates(NamedTuple):
    """Learning rates by network, numbers or scalar tensors."""

    G: Any
    E: Any
    D: Any


class Strengths(NamedTuple):
    """How strong the channels with chance are, 0 to 1: numbers or scalar tensors."""

    channel: Any  # between generator and decoder


def learning_rates(config: TrainConfig, num_images: int) -> Rates:
    """Learning rates of G, E and D after `num_images` real images were shown.

    Constant as published; with `decay_kimg` they fall linearly to the share `final_lr` at the end.
    """
    schedule = config.schedule
    factor = 1.0
    if schedule.decay_kimg > 0:
        left = (config.total_kimg - num_images / 1000) / schedule.decay_kimg
        factor = schedule.final_lr + (1 - schedule.final_lr) * min(max(left, 0.0), 1.0)
    return Rates(schedule.g_lr * factor, schedule.e_lr * factor, schedule.d_lr * factor)


def ema_beta(config: TrainConfig, num_images: int) -> float:
    """How much of the generator average Gs stays in an iteration.

    0.5 ** (minibatch / half-life) as published; with `ema_rampup` the half-life is at most that
    share of the images shown (Karras et al., arXiv 2006.06676, whose share is 0.05), so that Gs
    forgets its beginning.
    """
    half_life = config.schedule.ema_kimg * 1000
    if config.schedule.ema_rampup:
        half_life = min(half_life, max(num_images, 1) * config.schedule.ema_rampup)
    return float(0.5 ** (config.minibatch / half_life))


def strengths(config: TrainConfig, num_images: int) -> Strengths:
    """Strengths of the channels after `num_images` real images were shown."""
    return Strengths(value_at(config.schedule.channel_strength, num_images / 1000))


def lazy_ratio(interval: int) -> float:
    """c = interval / (interval + 1); 1 where there is no regularisation (interval 0)."""
    return interval / (interval + 1) if interval else 1.0
