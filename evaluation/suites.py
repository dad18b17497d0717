"""The table of studies: which there are, and which of them make up a suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evaluation.names import SUITES
from evaluation.perturbations.curves import PERTURBATIONS
from evaluation.studies.attribution import attribution
from evaluation.studies.quality import quality
from evaluation.studies.robustness import robustness, unperturbed
from evaluation.studies.visibility import visibility
from evaluation.subject.model import Subject
from evaluation.subject.settings import Settings, Skipped
from metrics.context import MetricContext


@dataclass(frozen=True)
class Materials:
    """What a suite has beside the model."""

    context: MetricContext  # of its networks, with data set and feature networks if there are
    missing: list[str] = field(default_factory=list)  # what there is not, and its cure


Run = Callable[[Subject, Settings, Materials], dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """Something to be measured: a file of results."""

    name: str  # of the file, without ending
    run: Run
    suites: tuple[str, ...]
    cost: float  # rough share of the time, for what remains


def _curve(name: str, subject: Subject, settings: Settings, materials: Materials) -> dict[str, Any]:
    if not PERTURBATIONS[name].is_available:
        raise Skipped(f"this Pillow was built without {PERTURBATIONS[name].title}")
    return robustness(subject, settings, name)


def _curves() -> list[Study]:
    return [
        Study(f"robustness-{name}", partial(_curve, name), ("paper",), len(p.strengths))
        for name, p in PERTURBATIONS.items()
    ]


STUDIES: dict[str, Study] = {
    study.name: study
    for study in [
        Study("unperturbed", lambda s, t, m: unperturbed(s, t), tuple(SUITES), 3),
        Study("visibility", lambda s, t, m: visibility(s, t), tuple(SUITES), 3),
        *_curves(),
        Study("attribution", lambda s, t, m: attribution(s, t, m.context.dataset), ("paper",), 6),
        Study(
            "quality", lambda s, t, m: quality(s, t, m.context, m.missing), ("paper", "quality"), 30
        ),
    ]
}


def studies_of(suite: str) -> Sequence[Study]:
    """The studies of a suite, in order."""
    return [study for study in STUDIES.values() if suite in study.suites]
