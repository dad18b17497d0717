"""Who gives verdicts: the registry of a model, or the code of payload mode."""

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.alike import count_once
from fingerprints.detection.codec import PayloadCode
from fingerprints.detection.detector import Detector, Finding
from fingerprints.detection.views import AS_IT_IS, SEARCHES
from fingerprints.handles import handle_of
from fingerprints.keys import load_secret
from gan_fingerprints.work import bulk
from gan_fingerprints.work.output import Line
from gan_fingerprints.work.registry import not_calibrated, open_registry


class Judge(bulk.Judge, Protocol):
    """Gives verdicts."""

    @property
    def about(self) -> dict[str, Any]:
        """What verdicts follow from, beside the flags: name -> JSON value."""


def make_judge(
    args: argparse.Namespace,
    num_bits: int,
    hashes: tuple[str | None, str],
    level: float,
    *,
    quiet: bool = False,
) -> "RegistryJudge | PayloadJudge":
    """The judge that the flags ask for.

    Args:
        args: the flags of `verify` or `attribute`.
        num_bits: B of the decoder.
        hashes: of the model (None if there is no generator beside the decoder), of the decoder.
        level: at which each picture or source is tested.
        quiet: nothing is said on stderr.

    Raises:
        UserError: there is no such registry, model, key or licensee.
    """
    if args.payload_key is not None:
        return PayloadJudge(args, num_bits, hashes[0], level)
    return RegistryJudge(args, hashes, level, quiet=quiet)


