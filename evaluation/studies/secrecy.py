"""Secrecy: can pictures with fingerprints be told from those of a model without?"""

from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation.subject.classifier import Classifier
from evaluation.subject.figures import share
from evaluation.subject.model import FIRST_OF_ATTACKER, MINIBATCH, Subject
from evaluation.subject.settings import Settings, Skipped
from training.models.functions import inputs_of_all_classes, make_generator
from training.networks.table import AnyGenerator

LEARNING = 2000  # pictures of each kind


def secrecy(subject: Subject, settings: Settings, plain: AnyGenerator | None) -> dict[str, Any]:
    """A network of the decoder's kind learns to tell the two kinds apart (arXiv 2012.08726).

    It is tested on pictures that it has not learnt from, as many of each; 0.5 is chance, and what
    differs may be the fingerprint or only the training of two models.

    Args:
        subject: the model, each picture with one of its licensees' fingerprints.
        settings: number of pictures.
        plain: of a model that was trained on the same data without fingerprints.

    Raises:
        Skipped: there is none.
    """
    if plain is None:
        raise Skipped("name a model without fingerprints, of the same data, with --plain")
    if plain.resolution != subject.resolution:
        raise Skipped(f"--plain makes pictures of {plain.resolution} pixels")
    first, num = FIRST_OF_ATTACKER, settings.num_images
    make = make_generator(plain, MINIBATCH, subject.execution)

    def plain_pictures(begin: int, count: int) -> np.ndarray:
        seeds = range(begin, begin + count)
        return np.concatenate([make(i) for i in inputs_of_all_classes(plain, seeds, MINIBATCH)])

    classifier = Classifier(subject.decoder.config, seed=subject.seed)
    classifier.learn(subject.pictures(LEARNING, first), plain_pictures(first, LEARNING))
    told = classifier.told(subject.pictures(num), plain_pictures(0, num))
    return {"accuracy": asdict(share(told)), "steps": classifier.steps, "learning": LEARNING}
