"""Runs the studies of a suite, each into a file of its own, so that a suite can be interrupted."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import format_time
from evaluation.subject.model import Subject
from evaluation.subject.settings import Settings, Skipped
from evaluation.suites import Materials, Study

Results = dict[str, dict[str, Any]]  # study -> what its file holds


def run_studies(
    folder: Path,
    studies: Sequence[Study],
    subject: Subject,
    settings: Settings,
    materials: Materials,
    say: Callable[[str], None] = lambda line: None,
) -> Results:
    """Makes the studies that have no file yet; the folder is made.

    Args:
        folder: for `NAME.json` of every study.
        studies: in order.
        subject, settings, materials: of all of them; the same as before where files are there.
        say: takes a line per study.

    Returns:
        By name what the files hold: `seconds`, `time` (UTC), and `values`, or `skipped` with a
        reason.

    Raises:
        UserError: a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: Results = {}
    total = sum(study.cost for study in studies)
    with tqdm(
        total=total,
        disable=None,
        file=sys.stderr,
        bar_format="{desc:<24} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
    ) as progress:
        for study in studies:
            progress.set_description(study.name)
            path = folder / f"{study.name}.json"
            if path.exists():
                found[study.name] = _read(path)
                # What was done before says nothing of the time that the rest takes.
                progress.total -= study.cost
                progress.refresh()
                continue
            begun = time.monotonic()
            result: dict[str, Any] = {"study": study.name}
            try:
                result["values"] = study.run(subject, settings, materials)
            except Skipped as reason:
                result["skipped"] = str(reason)
            result["seconds"] = round(time.monotonic() - begun, 1)
            result["time"] = datetime.now(UTC).isoformat(timespec="seconds")
            with open_atomic(path, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=1)
            found[study.name] = result
            say(f"{study.name:<24} {format_time(result['seconds'])}")
            progress.update(study.cost)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; delete it, to be made anew") from error
    return found
