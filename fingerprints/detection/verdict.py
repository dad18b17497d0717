"""From the logits of one image, or of several of one source, to a verdict at a stated rate.

Two rates, which are not the same:

- A foreign image is called ours with probability <= fpr, on average over the draw of fingerprints;
  with a calibration also for the registry at hand, as far as the foreign images show it.
- An image of ours is given a wrong name with probability <= (N - 1) * P[Binomial(B, 1/2) >= m]
  <= fpr for the m matches that are needed: every other fingerprint was drawn without knowing our
  image. The margin test and the search, which has to prefer the wrong name, only lower it. (What a
  minimum distance takes away close to the true fingerprint, the others have more often elsewhere,
  by a factor that `default_min_distance` keeps near 1 and always below 2.)
"""

import dataclasses
from typing import Literal

import numpy as np

from fingerprints.bits import decide_bits, unpack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.nulls import Candidate, ForeignNull, Index
from fingerprints.detection.tails import binomial_tail, count_matches, match_pvalue, matches_needed

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
    exact_pvalue: float  # binomial, exact on average over the draw of fingerprints
    calibrated_pvalue: float | None  # for this registry; None without a calibration
    extrapolated: bool  # the calibrated p-value is below 1 / foreign images
    runner_up: int | None  # id of the second closest; None if there is but one fingerprint
    margin: int | None  # matches ahead of the runner-up
    margin_pvalue: float | None  # P[a coin per bit in which the two differ does as well]
    confidence: float  # mean |logit|; never a reason for `kind`
    num_as_sure: int | None  # foreign images with at least that; None: not, or hardly, calibrated
    num_foreign: int | None  # of so many, or pools of as many images

    @property
    def is_ours(self) -> bool:
        """Whether the model made the image, with or without a licensee's name."""
        return self.kind != "not-ours"

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
        needed = matches_needed(self.num_bits, self.num_keys, self.level)
        if needed is None:
            return 0.0
        return (self.num_keys - 1) * float(binomial_tail(needed, self.num_bits))


def decide(
    logits: np.ndarray,
    index: Index,
    *,
    fpr: float = FPR,
    null: ForeignNull | None = None,
    margin_level: float = MARGIN_LEVEL,
) -> Verdict:
    """Decides whether an image is ours, and whose.

    It is ours if the closest fingerprint matches in more bits than chance allows, and in no other
    case. Matches without a significant lead over the runner-up are ours, but unattributed. How sure
    the decoder is of its bits decides nothing: any bits are a valid fingerprint, and which pictures
    are read surely depends on the pictures, not only on who made them.

    Args:
        logits: [B] of the decoder, or of `pool_logits`.
        index: every fingerprint ever registered, revoked ones too.
        fpr: P[a foreign image is called ours], in (0, 1); see the module for the other rate.
        null: `Calibration.null_for` of this index and of the number of pooled images.
        margin_level: a lead is significant if its p-value is at most this.

    Raises:
        ValueError: shapes do not fit, a logit is not finite, the index is empty, or the null is of
            another index.
    """
    logits = np.asarray(logits, dtype=np.float64)
    _check(logits, index, fpr, null)
    candidates = index.search(logits, k=2)
    best = candidates[0]
    runner_up = candidates[1] if len(candidates) > 1 else None

    sure = float(np.abs(logits).mean())
    exact, calibrated = _pvalues(best.matches, index, null)
    pvalue = exact if calibrated is None else max(exact, calibrated)
    margin_pvalue = None
    is_ahead = True
    if runner_up is not None:
        margin_pvalue = _margin_pvalue(decide_bits(logits), index, best, runner_up)
        # A runner-up that passes as well, as any with more matches does, leaves two names.
        other = max(p for p in _pvalues(runner_up.matches, index, null) if p is not None)
        is_ahead = margin_pvalue <= margin_level and other > fpr

    kind: Kind = "not-ours"
    if pvalue <= fpr:
        kind = "licensee" if is_ahead else "unattributed"
    return Verdict(
        kind=kind,
        candidate=best.id,
        matches=best.matches,
        num_bits=index.num_bits,
        num_keys=len(index),
        level=fpr,
        pvalue=pvalue,
        exact_pvalue=exact,
        calibrated_pvalue=calibrated,
        extrapolated=null is not None and null.is_extrapolated(null.match_pvalue(best.matches)),
        runner_up=None if runner_up is None else runner_up.id,
        margin=None if runner_up is None else best.matches - runner_up.matches,
        margin_pvalue=margin_pvalue,
        confidence=sure,
        num_as_sure=None if null is None else null.num_as_sure(sure),
        num_foreign=None if null is None else null.num_independent,
    )


def _check(logits: np.ndarray, index: Index, fpr: float, null: ForeignNull | None) -> None:
    """ValueError for what `decide` cannot decide."""
    if logits.shape != (index.num_bits,):
        raise ValueError(f"expected logits [{index.num_bits}], got {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite")
    if len(index) == 0:
        raise ValueError("no verdict without a registered fingerprint")
    if not 0 < fpr < 1:
        raise ValueError(f"fpr {fpr} is not within (0, 1)")
    if null is not None and (null.num_bits, null.num_keys) != (index.num_bits, len(index)):
        raise ValueError(
            f"the null is of {null.num_keys} fingerprints of {null.num_bits} bits, the index of "
            f"{len(index)} of {index.num_bits}"
        )


def _pvalues(matches: int, index: Index, null: ForeignNull | None) -> tuple[float, float | None]:
    """Exact and, after calibration, calibrated p-value of so many matches."""
    exact = match_pvalue(matches, index.num_bits, len(index))
    return exact, None if null is None else null.match_pvalue(matches)


def pool_logits(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Makes one vector of several images of one source, for ONE decision on B bits.

    The images' bits are no independent trials, as one source's images err in the same way. Their
    sum decides every bit once, so B trials are tested; the null is calibrated at the same number
    of images.

    Args:
        logits: [M,B] of the decoder, M >= 1.
        calibration: of the decoder, to standardise every bit by its mean and deviation over foreign
            images; None: the sum of logits as they are.

    Returns:
        float64 [B]; of a single image its logits as they are.

    Raises:
        ValueError: not at least one row of logits.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or len(logits) == 0:
        raise ValueError(f"expected logits [M,B], got {logits.shape}")
    if len(logits) == 1:
        return logits[0]
    return (logits if calibration is None else calibration.standardise(logits)).sum(axis=0)


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


def _margin_pvalue(bits: np.ndarray, index: Index, best: Candidate, runner_up: Candidate) -> float:
    """P[a coin per bit in which two fingerprints differ agrees with the best one as often]."""
    first, second = unpack_bits(np.asarray(index.words[[best.row, runner_up.row]]), index.num_bits)
    differ = first != second
    agreeing = int(count_matches(bits[differ], first[differ]))
    return float(binomial_tail(agreeing, int(differ.sum())))
