"""What changes during a run: the learning rates, as a function of the images shown."""

from typing import Any, NamedTuple

from training.config import TrainConfig


class Rates(NamedTuple):
    """Learning rates by network, numbers or scalar tensors."""

    G: Any
    E: Any
    D: Any


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


def lazy_ratio(interval: int) -> float:
    """c = interval / (interval + 1); 1 where there is no regularisation (interval 0)."""
    return interval / (interval + 1) if interval else 1.0