class RegistryJudge:
    """Judges by what a registry knows of the model.

    Attributes:
        registry: the open registry.
        head: of its log, stands in every verdict; empty until somebody sets it.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        hashes: tuple[str | None, str],
        level: float,
        *,
        quiet: bool = False,
    ) -> None:
        """See `make_judge`."""
        self.registry = open_registry(args)
        self.head: Mapping[str, Any] = {}
        self._level = level
        self._top = args.top
        self._tells_handles = bool(getattr(args, "c2pa", None))
        # Several models may share a decoder: the whole snapshot tells which is meant.
        known = {model.model_hash for model in self.registry.models()}
        model_hash, decoder_hash = hashes
        name = model_hash if model_hash in known else decoder_hash
        self.model = self.registry.find_model(name, decoder_hash)
        self._detector = Detector(
            *(self.registry, self.model, args.licensee),
            decision=args.decision,
            search=args.search,
        )
        if self._detector.calibration is None and not quiet:
            print(
                f"{not_calibrated(self.registry, self.model)}: p is exact for fingerprints drawn "
                "at random, but says nothing of foreign images that all lean to one of them",
                file=sys.stderr,
            )

    @property
    def num_keys(self) -> int:
        """Fingerprints that pictures are compared with."""
        return len(self._detector.index)

    @property
    def about(self) -> dict[str, Any]:
        """See `Judge`: the state of the registry, as far as it touches this model."""
        calibration = self.registry.load_calibration(self.model)
        return {
            "the registry": self.registry.id,
            "the registered fingerprints": self.registry.state(self.model),
            "the number of revoked ones": self.registry.counts(self.model).revoked,
            "the calibration": None if calibration is None else _digest(calibration),
        }

    def singles(self, paths: Sequence[Path], logits: np.ndarray) -> list[Line]:
        """See `bulk.Judge`."""
        findings = self.findings(logits)
        return [
            self._line(str(path), finding, row[None], None)
            for path, finding, row in zip(paths, findings, logits, strict=True)
        ]

    def findings(self, logits: np.ndarray) -> list[Finding]:
        """One for each of M pictures; logits [M,B], or [M,K,B] of K views."""
        return self._detector.judge_many(logits, self._level)

    def pool(self, name: str, logits: np.ndarray, hashes: np.ndarray) -> Line:
        """See `bulk.Judge`."""
        finding = self._detector.judge_pool(logits, self._level, hashes=hashes)
        return self._line(name, finding, logits, hashes)

    def _line(
        self, name: str, finding: Finding, logits: np.ndarray, hashes: np.ndarray | None
    ) -> Line:
        values = {"file": name, **finding.to_dict(), **self.head}
        if self._tells_handles and (owner := finding.fingerprint) is not None:
            handle = handle_of(self.registry.id, self.model.model_hash, owner.id)
            values["handle"] = handle
        text = f"{name}  {_text(finding, is_pool=hashes is not None)}"
        if self._top:
            candidates = self._detector.candidates(
                logits, self._top, hashes=hashes, view=finding.verdict.view
            )
            values["candidates"] = [
                {"licensee": owner.licensee, "matches": matches, "score": round(score, 4)}
                for owner, matches, score in candidates
            ]
            text += "".join(
                f"\n    {owner.licensee}  {matches}/{self.model.num_bits}  score {score:.1f}"
                for owner, matches, score in candidates
            )
        return Line(values, text)


def _text(finding: Finding, *, is_pool: bool) -> str:
    verdict = finding.verdict
    parts = [finding.text, f"match {verdict.matches}/{verdict.num_bits}"]
    if verdict.edit is not None:
        parts.append(verdict.edit)
    if is_pool:
        parts.insert(0, f"{finding.num_images} pictures, {finding.num_distinct} distinct")
    parts.append(f"p {verdict.pvalue:.1e}{' (extrapolated)' if verdict.extrapolated else ''}")
    if verdict.margin is not None:
        parts.append(f"margin {verdict.margin}")
    if verdict.is_indicated:
        parts.append(f"indication: {verdict.indication}")
    return "  ".join(parts)


class PayloadJudge:
    """Judges by the code of payload mode, without a registry."""

    def __init__(
        self, args: argparse.Namespace, num_bits: int, model_hash: str | None, level: float
    ) -> None:
        """See `make_judge`."""
        if args.licensee is not None:
            raise UserError("--payload-key knows no licensees; leave --licensee out")
        if model_hash is None:
            raise UserError(
                f"--network={args.network} holds no generator, and the code of payload mode is "
                "that of generator and decoder together; name the training's snapshot"
            )
        key = load_secret(args.payload_key, "payload")
        self._code = PayloadCode(num_bits, key, model_hash)
        self._num_bits = num_bits
        self._decision = args.decision
        self._views = SEARCHES[args.search]
        self._level = level
        self._key_digest = _digest(b"payload key of results" + key)

    @property
    def about(self) -> dict[str, Any]:
        """See `Judge`."""
        return {"the payload key": self._key_digest}

    def singles(self, paths: Sequence[Path], logits: np.ndarray) -> list[Line]:
        """See `bulk.Judge`."""
        return [
            self._line(str(path), row[None], row[None].astype(np.float64))
            for path, row in zip(paths, logits, strict=True)
        ]

    def pool(self, name: str, logits: np.ndarray, hashes: np.ndarray) -> Line:
        """See `bulk.Judge`."""
        distinct = count_once(logits, hashes)
        line = self._line(name, logits, distinct)
        counted = f"{len(logits)} pictures, {len(distinct)} distinct"
        return Line(line.values, line.text.replace(name, f"{name}  {counted}", 1))

    def _line(self, name: str, logits: np.ndarray, distinct: np.ndarray) -> Line:
        found = self._code.decode(distinct.sum(axis=0), self._decision)
        is_ours = found.payload is not None and found.pvalue <= self._level
        edit = self._views[found.view]
        values = {
            "file": name,
            "images": len(logits),
            "distinct": len(distinct),
            "verdict": "payload" if is_ours else "not-ours",
            "payload": found.payload if is_ours else None,
            "pvalue": found.pvalue,
            "matches": found.matches,
            "num_bits": self._num_bits,
            "corrected": found.num_corrected if is_ours else None,
            "calibrated": False,
            "level": self._level,
            "decision": self._decision,
            "edit": edit if is_ours and edit != AS_IT_IS else None,
            "views": len(self._views),
        }
        what = f"payload {found.payload}" if is_ours else "not-ours"
        what += "" if values["edit"] is None else f"  {edit}"
        matched = f"match {found.matches}/{self._num_bits}  p {found.pvalue:.1e}"
        return Line(values, f"{name}  {what}  {matched}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
