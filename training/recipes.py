"""`--recipe=recommended`: what was learned since the method was published, for any configuration.

docs/training.md has the measurements. The networks stay those of the configuration, but for the
mapping of the fingerprint.
"""

from dataclasses import replace
from typing import Any

from training.ramps import Ramp, value_at

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
    begin, end = (share * total_kimg for share in RAMP)
    low = value_at(preset.loss.decouple, 0)
    decouple: Ramp = f"{low:g}@{begin:g},{low * RAMP_FACTOR:g}@{end:g}"
    if isinstance(preset.loss.decouple, str):
        decouple = preset.loss.decouple  # a preset that has its own
    return replace(
        preset,
        mapping="linear",
        channel="clip" if preset.channel == "identity" else preset.channel,
        auto_gamma=True,
        loss=replace(preset.loss, decouple=decouple),
        schedule=replace(preset.schedule, ema_rampup=0.05),
    )
