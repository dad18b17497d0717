"""Images against all registered fingerprints: which are nearest, in which view, by how much."""

import dataclasses

import numpy as np

from fingerprints.bits import decide_bits, unpack_bits
from fingerprints.detection.evidence import chance, lost_weight, weigh
from fingerprints.detection.nulls import Index
from fingerprints.detection.tails import count_matches
from fingerprints.detection.views import Decision


@dataclasses.dataclass(frozen=True)
class Leads:
    """The runner-up of every image, in the view of the closest fingerprint."""

    row: np.ndarray  # int64 [M]
    matches: np.ndarray  # int64 [M]
    pvalues: np.ndarray  # float64 [M]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The two closest fingerprints of M images in K views."""

    weights: np.ndarray  # int32 [M,K,B]
    rows: np.ndarray  # int64 [M,K,1 or 2]
    lost: np.ndarray  # the same
    chances: np.ndarray  # float64 [M,K], of the first of them
    view: np.ndarray  # int64 [M], with the smallest chance
    decided: np.ndarray  # uint8 [M,B], bits in that view
    matches: np.ndarray  # int64 [M], of its first with these

    @classmethod
    def of(cls, logits: np.ndarray, index: Index, decision: Decision) -> "Comparison":
        num_images, num_views, num_bits = logits.shape
        weights = weigh(logits, decision)
        flat = weights.reshape(-1, num_bits)
        rows, lost = (found.reshape(num_images, num_views, -1) for found in index.nearest(flat, 2))
        chances = chance(flat, lost[..., 0].reshape(-1)).reshape(num_images, num_views)
        view = chances.argmin(axis=1)
        every = np.arange(num_images)
        decided = decide_bits(logits[every, view])
        bits = unpack_bits(index.words[rows[every, view, 0]], num_bits)
        matches = count_matches(decided, bits)
        return cls(weights, rows, lost, chances, view, decided, matches)

    @property
    def row(self) -> np.ndarray:
        """Of the closest fingerprint, int64 [M]."""
        return np.asarray(self.rows[np.arange(len(self.rows)), self.view, 0])

    @property
    def best(self) -> np.ndarray:
        """Chance of the closest fingerprint, float64 [M]."""
        return np.asarray(self.chances.min(axis=1))

    def best_other(self, images: np.ndarray) -> np.ndarray:
        """Of some images, the smallest chance that any other fingerprint has in any view.

        A view's best other is among its two closest.
        """
        if len(images) == 0 or self.rows.shape[2] == 1:
            return np.ones(len(images))
        is_other = self.rows[images] != self.row[images, None, None]  # [P,K,2]
        which = is_other.argmax(axis=2)[..., None]  # the first that is another
        lost = np.take_along_axis(self.lost[images], which, axis=2)
        weights = self.weights[images]
        found = chance(weights.reshape(-1, weights.shape[2]), lost.reshape(-1))
        return np.asarray(found.reshape(len(images), -1).min(axis=1))

    def leads(self, index: Index) -> Leads | None:
        """How the closest fingerprint leads: T on the bits in which it and the next one differ."""
        if self.rows.shape[2] == 1:
            return None
        every = np.arange(len(self.rows))
        first, second = (
            unpack_bits(index.words[self.rows[every, self.view, number]], index.num_bits)
            for number in (0, 1)
        )
        weights = np.where(first != second, self.weights[every, self.view], 0)
        matches = count_matches(self.decided, second)
        pvalues = chance(weights, lost_weight(weights, first))
        return Leads(self.rows[every, self.view, 1], matches, pvalues)
