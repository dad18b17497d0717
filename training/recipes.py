"""`--recipe=recommended`: what was learned since the method was published, for any configuration.

docs/training.md has the measurements. The networks stay those of the configuration, but for the
mapping of the fingerprint.
"""

from dataclasses import replace
from typing import Any

from training.ramps import Ramp

# When the fingerprint begins to be made invisible, and when that weight is reached, as shares of
# the run: bits first.
RAMP = (0.35, 0.8)
RAMP_FACTOR = 8.0


def recommended(preset: Any, total_kimg: float) -> Any:
    """A preset with what is recommended; the resolution decides about gamma later.

    Args:
        preset: a `config.Preset`.
        total_kimg: length of the run.
    """
    decouple: Ramp = preset.loss.decouple
    if not isinstance(decouple, str):  # else the preset has a ramp of its own
        begin, end = (share * total_kimg for share in RAMP)
        decouple = f"{decouple:g}@{begin:g},{decouple * RAMP_FACTOR:g}@{end:g}"
    return replace(
        preset,
        mapping="orthogonal",
        channel="clip" if preset.channel == "identity" else preset.channel,
        auto_gamma=True,
        loss=replace(preset.loss, decouple=decouple),
        schedule=replace(preset.schedule, ema_rampup=0.05),
    )
