"""Where a run is, beside its variables: one object that owns it."""

import time
from dataclasses import dataclass, field

from training.progress_log import Statistics


@dataclass
class RunState:
    """Where a run is. Checkpoints keep it as `checkpoint.Position`."""

    iteration: int = 0
    num_images: int = 0  # real images shown
    tick: int = -1  # number of the last tick; -1: there was none
    tick_images: int = 0  # real images shown at the last tick
    outputs_due: bool = False  # grids, snapshot and metrics of the last tick are to be written
    skipped_updates: int = 0  # up to the last tick, since their gradients were not finite
    statistics: Statistics = field(default_factory=Statistics)  # since the last tick
    bit_exact: bool = True  # whether what the weights' bits depend on was the same all the time
    elapsed: float = 0.0  # seconds of training in earlier processes
    started: float = field(default_factory=time.time)  # when this process began to train

    @property
    def kimg(self) -> float:
        """Real images shown, in thousands."""
        return self.num_images / 1000

    def seconds(self) -> float:
        """Seconds of training, those between its processes left out."""
        return self.elapsed + time.time() - self.started
