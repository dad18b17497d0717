"""Writes results as users know them, `metric-<name>.txt`, and as JSON lines with all settings."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnnlib.format import format_time
from dnnlib.run_dir import append_line
from metrics.metric import MetricResult

_WIDTH = 29


def format_line(result: MetricResult, snapshot_name: str) -> str:
    """The published line: snapshot, elapsed time, then every value behind its name.

    Of a name longer than 29 letters the end is shown, as published.
    """
    if len(snapshot_name) > _WIDTH:
        snapshot_name = f"...{snapshot_name[3 - _WIDTH :]}"
    values = "".join(f" {name} {value:<10.4f}" for name, value in result.values.items())
    return f"{snapshot_name:<{_WIDTH + 1}s} time {format_time(result.seconds):<12s}{values}"


def report(
    result: MetricResult,
    run_dir: str | os.PathLike[str],
    snapshot_name: str,
    extra_settings: Mapping[str, Any] | None = None,
) -> str:
    """Appends the result to `metric-<name>.txt` and `metric-<name>.jsonl` in the run folder.

    Args:
        result: what `evaluate` returned.
        run_dir: an existing folder.
        snapshot_name: of the network, without folder and ending.
        extra_settings: further settings for the JSON line, for example the network's path.

    Returns:
        The line, without line break.

    Raises:
        UserError: the folder cannot be written.
    """
    line = format_line(result, snapshot_name)
    record = {
        "metric": result.metric,
        "snapshot": snapshot_name,
        "values": result.values,
        "larger_is_better": result.larger_is_better,
        "seconds": round(result.seconds, 3),
        "num_images": result.num_images,
        **result.details,
        "settings": {**result.settings, **(extra_settings or {})},
    }
    stem = f"metric-{result.metric}"
    append_line(Path(run_dir) / f"{stem}.txt", line)
    append_line(Path(run_dir) / f"{stem}.jsonl", json.dumps(record))
    return line
