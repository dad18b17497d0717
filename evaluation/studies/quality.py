"""Quality of pictures by all metrics that can be had on this machine, with their floors."""

from typing import Any

from evaluation.subject.model import Subject
from evaluation.subject.settings import Settings
from metrics.context import MetricContext
from metrics.evaluate import evaluate
from metrics.table import FAMILIES, Family

_ENDS = ("ppl_lite0_zend", "ppl_lite0_wend")


def names_of_metrics(context: MetricContext, num_images: int) -> list[str]:
    """The metrics that a context has everything for, one of each family.

    Args:
        context: networks, data set, networks for features.
        num_images: that are wanted; metrics count in thousands, so at least 1,000 are made.
    """
    thousands = max(1, round(num_images / 1000))
    return [
        form.replace("<n>", str(thousands))
        for form, family in FAMILIES.items()
        if _is_possible(family, context)
    ]


def _is_possible(family: Family, context: MetricContext) -> bool:
    """Whether nothing is missing. What joins two others, as published, adds nothing here, and of
    path lengths that of whole ways is enough."""
    if family.form.startswith("fid_watermark") or family.form.startswith(_ENDS):
        return False
    if family.form == "is<n>k" and context.inception and not context.inception.has_classifier:
        return False
    return (
        (context.dataset is not None or not family.needs_dataset)
        and (context.inception is not None or not family.needs_inception)
        and (context.lite0 is not None or not family.needs_lite0)
        and (context.vgg16 is not None or not family.needs_vgg16)
        and (context.walk is not None or not family.needs_walk)
        and context.resolution >= family.min_resolution
    )


def quality(
    subject: Subject, settings: Settings, context: MetricContext, missing: list[str]
) -> dict[str, Any]:
    """All figures in one pass over the generated pictures.

    Args:
        subject: the model.
        settings: number of pictures.
        context: of the model's networks.
        missing: what could not be had, and its cure, for the report.

    Returns:
        Plain values: per metric its figures, which way is better, and pictures compared.
    """
    results = evaluate(names_of_metrics(context, settings.num_images), context)
    return {
        "metrics": [
            {
                "metric": result.metric,
                "values": result.values,
                "larger_is_better": result.larger_is_better,
                "num_images": result.num_images,
                "details": result.details,
            }
            for result in results
        ],
        "settings": {"dataset": context.dataset and context.dataset.name},
        "missing": missing,
    }
