"""Detection and attribution among 1, 10 and 100 generators, in a closed and in an open world."""

from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation.subject.figures import share
from evaluation.subject.model import Subject, draw_licensees
from evaluation.subject.pictures import real_pictures
from evaluation.subject.readings import SOFT, Reader, numbers_named
from evaluation.subject.settings import Settings
from metrics.context import RealImages

GENERATORS = (1, 10, 100)


def attribution(subject: Subject, settings: Settings, dataset: RealImages | None) -> dict[str, Any]:
    """Counts right answers as the paper does (Yu et al., arXiv 2012.08726, section 4).

    For each number G of generators, each with a fingerprint of its own:

    - *detection*: pictures of the G generators and as many real ones; ours or not, at the rate
      asked for. Without a data set, the share of our pictures alone.
    - *closed world*: pictures of the G generators go to the nearest of the G fingerprints.
    - *open world*: the same pictures and as many of G generators that are not registered; the
      first have to be named rightly, the others not at all, at the rate asked for.

    Fingerprints of instances are those that a generator with the same bits gives, so pictures are
    made by the generator itself.

    Args:
        subject: the model.
        settings: number of pictures, rate.
        dataset: real pictures; None: none.
    """
    num = settings.num_images
    rows = []
    for number in GENERATORS:
        rng = np.random.default_rng([subject.seed, 3, number])
        bits = draw_licensees(rng, 2 * number, subject.num_bits)
        reader = Reader(subject, settings.fpr, registered=bits[:number])
        owners = np.arange(num) % number
        own = reader.judge(subject.generate(range(num), bits[owners]), SOFT)
        strangers = subject.generate(range(num, 2 * num), bits[number + owners])
        foreign = reader.judge(strangers, SOFT)
        named = numbers_named(own) == owners
        is_ours = [finding.verdict.is_ours for finding in own]
        nearest = [finding.verdict.candidate for finding in own]
        row: dict[str, Any] = {
            "generators": number,
            "closed_world": asdict(share(np.array(nearest) == owners)),
            "open_world": asdict(share([*named, *(numbers_named(foreign) < 0)])),
            "ours": asdict(share(is_ours)),
            "wrong": int(((numbers_named(own) >= 0) & ~named).sum()),
        }
        if dataset is not None:
            real = real_pictures(dataset, num)
            called = [found.verdict.is_ours for found in reader.judge(real, SOFT)]
            row["real_images"] = len(real)
            row["real_called_ours"] = int(np.sum(called))
            row["detection"] = asdict(share([*is_ours, *np.logical_not(called)]))
        rows.append(row)
    return {"num_images": num, "rows": rows, "dataset": dataset and dataset.name}
