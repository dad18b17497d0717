"""What changes during a run: learning rates and loss weights as a function of the images shown."""

from dataclasses import dataclass

from training.config import ScheduleConfig, TrainConfig


@dataclass(frozen=True)
class Moment:
    """Settings at one point of a run."""

    bits_only: bool  # the decoder losses alone, no discriminator yet
    learning_rates: tuple[float, float, float]  # G, E, D
    weights: tuple[float, float, float, float]  # adversarial, decouple, latent, bits


def moment(config: TrainConfig, num_images: int) -> Moment:
    """The settings after `num_images` real images were shown (or would have been).

    With all lengths 0, as published, rates and weights are constant. Otherwise first the bits
    alone, then realism and decoupling grow linearly to their weights, and at the end the learning
    rates fall linearly.
    """
    schedule = config.schedule
    kimg = num_images / 1000
    loss = config.loss
    if kimg < schedule.bits_kimg:
        rate = schedule.bits_lr
        return Moment(True, (rate, rate, 0.0), (0.0, 0.0, loss.latent, loss.bits))
    ramp = 1.0
    if schedule.ramp_kimg > 0:
        ramp = min((kimg - schedule.bits_kimg) / schedule.ramp_kimg, 1.0)
    decay = _decay(schedule, kimg, config.total_kimg)
    rates = (schedule.g_lr * decay, schedule.e_lr * decay, schedule.d_lr * decay)
    return Moment(False, rates, (ramp, ramp * loss.decouple, loss.latent, loss.bits))


def _decay(schedule: ScheduleConfig, kimg: float, total_kimg: float) -> float:
    """Factor of the learning rates: 1, then linear down to `final_lr` at the end of the run."""
    if schedule.decay_kimg <= 0:
        return 1.0
    left = min(max((total_kimg - kimg) / schedule.decay_kimg, 0.0), 1.0)
    return schedule.final_lr + (1 - schedule.final_lr) * left
