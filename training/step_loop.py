"""Training step by step with one optimiser: checkpoints, stops, the bar. Of decoders alone, and of
what fingerprints add to a generator that is frozen."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf
from tqdm import tqdm

from dnnlib.config import differences
from dnnlib.errors import Terminated, UserError
from dnnlib.interrupts import interrupts
from training.checkpoint import Checkpoints, Cures

LOOK = 50  # steps between two looks at how it goes

Stats = dict[str, tf.Tensor]


class Steps(Protocol):
    """Owns the optimiser and everything that it changes."""

    def step(self, step: tf.Tensor, rate: tf.Tensor) -> Stats:
        """Makes the step of this number, int64, at a learning rate; returns statistics."""

    def variables_by_name(self) -> dict[str, tf.Variable]:
        """Everything that the steps change, by names that do not change."""

    def num_updates(self) -> int:
        """How often it was changed; a step whose gradients are not finite is skipped."""


class Settings(Protocol):
    """How many steps of which size."""

    @property
    def num_steps(self) -> int:
        """How many minibatches."""

    @property
    def minibatch(self) -> int:
        """Pictures of a step."""

    def rate(self, step: int) -> float:
        """Learning rate of a step."""


@dataclass(frozen=True)
class StepPosition:
    """Where it is, beside its variables."""

    step: int
    elapsed: float  # seconds, those of earlier processes included
    before: dict[str, float]  # bit accuracy by edit before the first step
    environment: dict[str, Any] = field(default_factory=dict)


def run_steps(
    steps: Steps,
    settings: Settings,
    folder: Path,
    *,
    what: str,
    cures: Cures,
    environment: dict[str, Any],
    minutes: float,
    say: Callable[[str], None],
    measure: Callable[[], dict[str, float]],
    begin: Callable[[StepPosition], None] = lambda position: None,
    after: Callable[[StepPosition, Stats], None] = lambda position, stats: None,
) -> StepPosition:
    """Goes on from the newest checkpoint in a folder until the end, which has a checkpoint as well.

    Args:
        steps: what is trained.
        settings: of it.
        folder: for checkpoints; this process has locked it.
        what: the name of this, for error texts.
        cures: what errors say to do.
        environment: of `resume.environment_of`.
        minutes: between two checkpoints.
        say: prints a line.
        measure: what `StepPosition.before` shall be; called before the first step.
        begin: called with the position before the first step of this process.
        after: called behind every step, with the position that it led to.

    Raises:
        UserError: a variable is not finite, or a checkpoint cannot be read or written.
        KeyboardInterrupt, Terminated: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    kept = Checkpoints(folder, steps.variables_by_name(), 2, StepPosition, cures)
    position = kept.restore()
    if position is None:
        position = StepPosition(0, 0.0, measure(), environment)
    else:
        say(f"going on at {position.step * settings.minibatch / 1000:.1f} kimg")
        if different := differences(position.environment, environment):
            say(
                f"warning: {', '.join(different)}: it goes on, but not to the bit as if it had "
                "never stopped"
            )
    begun = saved = time.monotonic()
    updates = steps.num_updates()
    first, before, elapsed = position.step, position.before, position.elapsed

    def position_at(step: int) -> StepPosition:
        return StepPosition(step, elapsed + time.monotonic() - begun, before, environment)

    begin(position)
    stopped = None
    with (
        interrupts() as interrupted,
        tqdm(
            total=settings.num_steps, initial=first, unit="step", file=sys.stderr, disable=None
        ) as progress,
    ):
        for step in range(first, settings.num_steps):
            if interrupted.is_set:
                kept.save(position_at(step))
                stopped = interrupted.signal
                break
            stats = steps.step(
                tf.constant(step, tf.int64), tf.constant(settings.rate(step), tf.float32)
            )
            progress.update()
            after(position_at(step + 1), stats)
            if step % LOOK == LOOK - 1:
                before_look, updates = updates, steps.num_updates()
                if updates == before_look:
                    raise UserError(
                        f"{what} diverged: the gradients of {LOOK} steps in a row were not "
                        f"finite; {cures.diverged}"
                    )
                accuracies = (stats["bit_accuracy"], stats["bit_accuracy_edited"])
                shown = " edited ".join(f"{float(value):.3f}" for value in accuracies)
                progress.set_postfix_str(f"bits {shown}")
            if time.monotonic() - saved >= minutes * 60:
                kept.save(position_at(step + 1))
                saved = time.monotonic()
    if stopped is not None:
        say(f"stopped; the same command goes on with {folder}")
        raise Terminated if stopped == signal.SIGTERM else KeyboardInterrupt
    end = position_at(settings.num_steps)
    kept.save(end)
    return end
