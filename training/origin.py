"""Where the training of a snapshot stood, from which a new run starts."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.download import is_url

_LOG_TAIL = 1 << 16  # bytes at the end of a log.txt in which its last tick is looked for


@dataclass(frozen=True)
class Origin:
    """How far the networks of a snapshot were trained."""

    num_images: int
    iteration: int
    pl_mean: float
    source: str  # what says so, as a part of a sentence


def find_origin(name: str, position: dict[str, Any]) -> Origin:
    """How far the networks of a snapshot were trained.

    Our snapshots say it themselves. Of a published one, as the published code has it: its name,
    `network-snapshot-000300.pkl`, or the last tick of the `log.txt` beside it.

    Args:
        name: path or URL of the snapshot.
        position: what the snapshot says; {} for a published one.
    """
    if "num_images" in position:
        return Origin(
            int(position["num_images"]),
            int(position.get("iteration", 0)),
            float(position.get("pl_mean", 0.0)),
            "as it says itself",
        )
    match = re.search(r"network-snapshot-(\d{1,9})\.pkl$", name.partition("?")[0])
    if match:
        return Origin(1000 * int(match[1]), 0, 0.0, "by its name")
    log = Path(name).parent / "log.txt"
    kimg = None if is_url(name) or not log.is_file() else _last_kimg(log)
    if kimg is not None:
        return Origin(round(1000 * kimg), 0, 0.0, f"by the last tick of {log}")
    return Origin(0, 0, 0.0, "for neither its name nor a log.txt beside it says more")


def _last_kimg(log: Path) -> float | None:
    """The kimg of the last tick in a log.txt; None if there is none or it cannot be read."""
    try:
        with open(log, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _LOG_TAIL, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    found = re.findall(r"^tick\s+\d+\s+kimg\s+(\d+(?:\.\d+)?)\s", text, re.MULTILINE)
    return float(found[-1]) if found else None
