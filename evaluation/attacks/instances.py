"""Attacks on the weights of an instance: fewer bits per number, fewer numbers, means of several."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.attacks.outcome import colluded, removed
from evaluation.attacks.pictures import COLLUDERS, check_colluders
from evaluation.subject.model import MINIBATCH, Subject
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings, Skipped
from training.models.baking import Baker
from training.models.functions import inputs_by_seed, make_generator
from training.models.snapshot import build_network
from training.networks.generator import Generator
from training.networks.plain_generator import PlainGenerator

QUANTISED = (8, 6, 5, 4)  # bits per weight
PRUNED = (0.1, 0.2, 0.4, 0.6, 0.8)  # share of the weights of each layer
LICENSEES = 4  # whose instances are attacked, each on its own
Weights = dict[str, np.ndarray]  # of an instance, by name


class Instances:
    """Instances of a model as weights, and the pictures that weights make.

    Args:
        subject: the model.

    Raises:
        Skipped: its instances are not of our kind.
    """

    def __init__(self, subject: Subject) -> None:
        if not isinstance(subject.generator, Generator):
            raise Skipped("instances of an adopted generator are files of another kind")
        self._subject, self._baker = subject, Baker(subject.generator)
        network = build_network(self._baker.bake(subject.registered[0]), "an instance")
        assert isinstance(network, PlainGenerator)
        self.network = network
        self._make = make_generator(network, MINIBATCH, subject.execution)

    def weights(self, licensee: int) -> Weights:
        """Those of an instance; what is not trained (noise maps) is left out."""
        values = self._baker.bake(self._subject.registered[licensee]).variables
        return {name: np.asarray(values[name]) for name in self.network.named_trainables()}

    def pictures(self, weights: Mapping[str, np.ndarray], seeds: Sequence[int]) -> np.ndarray:
        """uint8 [N,H,W,C] by seed."""
        self.assign(weights)
        batches = inputs_by_seed(self.network, seeds, minibatch=MINIBATCH)
        return np.concatenate([self._make(inputs) for inputs in batches])

    def assign(self, weights: Mapping[str, np.ndarray]) -> None:
        """Gives the network these weights."""
        for name, variable in self.network.named_trainables().items():
            variable.assign(weights[name])


def quantise(weights: Mapping[str, np.ndarray], bits: int) -> Weights:
    """Rounds every array to 2**bits - 1 even steps about 0, its largest magnitude the last."""
    steps = 2 ** (bits - 1) - 1
    found = {}
    for name, values in weights.items():
        largest = float(np.abs(values).max())
        scale = largest / steps if largest else 1.0
        found[name] = (np.rint(values / scale) * scale).astype(np.float32)
    return found


def prune(weights: Mapping[str, np.ndarray], share: float) -> Weights:
    """Sets the smallest weights of every layer to 0; biases stay."""
    found = dict(weights)
    for name, values in weights.items():
        if name.endswith("/weight"):
            limit = np.quantile(np.abs(values), share)
            found[name] = np.where(np.abs(values) <= limit, 0, values).astype(np.float32)
    return found


def average(several: Sequence[Mapping[str, np.ndarray]]) -> Weights:
    """Means of the weights of several instances."""
    return {name: np.mean([w[name] for w in several], axis=0) for name in several[0]}


def quantised(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Instances with fewer bits per weight."""
    changes = {f"weights in {bits} bits": _with(quantise, bits) for bits in QUANTISED}
    return _changed(subject, settings, changes)


def pruned(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Instances whose smallest weights are 0."""
    changes = {f"{share:.0%} of the weights pruned": _with(prune, share) for share in PRUNED}
    return _changed(subject, settings, changes)


def merged(subject: Subject, settings: Settings) -> dict[str, Any]:
    """Licensees average the weights of their instances."""
    check_colluders(subject)
    instances, reader = Instances(subject), Reader(subject, settings.fpr)
    seeds = range(settings.num_images)
    before = instances.pictures(instances.weights(0), seeds)
    rows = []
    for number in COLLUDERS:
        weights = average([instances.weights(licensee) for licensee in range(number)])
        rows.append(
            colluded(
                reader,
                f"weights of {number} licensees averaged",
                needs=f"{number} instances",
                cost="no learning",
                before=before,
                after=instances.pictures(weights, seeds),
                colluders=range(number),
            )
        )
    return {"rows": rows}


def _with(change: Callable[..., Weights], amount: float) -> Callable[[Weights], Weights]:
    return lambda weights: change(weights, amount)


def _changed(
    subject: Subject, settings: Settings, changes: Mapping[str, Callable[[Weights], Weights]]
) -> dict[str, Any]:
    """A row per change; a few licensees share the pictures."""
    instances, reader = Instances(subject), Reader(subject, settings.fpr)
    licensees = range(min(LICENSEES, subject.num_keys))
    each = -(-settings.num_images // len(licensees))
    owners = np.repeat(np.arange(len(licensees)), each)
    own = [instances.weights(licensee) for licensee in licensees]

    def made(change: Callable[[Weights], Weights]) -> np.ndarray:
        parts = [
            instances.pictures(change(weights), range(number * each, (number + 1) * each))
            for number, weights in enumerate(own)
        ]
        return np.concatenate(parts)

    before = made(lambda weights: weights)
    rows = [
        removed(
            reader,
            name,
            needs="an instance",
            cost="no learning",
            before=before,
            after=made(change),
            owners=owners,
        )
        for name, change in changes.items()
    ]
    return {"rows": rows}
