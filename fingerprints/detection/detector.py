"""A model's fingerprints, packed index and calibration together: whose is an image?

For services: make a `Detector` once, give it the logits of images, get findings. uint8 images
become logits through `training.models.functions.make_decoder`.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.atomic import write_error
from dnnlib.cache import default_cache_dir
from dnnlib.canonical_json import canonical_bytes
from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.nulls import ForeignNull
from fingerprints.detection.search import PackedIndex, write_index
from fingerprints.detection.store import FingerprintStore
from fingerprints.detection.verdict import FPR, Verdict, decide, pool_logits
from fingerprints.entries import Fingerprint, Model

_ATTEMPTS = 3  # at an index of one state, while others write


@dataclass(frozen=True)
class Finding:
    """A verdict, and whose fingerprint it is about."""

    verdict: Verdict
    fingerprint: Fingerprint | None  # the named licensee's; None unless one is named
    licensee_name: str | None
    calibrated: bool

    @property
    def text(self) -> str:
        """`not-ours`, `ours, unattributed` or `licensee X`, with `(revoked)` where it is."""
        if self.fingerprint is None:
            return "ours, unattributed" if self.verdict.kind == "unattributed" else "not-ours"
        revoked = " (revoked)" if self.fingerprint.revoked is not None else ""
        return f"licensee {self.fingerprint.licensee}{revoked}"

    @property
    def indication(self) -> str | None:
        """What the decoder's confidence adds, in words; it never makes a verdict."""
        verdict = self.verdict
        if verdict.confidence_pvalue is None or verdict.confidence_pvalue > verdict.level:
            return None
        return (
            "the decoder is surer of it than of foreign images "
            f"(p {verdict.confidence_pvalue:.1e}, extrapolated): an indication, no evidence"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        verdict, found = self.verdict, self.fingerprint
        return {
            "verdict": "ours, unattributed" if verdict.kind == "unattributed" else verdict.kind,
            "licensee": None if found is None else found.licensee,
            "name": self.licensee_name,
            "revoked": None if found is None else found.revoked is not None,
            "pvalue": verdict.pvalue,
            "exact_pvalue": verdict.exact_pvalue,
            "calibrated": self.calibrated,
            "calibrated_pvalue": verdict.calibrated_pvalue,
            "extrapolated": verdict.extrapolated,
            "matches": verdict.matches,
            "num_bits": verdict.num_bits,
            "num_keys": verdict.num_keys,
            "margin": verdict.margin,
            "margin_pvalue": verdict.margin_pvalue,
            "confidence": verdict.confidence,
            "confidence_pvalue": verdict.confidence_pvalue,
            "indication": self.indication,
            "level": verdict.level,
            "wrong_name_rate": verdict.wrong_name_rate,
        }


class Detector:
    """Judges images by everything that a registry knows of one model.

    Attributes:
        index: every fingerprint ever registered for the model, revoked ones too.
        calibration: None if the model is not calibrated.
    """

    def __init__(
        self,
        store: FingerprintStore,
        model: Model,
        licensee: str | None = None,
        *,
        faiss: bool = False,
    ) -> None:
        """Brings the packed index up to date and reads the calibration.

        Args:
            store: where the model and its fingerprints are, for example a `Registry`.
            model: of that store.
            licensee: compare with this licensee's fingerprints only. That answers "is it X's?" and
                must have been asked before looking at the image.
            faiss: search with FAISS (`PackedIndex.with_faiss`).

        Raises:
            UserError: there is no fingerprint to compare with, the calibration is that of another
                decoder, or FAISS is not installed.
        """
        self._store = store
        self.model = model
        if licensee is None:
            self.index = open_index(store, model)
        else:
            self.index = _index_of(store, model, licensee)
        if len(self.index) == 0:
            raise UserError(
                f"the registry has no fingerprint of the model {model.model_hash[:12]}; issue one"
            )
        if faiss:
            self.index = self.index.with_faiss()
        self.calibration = load_calibration(store, model)
        self._nulls: dict[int, ForeignNull] = {}  # by the number of images in a pool

    def judge(self, logits: np.ndarray, fpr: float = FPR) -> Finding:
        """The verdict on one image.

        Args:
            logits: of the decoder, [B].
            fpr: highest probability with which an image of another origin is called ours.
        """
        return self._judge(np.asarray(logits, np.float64), fpr, 1)

    def judge_pool(self, logits: np.ndarray, fpr: float = FPR) -> Finding:
        """One verdict on M images that are known to come from one source.

        Args:
            logits: of the decoder, [M,B].
            fpr: as in `judge`, for the pool.
        """
        if len(logits) == 1:
            return self.judge(logits[0], fpr)
        return self._judge(pool_logits(logits, self.calibration), fpr, len(logits))

    def candidates(self, logits: np.ndarray, k: int) -> list[tuple[Fingerprint, int, float]]:
        """The fingerprints that explain M images of one source best, the best first.

        Args:
            logits: of the decoder, [M,B].
            k: how many, at most.

        Returns:
            Fingerprint, matching bits, and score: the sum over bits of the logit where the
            fingerprint has 1 and its negative where it has 0, which grows with the likelihood.
        """
        row = logits[0] if len(logits) == 1 else pool_logits(logits, self.calibration)
        found = self.index.search(np.asarray(row, np.float64), k)
        named = [(self._store.fingerprint(c.id), c.matches, c.score) for c in found]
        for fingerprint, _, _ in named:
            self._check_same(fingerprint)
        return named

    def _judge(self, logits: np.ndarray, fpr: float, pool: int) -> Finding:
        verdict = decide(logits, self.index, fpr=fpr, null=self._null(pool))
        found = name = None
        if verdict.kind == "licensee":
            assert verdict.candidate is not None
            found = self._store.fingerprint(verdict.candidate)
            self._check_same(found)
            name = self._store.licensee(found.licensee).name
        return Finding(verdict, found, name, self.calibration is not None)

    def _check_same(self, found: Fingerprint) -> None:
        """Whether the store still means by an id what the index was made with.

        Raises:
            UserError: it was restored or changed meanwhile; a wrong name would be given.
        """
        row = int(np.searchsorted(self.index.ids, found.id))
        words = np.asarray(self.index.words[[row]])
        if not np.array_equal(words, pack_bits(np.asarray(found.bits)[None])):
            raise UserError(
                f"fingerprint {found.id} is not what it was when the search began: the registry "
                "was changed or restored meanwhile; run audit, then the command again"
            )

    def bits_of(self, licensee: str) -> np.ndarray:
        """The newest fingerprint of a licensee, uint8 [B].

        Raises:
            UserError: the licensee has none.
        """
        return _fingerprints_of(self._store, self.model, licensee)[-1].bits

    def _null(self, pool: int) -> ForeignNull | None:
        if self.calibration is None:
            return None
        if pool not in self._nulls:
            self._nulls[pool] = self.calibration.null_for(self.index, pool)
        return self._nulls[pool]


def load_calibration(store: FingerprintStore, model: Model) -> Calibration | None:
    """The calibration of a model; None if there is none.

    Raises:
        UserError: it is damaged, or that of another decoder.
    """
    data = store.load_calibration(model)
    if data is None:
        return None
    calibration = Calibration.from_bytes(data)
    if calibration.decoder_hash != model.decoder_hash:
        raise UserError(
            f"the calibration of the model {model.model_hash[:12]} is that of another decoder; "
            "calibrate again"
        )
    return calibration


def _index_of(store: FingerprintStore, model: Model, licensee: str) -> PackedIndex:
    """The fingerprints of one licensee."""
    found = _fingerprints_of(store, model, licensee)
    ids = np.array([entry.id for entry in found], dtype=np.int64)
    return PackedIndex.from_arrays(
        ids, pack_bits(np.stack([entry.bits for entry in found])), model.num_bits
    )


def _fingerprints_of(store: FingerprintStore, model: Model, licensee: str) -> list[Fingerprint]:
    found = store.fingerprints(model, licensee)
    if not found:
        raise UserError(
            f"licensee {licensee} has no fingerprint of the model {model.model_hash[:12]}; "
            "list shows all"
        )
    return found


def _in_memory(blocks: list[tuple[np.ndarray, np.ndarray]], num_bits: int) -> PackedIndex:
    ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in blocks)])
    empty = np.zeros([0, -(-num_bits // 64)], np.uint64)
    return PackedIndex.from_arrays(
        ids, np.concatenate([empty, *(words for _, words in blocks)]), num_bits
    )


def open_index(store: FingerprintStore, model: Model) -> PackedIndex:
    """The packed index of all fingerprints of a model, written anew whenever the store has changed.

    It lies in the cache folder (see README), readable by its owner only. The fingerprints of an
    encrypted registry never go there: their index is made in memory each time.

    Raises:
        UserError: the cache folder cannot be written.
    """
    if store.is_encrypted:
        return _in_memory(list(store.packed(model)), model.num_bits)
    folder = default_cache_dir() / "index"
    prefix = f"{store.id}-{model.model_hash[:16]}"
    for _ in range(_ATTEMPTS):
        # Not the number of fingerprints: a store restored from a backup may have as many others.
        state = store.state()
        origin = hashlib.sha256(
            canonical_bytes([store.id, state, model.model_hash, model.id, model.num_bits])
        ).digest()
        path = folder / f"{prefix}-{origin.hex()[:16]}.idx"
        if path.is_file():
            # One that is damaged or of an earlier version is like any cached file: written anew.
            with contextlib.suppress(UserError):
                return PackedIndex.open(path, origin)
        _make_folder(folder)
        write_index(path, store.packed(model), model.num_bits, origin)
        _remove_older(folder, prefix, path)
        if store.state() == state:
            return PackedIndex.open(path, origin)
        path.unlink(missing_ok=True)  # it was made from more than one state
    return _in_memory(list(store.packed(model)), model.num_bits)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(folder, 0o700)
    except OSError as error:
        raise write_error(folder, error) from error


def _remove_older(folder: Path, prefix: str, current: Path) -> None:
    for path in folder.glob(f"{prefix}-*.idx"):
        if path != current:
            path.unlink(missing_ok=True)  # who has it open keeps it
