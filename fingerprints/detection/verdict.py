"""From the logits of images, or of pools of one source, to verdicts at a stated rate.

The statistic is T of `evidence`: bits count by how clearly they are read. An image is read once per
view (`views`), so with K views and N fingerprints the smallest of K * N chances is multiplied by
K * N, whatever they have to do with each other (the union bound).

Two rates, which are not the same:

- A foreign image is called ours with probability <= fpr, on average over the draw of fingerprints;
  with a calibration also for the registry at hand, as far as the foreign images show it.
- An image of ours is given a wrong name with probability <= (N - 1) / N * fpr: every other
  fingerprint was drawn without knowing our image, so each passes with a chance of at most
  fpr / (K * N) per view. The test of the lead and the search, which has to prefer the wrong name,
  only lower it. (What a minimum distance takes away close to the true fingerprint, the others have
  more often elsewhere, by a factor that `default_min_distance` keeps near 1 and always below 2.)
"""

import dataclasses
from typing import Literal

import numpy as np

from fingerprints.bits import decide_bits, unpack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.evidence import chance, lost_weight, weigh
from fingerprints.detection.nulls import ForeignNull, Index
from fingerprints.detection.tails import count_matches
from fingerprints.detection.views import AS_IT_IS, SEARCHES, Decision

FPR = 1e-6  # P[a foreign image is called ours], per image
MARGIN_LEVEL = 0.01  # a lead over the runner-up that chance has more rarely is significant

INDICATION_SHARE = 0.01  # of foreign images that may be read as surely, for an indication

