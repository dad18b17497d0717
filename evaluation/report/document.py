"""The report: one HTML file that needs nothing else; beside it its tables and all numbers."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from dnnlib.atomic import open_atomic
from evaluation.report import chapters
from evaluation.report.as_markdown import markdown_of
from evaluation.report.html import Markup, escape, paragraph, section, table
from evaluation.report.verdict import Values, values_of, verdict

HTML, MARKDOWN, JSON, CSV = "report.html", "report.md", "results.json", "results.csv"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Evaluated:
    """A model and what was measured of it."""

    name: str  # short, for tables
    facts: dict[str, Any]  # of `Subject.facts`
    results: dict[str, dict[str, Any]]  # of `running.run_studies`


def write_report(
    folder: Path, suite: str, models: Sequence[Evaluated], settings: Mapping[str, Any], date: str
) -> list[str]:
    """Writes `report.html`, `report.md`, `results.json`, `results.csv` and `plots/*.svg`.

    Args:
        folder: that exists.
        suite: its name.
        models: one, or several side by side, of the same studies.
        settings: that all of them were made with, plain values.
        date: of the report.

    Returns:
        The verdict, three sentences per model.

    Raises:
        UserError: matplotlib is missing, or a file cannot be written.
    """
    text, sentences, drawings = _document(suite, models, settings, date)
    with open_atomic(folder / HTML, "w", encoding="utf-8") as file:
        file.write(text)
    with open_atomic(folder / MARKDOWN, "w", encoding="utf-8") as file:
        file.write(markdown_of(text))
    content = {
        "suite": suite,
        "settings": dict(settings),
        "models": [
            {"name": m.name, **m.facts, "results": _without_pictures(m.results)} for m in models
        ],
    }
    with open_atomic(folder / JSON, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    with open_atomic(folder / CSV, "w", encoding="utf-8", newline="") as file:
        file.write(_csv(models))
    (folder / "plots").mkdir(exist_ok=True)
    for name, drawing in drawings.items():
        with open_atomic(folder / "plots" / f"{name}.svg", "w", encoding="utf-8") as file:
            file.write(drawing)
    return sentences


def _document(
    suite: str, models: Sequence[Evaluated], settings: Mapping[str, Any], date: str
) -> tuple[str, list[str], dict[str, str]]:
    values: dict[str, Values] = {m.name: values_of(m.results) for m in models}
    bits = {m.name: m.facts["bits"] for m in models}
    boxes, sentences = [], []
    for model in models:
        found = verdict(values[model.name], settings, bits[model.name])
        sentences += found
        words = "".join(paragraph(sentence) for sentence in found)
        title = f"<h3>{escape(model.name)}</h3>" if len(models) > 1 else ""
        boxes.append(Markup(f'<div class="verdict">{title}{words}</div>'))
    parts = [
        (
            "pictures",
            "Pictures",
            chapters.pictures(values) + chapters.visibility(values) + chapters.secrecy(values),
        ),
        (
            "saved",
            "Pictures as they are saved",
            chapters.saved(values) + chapters.out_of_reach(bits, settings),
        ),
        ("attacks", "Attacks", chapters.attacks(values)),
        ("curves", "What the fingerprint bears", chapters.curves(values)),
        ("attribution", "Detection and attribution", chapters.attribution(values)),
        ("quality", "Quality", chapters.quality(values)),
        ("settings", "Settings", _settings(models, settings)),
    ]
    parts = [(name, title, found) for name, title, found in parts if found]
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in parts)
    title = " and ".join(m.name for m in models)
    style = files("evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    about = f"Suite {suite}, {date}; {settings['num_images']:,} pictures behind each figure."
    body = "".join(section(name, title, found) for name, title, found in parts)
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>\n"
        f"<header><h1>What {escape(title)} can promise</h1>{paragraph(about, 'about')}</header>\n"
        f"{''.join(boxes)}<nav>{links}</nav>\n{body}\n</body></html>\n"
    )
    return text, sentences, _drawings(values)


def _drawings(values: Mapping[str, Values]) -> dict[str, str]:
    """The curves, as files of their own."""
    names = [n for n in next(iter(values.values())) if n.startswith("robustness-")]
    return {
        name.removeprefix("robustness-"): chapters.curve({m: v[name] for m, v in values.items()})
        for name in names
        if all(name in v and len(v[name]["points"]) > 1 for v in values.values())
    }


def _settings(models: Sequence[Evaluated], settings: Mapping[str, Any]) -> list[Markup]:
    parts = [table(["setting", "value"], [[k, _shown(v)] for k, v in settings.items()], 2)]
    for model in models:
        rows = [
            [k, Markup(f'<span class="hash">{escape(_shown(v))}</span>')]
            for k, v in model.facts.items()
        ]
        seconds = sum(result["seconds"] for result in model.results.values())
        rows.append(["measured in", f"{seconds / 60:.1f} minutes"])
        dates = sorted(result["time"] for result in model.results.values())
        rows.append(["measured from, to (UTC)", f"{dates[0]}, {dates[-1]}"])
        parts.append(table([model.name, ""], rows, 2))
        parts += chapters.skipped(model.results)
    return parts


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _without_pictures(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = json.loads(json.dumps(results))
    for result in found.values():
        result.get("values", {}).pop("pictures", None)
    return found


def _csv(models: Sequence[Evaluated]) -> str:
    """A line per number: model, study, where in its results, value."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["model", "study", "figure", "value"])
    for model in models:
        for study, result in _without_pictures(model.results).items():
            for path, value in _numbers(result.get("values", {}), ()):
                writer.writerow([model.name, study, ".".join(path), value])
    return file.getvalue()


def _numbers(value: Any, path: tuple[str, ...]) -> Any:
    """Yields the numbers in nested values, each with the keys that lead to it.

    A row of a list is called by its strength, name or number of generators.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(part, (*path, str(key)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            key = str(number)
            if isinstance(part, Mapping):
                names = (part.get(n) for n in ("strength", "name", "metric", "generators"))
                key = str(next((n for n in names if n is not None), number))
            yield from _numbers(part, (*path, key))
    elif isinstance(value, bool | int | float):
        yield path, value
