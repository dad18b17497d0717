"""What is read of pictures whose fingerprints are known: bits, names, and wrong names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.subject.figures import Figure, mean, share
from evaluation.subject.memory import MemoryStore
from evaluation.subject.model import Subject
from fingerprints.bits import decide_bits
from fingerprints.detection.detector import Detector, Finding
from fingerprints.detection.evidence import chance, lost_weight, weigh
from fingerprints.detection.views import SEARCHES, Decision, expand

BITS, SOFT, LIGHT = "bits", "soft", "soft, light"  # ways to come to a verdict
WAYS: dict[str, tuple[Decision, str]] = {
    BITS: ("bits", "none"),
    SOFT: ("soft", "none"),
    LIGHT: ("soft", "light"),
}
Decode = Callable[[np.ndarray], np.ndarray]  # uint8 [N,H,W,C] -> logits [N,B]


@dataclass(frozen=True)
class Reading:
    """What is read of some pictures, each of one licensee."""

    num_images: int
    bit_accuracy: Figure  # against its licensee's fingerprint; 0.5 is chance
    named: dict[str, Figure]  # share whose licensee is named, by way
    wrong: dict[str, int]  # pictures of which somebody else is named, by way
    ours: dict[str, Figure]  # share that is called ours, named or not, by way


class Reader:
    """Reads pictures of a model and judges them at one rate.

    Args:
        subject: the model.
        fpr: P[a picture of another origin is called ours], per picture.
        decode: another decoder than the model's.
        registered: other fingerprints than those of the subject's licensees, [K,B].
    """

    def __init__(
        self,
        subject: Subject,
        fpr: float,
        *,
        decode: Decode | None = None,
        registered: np.ndarray | None = None,
    ) -> None:
        self.decode = decode or subject.decode
        self.registered = subject.registered if registered is None else registered
        self._fpr = fpr
        store = MemoryStore(self.registered, subject.decoder_hash)
        self._detectors = {
            way: Detector(store, store.model, decision=decision, search=search)
            for way, (decision, search) in WAYS.items()
        }

    def judge(self, images: np.ndarray, way: str = SOFT) -> list[Finding]:
        """Verdicts on pictures, uint8 [N,H,W,C]."""
        return self._judge(self.logits(images, way), way)

    def logits(self, images: np.ndarray, way: str = SOFT) -> np.ndarray:
        """Logits [N,K,B] of all views that a way looks at."""
        return decode_views(self.decode, images, WAYS[way][1])

    def read(
        self,
        images: np.ndarray,
        owners: np.ndarray,
        *,
        ways: Sequence[str] = (BITS, SOFT),
        num_light: int = 0,
    ) -> Reading:
        """Reads pictures whose licensees are known.

        Args:
            images: uint8 [N,H,W,C].
            owners: int [N], of the registered fingerprints.
            ways: of coming to a verdict.
            num_light: so many of the first pictures are judged with tried edits, too.
        """
        logits = self.logits(images)
        bits = self.registered[owners]
        accuracy = mean((decide_bits(logits[:, 0]) == bits).mean(axis=1))
        named, wrong, ours = {}, {}, {}
        for way in ways:
            named[way], wrong[way], ours[way] = _counted(self._judge(logits, way), owners)
        if num_light:
            part = slice(num_light)
            found = self._judge(self.logits(images[part], LIGHT), LIGHT)
            named[LIGHT], wrong[LIGHT], ours[LIGHT] = _counted(found, owners[part])
        return Reading(len(images), accuracy, named, wrong, ours)

    def _judge(self, logits: np.ndarray, way: str) -> list[Finding]:
        detector = self._detectors[way]
        return detector.judge_many(logits[:, : len(SEARCHES[WAYS[way][1]])], self._fpr)


def decode_views(decode: Decode, images: np.ndarray, search: str) -> np.ndarray:
    """Logits of all views that a search looks at: uint8 [N,H,W,C] -> float32 [N,K,B]."""
    views = expand(images, search)
    logits = decode(views.reshape(-1, *views.shape[2:]))
    return logits.reshape(*views.shape[:2], -1)


def numbers_named(findings: Sequence[Finding]) -> np.ndarray:
    """Numbers of the licensees that are named, -1 where none is: int64 [N]."""
    return np.array([-1 if (f := found.fingerprint) is None else int(f.id) for found in findings])


def _counted(findings: Sequence[Finding], owners: np.ndarray) -> tuple[Figure, int, Figure]:
    """Share named rightly, number named wrongly, share called ours."""
    found = numbers_named(findings)
    is_ours = [finding.verdict.is_ours for finding in findings]
    return share(found == owners), int(((found >= 0) & (found != owners)).sum()), share(is_ours)


def chances(logits: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """How often a random fingerprint fits each picture as well as its own does: float64 [N].

    Args:
        logits: [N,B].
        bits: 0 or 1, [B], or one fingerprint per picture [N,B].
    """
    weights = weigh(logits, "soft")
    return chance(weights, lost_weight(weights, bits))
