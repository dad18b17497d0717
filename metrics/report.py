"""Writes results as users know them, `metric-<name>.txt`, and as JSON lines with all settings."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnnlib.atomic import write_error
from dnnlib.format import format_time
from metrics.metric import MetricResult


def format_line(result: MetricResult, snapshot_name: str) -> str:
    """The line of a result: snapshot, elapsed time, then every value behind its name."""
    values = "".join(f" {name} {value:<10.4f}" for name, value in result.values.items())
    return f"{snapshot_name:<30s} time {format_time(result.seconds):<12s}{values}"


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


def append_line(path: Path, line: str) -> None:
    """Appends one line in a single write, so that no half line is left by an interrupt.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(f"{line}\n".encode())
    except OSError as error:
        raise write_error(path, error) from error
