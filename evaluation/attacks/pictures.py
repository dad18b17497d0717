"""Attacks with nothing but pictures: averaging, residuals, noise that is taken off again."""

from typing import Any

import numpy as np
from scipy.signal import wiener

from evaluation.attacks.averaging import add_residual, mean_residual
from evaluation.attacks.outcome import colluded, forged, removed
from evaluation.subject.model import FIRST_OF_ATTACKER, Subject
from evaluation.subject.pictures import real_pictures
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings, Skipped
from metrics.context import RealImages

COLLUDERS = (2, 3, 5, 10)
NOISE = (0.03, 0.06, 0.12)  # deviation, of a range of 1
_WINDOW = 3  # pixels, of the filter
PICTURES = "pictures of one licensee"


def check_colluders(subject: Subject) -> None:
    """Whether there are as many licensees as collude.

    Raises:
        Skipped: there are fewer.
    """
    if subject.num_keys < max(COLLUDERS):
        raise Skipped(f"{max(COLLUDERS)} licensees collude, and there are {subject.num_keys}")


def averaged(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Licensees average the pictures that their instances make of the same latents."""
    reader, seeds = Reader(subject, settings.fpr), range(settings.num_images)
    rows = []
    check_colluders(subject)
    before = subject.generate(seeds, subject.registered[0])
    total, added = before.astype(np.float64), 1
    for number in COLLUDERS:
        while added < number:
            total += subject.generate(seeds, subject.registered[added])
            added += 1
        after = np.rint(total / number).astype(np.uint8)
        rows.append(
            colluded(
                reader,
                f"pictures of {number} licensees averaged",
                needs=f"{number} instances",
                cost=f"{number} pictures for each",
                before=before,
                after=after,
                colluders=range(number),
            )
        )
    return {"rows": rows}


def residual(
    subject: Subject, settings: Settings, dataset: RealImages | None = None
) -> dict[str, Any]:
    """The mean of one instance's pictures less that of others: steganalysis by averaging.

    It is taken off the instance's own pictures, and pasted on those of others and on real ones.

    Args:
        subject: the model.
        settings: as many pictures of each are averaged as are judged, but 1,000 at least.
        dataset: real pictures; None: none.
    """
    num, victim = settings.num_images, 0
    many = max(1000, num)
    bits, reader = subject.registered[victim], Reader(subject, settings.fpr)
    seeds = range(FIRST_OF_ATTACKER, FIRST_OF_ATTACKER + 2 * many)
    marked = subject.generate(seeds[:many], bits)
    mean = mean_residual(marked, subject.generate(seeds[many:], other_bits(subject, many)))
    own = subject.generate(range(num), bits)
    foreign = subject.generate(range(num), other_bits(subject, num))
    cost = f"{many:,} pictures of the licensee, {many:,} others"
    rows = [
        removed(
            reader,
            "mean residual taken off",
            needs=PICTURES,
            cost=cost,
            before=own,
            after=add_residual(own, -mean),
            owners=np.full(num, victim),
        )
    ]
    targets = [("others of the model", foreign)]
    if dataset is not None:
        targets.append(("real pictures", real_pictures(dataset, num)))
    for where, images in targets:
        rows.append(
            forged(
                reader,
                f"mean residual pasted on {where}",
                needs=PICTURES,
                cost=cost,
                before=images,
                after=add_residual(images, mean),
                victim=victim,
            )
        )
    return {"rows": rows}


def denoised(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Noise is added, and taken off by a Wiener filter, fingerprint and all."""
    reader = Reader(subject, settings.fpr)
    images, owners = subject.pictures(settings.num_images), subject.owners(settings.num_images)
    rng = np.random.default_rng([subject.seed, 4])
    rows = []
    for deviation in NOISE:
        noisy = images + rng.normal(0, 255 * deviation, images.shape)
        window = (1, _WINDOW, _WINDOW, 1)
        smooth = wiener(noisy, window, noise=(255 * deviation) ** 2)
        rows.append(
            removed(
                reader,
                f"noise of {deviation:g}, Wiener filter",
                needs="the picture",
                cost="no learning",
                before=images,
                after=np.clip(np.rint(smooth), 0, 255).astype(np.uint8),
                owners=owners,
            )
        )
    return {"rows": rows}


def other_bits(subject: Subject, count: int) -> np.ndarray:
    """Fingerprints of all licensees but the first, in turn: [count,B]."""
    return subject.registered[1 + np.arange(count) % (subject.num_keys - 1)]
