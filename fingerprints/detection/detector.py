"""A model's fingerprints, packed index and calibration together: whose is an image?

For services: make a `Detector` once, give it the logits of images, get findings. uint8 images
become logits through `training.models.functions.make_decoder`.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dnnlib.atomic import write_error
from dnnlib.cache import default_cache_dir
from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.detection.alike import count_once
from fingerprints.detection.calibration import Calibration
from fingerprints.detection.nulls import ForeignNull
from fingerprints.detection.search import PackedIndex, write_index
from fingerprints.detection.store import FingerprintStore
from fingerprints.detection.verdict import FPR, Verdict, decide, pool_logits
from fingerprints.detection.views import AS_IT_IS, SEARCHES, Decision
from fingerprints.entries import Fingerprint, Model

_MAX_READS = 3  # of fingerprints to which others are added all the time
_Result = TypeVar("_Result")


class _StaleIndex(UserError):
    """The store contradicts the index."""


@dataclass(frozen=True)
class Finding:
    """A verdict, and whose fingerprint it is about."""

    verdict: Verdict
    fingerprint: Fingerprint | None  # the named licensee's; None unless one is named
    licensee_name: str | None
    calibrated: bool
    num_images: int = 1  # that the verdict is on
    num_distinct: int = 1  # of them that are not alike, the size of the pool

    @property
    def text(self) -> str:
        """`not-ours`, `ours, unattributed` or `licensee X`, with `(revoked)` where it is."""
        if self.fingerprint is None:
            return "ours, unattributed" if self.verdict.kind == "unattributed" else "not-ours"
        revoked = " (revoked)" if self.fingerprint.revoked is not None else ""
        return f"licensee {self.fingerprint.licensee}{revoked}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        verdict, found = self.verdict, self.fingerprint
        return {
            "images": self.num_images,
            "distinct": self.num_distinct,
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
            "indication": verdict.indication,
            "level": verdict.level,
            "wrong_name_rate": verdict.wrong_name_rate,
            "decision": verdict.decision,
            "edit": verdict.edit,
            "views": verdict.num_views,
        }


class Detector:
    """Judges images by everything that a registry knows of one model.

    Attributes:
        index: every fingerprint ever registered for the model, revoked ones too.
        calibration: of the views that are tried; None if the model is not calibrated.
        views: names of the views that logits have to be of, in order.
    """

    def __init__(
        self,
        store: FingerprintStore,
        model: Model,
        licensee: str | None = None,
        *,
        decision: Decision = "soft",
        search: str = "none",
    ) -> None:
        """Brings the packed index up to date and reads the calibration.

        Args:
            store: where the model and its fingerprints are, for example a `Registry`.
            model: of that store.
            licensee: compare with this licensee's fingerprints only. That answers "is it X's?" and
                must have been asked before looking at the image.
            decision: `soft`: bits count by how clearly they are read; `bits`: all alike.
            search: which views an image is read in, a key of `views.SEARCHES`.

        Raises:
            UserError: there is no fingerprint to compare with, or the calibration is of another
                decoder, an earlier version or fewer views.
        """
        self._store = store
        self.model = model
        self._licensee = licensee
        self._decision = decision
        self.views = SEARCHES[search]
        self.index = self._read_index()
        calibration = load_calibration(store, model)
        self.calibration = None if calibration is None else calibration.of_views(self.views)
        self._nulls: dict[int, ForeignNull] = {}  # by the number of images in a pool

    def _read_index(self, *, trust_cache: bool = True) -> PackedIndex:
        """The fingerprints that images are compared with."""
        if self._licensee is None:
            index = open_index(self._store, self.model, trust_cache=trust_cache)
        else:
            index = _index_of(self._store, self.model, self._licensee)
        if len(index) == 0:
            raise UserError(
                f"the registry has no fingerprint of the model {self.model.model_hash[:12]}; "
                "issue one"
            )
        return index

    def judge(self, logits: np.ndarray, fpr: float = FPR) -> Finding:
        """The verdict on one image.

        Args:
            logits: of the decoder, [K,B], a row per view; or [B] with one view.
            fpr: highest probability with which an image of another origin is called ours.
        """
        return self.judge_many(np.asarray(logits)[None], fpr)[0]

    def judge_many(self, logits: np.ndarray, fpr: float = FPR) -> list[Finding]:
        """The verdict on each of many images, at a small part of the cost of one by one.

        Args:
            logits: of the decoder, [M,K,B]; or [M,B] with one view.
            fpr: as in `judge`, per image.
        """
        return self._judge(self._in_views(logits), fpr, pool=1, num_images=1)

    def judge_pool(
        self, logits: np.ndarray, fpr: float = FPR, *, hashes: np.ndarray | None = None
    ) -> Finding:
        """One verdict on M images that are known to come from one source.

        Those that are alike count once (`alike.count_once`).

        Args:
            logits: of the decoder, [M,K,B]; or [M,B] with one view.
            fpr: as in `judge`, for the pool.
            hashes: `alike.picture_hashes` of the images as they are; None: only images with the
                same logits are taken for alike.
        """
        distinct = count_once(self._in_views(logits), hashes)
        pooled = pool_logits(distinct, self.calibration)[None]
        return self._judge(pooled, fpr, pool=len(distinct), num_images=len(logits))[0]

    def candidates(
        self, logits: np.ndarray, k: int, *, hashes: np.ndarray | None = None, view: str = AS_IT_IS
    ) -> list[tuple[Fingerprint, int, float]]:
        """The fingerprints that explain M images of one source best, the best first.

        Args:
            logits: of the decoder, [M,K,B]; or [M,B] with one view.
            k: how many, at most.
            hashes: as in `judge_pool`.
            view: in which view; a verdict names the one in which it found its fingerprint.

        Returns:
            Fingerprint, matching bits, and score: T in logits, the weights of the bits that agree
            minus those of the others.
        """
        pooled = pool_logits(count_once(self._in_views(logits), hashes), self.calibration)
        row = pooled[self.views.index(view)]

        def search() -> list[tuple[Fingerprint, int, float]]:
            found = self.index.search(row, k, self._decision)
            return [(self._registered(c.id), c.matches, c.score) for c in found]

        return self._confirmed(search)

    def _in_views(self, logits: np.ndarray) -> np.ndarray:
        """Logits of images as float64 [M,K,B]."""
        logits = np.asarray(logits, np.float64)
        return logits[:, None] if logits.ndim == 2 and len(self.views) == 1 else logits

    def _judge(
        self, logits: np.ndarray, fpr: float, *, pool: int, num_images: int
    ) -> list[Finding]:
        def find() -> list[Finding]:
            verdicts = decide(
                logits,
                self.index,
                fpr=fpr,
                null=self._null(pool),
                decision=self._decision,
                views=self.views,
            )
            named = {v.candidate for v in verdicts if v.kind == "licensee"}
            owners = {number: self._registered(number) for number in named}
            people = {found.licensee for found in owners.values()}
            names = {licensee: self._store.licensee(licensee).name for licensee in people}
            return [self._finding(verdict, owners, names, pool, num_images) for verdict in verdicts]

        return self._confirmed(find)

    def _finding(
        self,
        verdict: Verdict,
        owners: dict[int, Fingerprint],
        names: dict[str, str],
        pool: int,
        num_images: int,
    ) -> Finding:
        found = owners[verdict.candidate] if verdict.kind == "licensee" else None
        name = None if found is None else names[found.licensee]
        return Finding(verdict, found, name, self.calibration is not None, num_images, pool)

    def _registered(self, fingerprint_id: int) -> Fingerprint:
        """What the store has under a number that the index gave, if the bits are the same."""
        try:
            found = self._store.fingerprint(fingerprint_id)
        except UserError as error:
            raise _StaleIndex(str(error)) from error
        row = int(np.searchsorted(self.index.ids, fingerprint_id))
        if not np.array_equal(pack_bits(found.bits[None])[0], self.index.words[row]):
            raise _StaleIndex(
                f"fingerprint {fingerprint_id} has other bits than a moment ago: the registry "
                "changes while it is read; run the command again, and audit"
            )
        return found

    def _confirmed(self, work: Callable[[], _Result]) -> _Result:
        """What `work` gives; with an index made anew if the store contradicts the one at hand.

        So nobody is named by a number that is somebody else's by now, wherever an index came from.
        """
        try:
            return work()
        except _StaleIndex:
            self.index = self._read_index(trust_cache=False)
            self._nulls.clear()
            return work()

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
            self._nulls[pool] = self.calibration.null_for(self.index, pool, self._decision)
        return self._nulls[pool]


def load_calibration(store: FingerprintStore, model: Model) -> Calibration | None:
    """The calibration of a model; None if there is none.

    Raises:
        UserError: it is damaged, of an earlier version, or that of another decoder.
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