Kind = Literal["not-ours", "unattributed", "licensee"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one image, or one pool of images, was found to be. `decide` makes it."""

    kind: Kind
    candidate: int  # id of the closest fingerprint; a name only if kind is "licensee"
    matches: int  # of `num_bits`, with the closest fingerprint
    num_bits: int  # B
    num_keys: int  # N, fingerprints ever registered
    level: float  # at which it was tested, the fpr
    pvalue: float  # the larger of the next two
    exact_pvalue: float  # of T, exact on average over the draw of fingerprints
    calibrated_pvalue: float | None  # for this registry; None without a calibration
    extrapolated: bool  # the calibrated p-value is below 1 / foreign images
    runner_up: int | None  # id of the second closest; None if there is but one fingerprint
    margin: int | None  # matches ahead of the runner-up; it may have more, though less clear ones
    margin_pvalue: float | None  # P[a coin per bit in which the two differ does as well]
    confidence: float  # mean |logit| of the picture as it is; never a reason for `kind`
    num_as_sure: int | None  # foreign images with at least that; None: not, or hardly, calibrated
    num_foreign: int | None  # of so many, or pools of as many images
    decision: Decision  # what logits weighed
    view: str  # in which the closest fingerprint was found: the edit that explains the picture
    num_views: int  # K that were tried

    @property
    def is_ours(self) -> bool:
        """Whether the model made the image, with or without a licensee's name."""
        return self.kind != "not-ours"

    @property
    def edit(self) -> str | None:
        """The edit that explains a picture of ours; None if it is as it was made, or not ours."""
        return self.view if self.is_ours and self.view != AS_IT_IS else None

    @property
    def is_indicated(self) -> bool:
        """Whether the decoder is surer of it than of nearly all foreign images."""
        if self.num_as_sure is None or self.num_foreign is None:
            return False
        return self.num_as_sure <= INDICATION_SHARE * self.num_foreign

    @property
    def indication(self) -> str | None:
        """What the decoder's confidence says, in words; None without enough foreign images.

        It is no evidence: foreign pictures that are unlike those of the calibration, of one colour
        for example, can be read as surely as any.
        """
        if self.num_as_sure is None:
            return None
        if not self.is_indicated:
            return f"none: as surely read as {self.num_as_sure} of {self.num_foreign} foreign ones"
        those = f"all but {self.num_as_sure}" if self.num_as_sure else "any"
        return f"more surely read than {those} of {self.num_foreign} foreign ones; no evidence"

    @property
    def wrong_name_rate(self) -> float:
        """Upper bound of P[an image of ours is given a wrong name] at `level`; see the module."""
        least = self.num_views * self.num_keys * 0.5**self.num_bits  # where all bits agree
        return (self.num_keys - 1) / self.num_keys * self.level if least <= self.level else 0.0


def decide(
    logits: np.ndarray,
    index: Index,
    *,
    fpr: float = FPR,
    null: ForeignNull | None = None,
    margin_level: float = MARGIN_LEVEL,
    decision: Decision = "soft",
    views: tuple[str, ...] = SEARCHES["none"],
) -> list[Verdict]:
    """Decides of each image whether it is ours, and whose.

    It is ours if the closest fingerprint fits better than chance allows, and in no other case.
    Without a significant lead over the runner-up it is ours, but unattributed. How sure the decoder
    is of all its bits decides nothing: any bits are a valid fingerprint, and which pictures are
    read surely depends on the pictures, not only on who made them.

    Args:
        logits: [M,K,B] of the decoder, or of `pool_logits`: a row per view.
        index: every fingerprint ever registered, revoked ones too.
        fpr: P[a foreign image is called ours], in (0, 1); see the module for the other rate.
        null: `Calibration.null_for` of this index, these views and the number of pooled images.
        margin_level: a lead is significant if its p-value is at most this.
        decision: what logits weigh.
        views: names of the K views, the picture as it is first.

    Returns:
        M verdicts.

    Raises:
        ValueError: shapes do not fit, a logit is not finite, the index is empty, or the null is of
            another index, other views or another decision.
    """
    logits = np.asarray(logits, dtype=np.float64)
    _check(logits, index, fpr, null, decision, views)
    if len(logits) == 0:
        return []
    found = _Nearest.find(logits, index, decision)
    num_tests = len(index) * len(views)
    exact = np.minimum(1.0, num_tests * found.best)
    calibrated = None if null is None else null.pvalue(found.best)
    pvalues = exact if calibrated is None else np.maximum(exact, calibrated)
    passing = np.flatnonzero(pvalues <= fpr)
    # Another fingerprint that passes as well, in whatever view, leaves two names.
    others = found.best_other(passing)
    beside = np.minimum(1.0, num_tests * others)
    if null is not None:
        beside = np.maximum(beside, null.pvalue(others))
    is_alone = np.zeros(len(logits), bool)
    is_alone[passing] = beside > fpr
    leads = found.leads(index)
    sure = np.abs(logits[:, 0]).mean(axis=1)

    verdicts = []
    for image in range(len(logits)):
        kind: Kind = "not-ours"
        if pvalues[image] <= fpr:
            is_ahead = leads is None or leads.pvalues[image] <= margin_level
            kind = "licensee" if is_ahead and is_alone[image] else "unattributed"
        cal = None if calibrated is None else float(calibrated[image])
        verdicts.append(
            Verdict(
                kind=kind,
                candidate=int(index.ids[found.row[image]]),
                matches=int(found.matches[image]),
                num_bits=index.num_bits,
                num_keys=len(index),
                level=fpr,
                pvalue=float(pvalues[image]),
                exact_pvalue=float(exact[image]),
                calibrated_pvalue=cal,
                extrapolated=null is not None and cal is not None and null.is_extrapolated(cal),
                runner_up=None if leads is None else int(index.ids[leads.row[image]]),
                margin=None if leads is None else int(found.matches[image] - leads.matches[image]),
                margin_pvalue=None if leads is None else float(leads.pvalues[image]),
                confidence=float(sure[image]),
                num_as_sure=None if null is None else null.num_as_sure(float(sure[image])),
                num_foreign=None if null is None else null.num_independent,
                decision=decision,
                view=views[found.view[image]],
                num_views=len(views),
            )
        )
    return verdicts


@dataclasses.dataclass(frozen=True)
class _Leads:
    """The runner-up of every image, in the view of the closest fingerprint."""

    row: np.ndarray  # int64 [M]
    matches: np.ndarray  # int64 [M]
    pvalues: np.ndarray  # float64 [M]


@dataclasses.dataclass(frozen=True)
class _Nearest:
    """The two closest fingerprints of M images in K views."""

    weights: np.ndarray  # int32 [M,K,B]
    rows: np.ndarray  # int64 [M,K,1 or 2]
    lost: np.ndarray  # the same
    chances: np.ndarray  # float64 [M,K], of the first of them
    view: np.ndarray  # int64 [M], with the smallest chance
    decided: np.ndarray  # uint8 [M,B], bits in that view
    matches: np.ndarray  # int64 [M], of its first with these

    @classmethod
    def find(cls, logits: np.ndarray, index: Index, decision: Decision) -> "_Nearest":
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

    def leads(self, index: Index) -> _Leads | None:
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
        return _Leads(self.rows[every, self.view, 1], matches, pvalues)


def _check(
    logits: np.ndarray,
    index: Index,
    fpr: float,
    null: ForeignNull | None,
    decision: Decision,
    views: tuple[str, ...],
) -> None:
    """ValueError for what `decide` cannot decide."""
    if logits.ndim != 3 or logits.shape[1:] != (len(views), index.num_bits):
        raise ValueError(f"expected logits [M,{len(views)},{index.num_bits}], got {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite")
    if len(index) == 0:
        raise ValueError("no verdict without a registered fingerprint")
    if not 0 < fpr < 1:
        raise ValueError(f"fpr {fpr} is not within (0, 1)")
    if null is None:
        return
    if (null.num_bits, null.num_keys) != (index.num_bits, len(index)):
        raise ValueError(
            f"the null is of {null.num_keys} fingerprints of {null.num_bits} bits, the index of "
            f"{len(index)} of {index.num_bits}"
        )
    if (null.views, null.decision) != (views, decision):
        raise ValueError(
            f"the null is of the views {null.views} and the decision {null.decision}, not of "
            f"{views} and {decision}"
        )


def pool_logits(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Makes one vector per view of several images of one source, for ONE decision on B bits.

    The images' bits are no independent trials, as one source's images err in the same way. Their
    sum decides every bit once, so B trials are tested; the null is calibrated at the same number
    of images. All are taken to be edited alike: a view of the pool is the same view of each.

    Args:
        logits: [M,K,B] of the decoder, M >= 1.
        calibration: of the decoder and these views, to standardise every bit by its mean and
            deviation over foreign images; None: the sum of logits as they are.

    Returns:
        float64 [K,B]; of a single image its logits as they are.

    Raises:
        ValueError: not at least one row of logits.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 3 or len(logits) == 0:
        raise ValueError(f"expected logits [M,K,B], got {logits.shape}")
    if len(logits) == 1:
        return logits[0]
    standard = logits if calibration is None else calibration.standardise(logits)
    return np.asarray(standard.sum(axis=0))


def per_image_level(fpr: float, fwer: float | None, num_images: int) -> float:
    """The rate at which each image of a batch is tested.

    Args:
        fpr: P[a foreign image is called ours], per image.
        fwer: P[any foreign image of the batch is called ours]; None: each image keeps `fpr`. It is
            divided by the number of images (Bonferroni), which holds however alike they are.
        num_images: number of images, or of pools, that are decided.

    Raises:
        ValueError: a number is out of range.
    """
    rate = fpr if fwer is None else fwer
    if not 0 < rate < 1 or num_images < 1:
        raise ValueError(f"no level for rate {rate} and {num_images} images")
    return fpr if fwer is None else fwer / num_images


def expected_false(level: float, num_images: int) -> float:
    """Expected number of foreign images called ours, at most, if all of a batch are foreign."""
    return level * num_images
