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
from typing import Any, Literal

import numpy as np

from fingerprints.detection.calibration import Calibration
from fingerprints.detection.comparison import Comparison, Leads
from fingerprints.detection.nulls import ForeignNull, Index
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
        decision: what logits weigh, see `evidence`.
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
    found = Comparison.of(logits, index, decision)
    exact, calibrated = _pvalues(found.best, index, null, views)
    pvalues = exact if calibrated is None else np.maximum(exact, calibrated)
    passing = np.flatnonzero(pvalues <= fpr)
    leads = found.leads(index)
    # Another fingerprint that passes as well, in whatever view, leaves two names.
    others = [p for p in _pvalues(found.best_other(passing), index, null, views) if p is not None]
    is_named = np.isin(np.arange(len(logits)), passing[np.max(others, axis=0) > fpr])
    if leads is not None:
        is_named &= leads.pvalues <= margin_level

    is_ours = pvalues <= fpr
    kinds = np.where(is_ours, np.where(is_named, "licensee", "unattributed"), "not-ours")
    values = {
        "kind": kinds.tolist(),
        "candidate": index.ids[found.row].tolist(),
        "matches": found.matches.tolist(),
        "pvalue": pvalues.tolist(),
        "exact_pvalue": exact.tolist(),
        "view": [views[number] for number in found.view],
        **_leads_of(found, leads, index),
        **_calibrated(np.abs(logits[:, 0]).mean(axis=1), calibrated, null),
    }
    common: dict[str, Any] = {
        "num_bits": index.num_bits,
        "num_keys": len(index),
        "level": fpr,
        "num_foreign": None if null is None else null.num_independent,
        "decision": decision,
        "num_views": len(views),
    }
    rows = zip(*values.values(), strict=True)
    return [Verdict(**common, **dict(zip(values, row, strict=True))) for row in rows]


def _leads_of(found: Comparison, leads: Leads | None, index: Index) -> dict[str, list[Any]]:
    """What verdicts say of runners-up."""
    if leads is None:
        nothing = [None] * len(found.row)
        return {"runner_up": nothing, "margin": nothing, "margin_pvalue": nothing}
    return {
        "runner_up": index.ids[leads.row].tolist(),
        "margin": (found.matches - leads.matches).tolist(),
        "margin_pvalue": leads.pvalues.tolist(),
    }


def _calibrated(
    confidences: np.ndarray, pvalues: np.ndarray | None, null: ForeignNull | None
) -> dict[str, list[Any]]:
    """What verdicts say of foreign images."""
    found: dict[str, list[Any]] = {"confidence": confidences.tolist()}
    if null is None or pvalues is None:
        nothing, no = [None] * len(confidences), [False] * len(confidences)
        return found | {"calibrated_pvalue": nothing, "extrapolated": no, "num_as_sure": nothing}
    return found | {
        "calibrated_pvalue": pvalues.tolist(),
        "extrapolated": [null.is_extrapolated(value) for value in pvalues.tolist()],
        "num_as_sure": [null.num_as_sure(value) for value in confidences.tolist()],
    }


def _pvalues(
    chances: np.ndarray, index: Index, null: ForeignNull | None, views: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Exact and, after calibration, calibrated p-values of fingerprints with these chances."""
    exact = np.minimum(1.0, len(index) * len(views) * chances)
    return exact, None if null is None else null.pvalue(chances)


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