def open_index(store: FingerprintStore, model: Model, *, trust_cache: bool = True) -> PackedIndex:
    """The packed index of all fingerprints of a model, written anew if they are not the same.

    It lies in the cache folder (see README), readable by its owner only. The fingerprints of an
    encrypted registry never go there: their index is made in memory each time.

    Args:
        store: of the fingerprints.
        model: of that store.
        trust_cache: whether a file of the store's present state may be used as it is.

    Raises:
        UserError: the cache folder cannot be written.
    """
    if store.is_encrypted:
        return _in_memory(list(store.packed(model)), model.num_bits)
    folder = default_cache_dir() / "index"
    prefix = f"{store.id}-{model.model_hash[:16]}"
    state = store.state(model)
    if trust_cache:
        # One that is damaged, of an earlier version or of others is like any cached file: written
        # anew. The name only says where to look; what counts is the state in the file.
        with contextlib.suppress(UserError):
            return PackedIndex.open(_index_path(folder, prefix, state), of=state)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(folder, 0o700)
    except OSError as error:
        raise write_error(folder, error) from error
    for _ in range(_MAX_READS):
        blocks = list(store.packed(model))
        before, state = state, store.state(model)
        if state == before:  # else some were added while they were read
            path = _index_path(folder, prefix, state)
            write_index(path, blocks, model.num_bits, of=state)
            _remove_older(folder, prefix, path)
            break
    # The file may be gone again: who uses a copy of the registry has the same prefix.
    with contextlib.suppress(UserError):
        return PackedIndex.open(_index_path(folder, prefix, state), of=state)
    return _in_memory(blocks, model.num_bits)


def _index_path(folder: Path, prefix: str, state: str) -> Path:
    return folder / f"{prefix}-{hashlib.sha256(state.encode()).hexdigest()[:16]}.idx"


def _remove_older(folder: Path, prefix: str, current: Path) -> None:
    for path in folder.glob(f"{prefix}-*.idx"):
        if path != current:
            path.unlink(missing_ok=True)  # who has it open keeps it
