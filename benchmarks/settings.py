"""The networks that are measured, under the names that the tables use."""

import dataclasses
from typing import Any

from training.config import TrainConfig, setup_training_config
from training.options import TrainOptions


@dataclasses.dataclass(frozen=True)
class Setting:
    """A preset, and what differs from it."""

    config: str = "config-e-Gskip-Dresnet"
    resolution: int = 128
    num_bits: int | None = None  # None: the preset's
    minibatch: int = 4  # images per iteration, all at a time
    fmaps: dict[str, int] = dataclasses.field(default_factory=dict)  # fmap_base, fmap_max

    def make_config(self, **options: Any) -> TrainConfig:
        """The configuration of such a run; `options` are fields of TrainOptions."""
        chosen = {
            "dataset": "none",
            "config": self.config,
            "watermark_size": self.num_bits,
            "minibatch": self.minibatch,
            "minibatch_gpu": self.minibatch,
            **options,
        }
        config = setup_training_config(TrainOptions(**chosen), self.resolution, 3)
        networks = {
            name: dataclasses.replace(getattr(config, name), **self.fmaps)
            for name in ("G", "D", "E")
        }
        return dataclasses.replace(config, **networks)


SETTINGS = {
    "128x128": Setting(resolution=128, num_bits=128, minibatch=4),
    "32x32": Setting(
        resolution=32,
        num_bits=32,
        minibatch=16,
        fmaps={"fmap_base": 1024, "fmap_max": 128},
    ),
}
