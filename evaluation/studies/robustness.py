"""What is read of pictures behind each perturbation, strength by strength."""

from dataclasses import asdict
from typing import Any

from evaluation.perturbations.curves import PERTURBATIONS, perturb
from evaluation.subject.model import Subject
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings
from metrics.image_difference import PairDifferences

LIGHT_SHARE = 4  # one picture in so many is judged with tried edits as well, which costs ten times


def robustness(subject: Subject, settings: Settings, name: str) -> dict[str, Any]:
    """A curve: bit accuracy and share of pictures whose licensee is named.

    Args:
        subject: the model.
        settings: number of pictures, rate.
        name: of `PERTURBATIONS`.

    Returns:
        Plain values: the perturbation, and a point per strength with PSNR to the picture as it was
        (dB), bit accuracy, share named and number named wrongly, by way.
    """
    perturbation = PERTURBATIONS[name]
    images = subject.pictures(settings.num_images)
    owners = subject.owners(settings.num_images)
    reader = Reader(subject, settings.fpr)
    points = []
    for strength in perturbation.strengths:
        changed = perturb(images, perturbation, strength, subject.seed)
        difference = PairDifferences()
        difference.add(images, changed)
        num_light = -(-settings.num_images // LIGHT_SHARE)
        reading = reader.read(changed, owners, num_light=num_light)
        points.append({"strength": strength, "psnr": difference.error.psnr, **asdict(reading)})
    return {
        "name": name,
        "title": perturbation.title,
        "words": perturbation.words,
        "axis": perturbation.axis,
        "note": perturbation.note,
        "points": points,
        "paper": [asdict(point) for point in perturbation.paper],
    }


def unperturbed(subject: Subject, settings: Settings) -> dict[str, Any]:
    """The same of pictures as a PNG file holds them: what all else is compared with."""
    images, owners = subject.pictures(settings.num_images), subject.owners(settings.num_images)
    num_light = -(-settings.num_images // LIGHT_SHARE)
    return asdict(Reader(subject, settings.fpr).read(images, owners, num_light=num_light))
