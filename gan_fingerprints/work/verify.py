"""`verify` and `attribute`: whether the model made an image, and whose instance did."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.alike import count_once
from fingerprints.detection.codec import PayloadCode
from fingerprints.detection.detector import Detector, Finding
from fingerprints.detection.verdict import expected_false, per_image_level
from fingerprints.image_files import find_images
from fingerprints.keys import load_secret
from gan_fingerprints.work.images import Reader, image_arguments, load_decoder
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import (
    head_text,
    keep_heads,
    not_calibrated,
    open_registry,
)


def verify(args: argparse.Namespace) -> None:
    """The command `verify`."""
    _run(args, top=0)


def attribute(args: argparse.Namespace) -> None:
    """The command `attribute`."""
    args.licensee = args.payload_key = None
    _run(args, top=args.top)


# logits [M,B] and hashes of the images of one source -> the values of `--json` and the text
Judge = Callable[[np.ndarray, np.ndarray], tuple[dict[str, Any], str]]


def _run(args: argparse.Namespace, top: int) -> None:
    arguments = image_arguments(args)
    groups = [(argument, find_images([argument])) for argument in arguments]
    paths = [path for _, members in groups for path in members]
    num_sources = len(groups) if args.pool else len(paths)

    level = per_image_level(args.fpr, args.fwer, num_sources)
    network, model_hash, decoder_hash = load_decoder(args.network)
    if args.payload_key is not None:
        judge = _judge_payload(args, network.fingerprint_size, model_hash, level)
    else:
        judge = _judge_by_registry(args, model_hash, decoder_hash, level, top)
    reader = Reader(args, network, len(paths))

    start = time.monotonic()
    counts: Counter[str] = Counter()
    last: dict[str, Any] = {}
    for name, rows, hashes in _sources(args, reader, groups, paths):
        values, text = judge(rows, hashes)
        counts[values["verdict"]] += 1
        last = values
        if args.pool:
            text = f"{len(rows)} pictures, {values['distinct']} distinct  {text}"
        emit(args, {"file": name, **values}, f"{name}  {text}")
    num_images = len(paths) - reader.num_bad
    seconds = time.monotonic() - start
    _print_summary(args, counts, num_images, level, last, seconds)
    reader.finish(len(paths))


def _sources(
    args: argparse.Namespace,
    reader: Reader,
    groups: Sequence[tuple[str, list[Path]]],
    paths: Sequence[Path],
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, logits [M,B] and hashes of what gets one verdict each: images, or pools of them."""
    if not args.pool:
        for found in reader.read(paths):
            yield str(found.path), found.logits[None], found.hash[None]
        return
    for argument, members in groups:
        images = list(reader.read(members))
        if images:
            logits, hashes = ([getattr(i, name) for i in images] for name in ("logits", "hash"))
            yield argument, np.stack(logits), np.stack(hashes)


def _judge_by_registry(
    args: argparse.Namespace, model_hash: str | None, decoder_hash: str, level: float, top: int
) -> Judge:
    registry = open_registry(args)
    # Several models may share a decoder: the whole snapshot tells which is meant.
    known = {model.model_hash for model in registry.models()}
    model = registry.find_model(
        model_hash if model_hash is not None and model_hash in known else decoder_hash,
        decoder_hash,
    )
    head = keep_heads(args, registry)
    detector = Detector(registry, model, args.licensee, decision=args.decision)
    if detector.calibration is None:
        print(
            f"{not_calibrated(registry, model)}: p is exact for fingerprints drawn at random, but "
            "says nothing of foreign images that all lean to one of them",
            file=sys.stderr,
        )

    def judge(rows: np.ndarray, hashes: np.ndarray) -> tuple[dict[str, Any], str]:
        finding = detector.judge_pool(rows, level, hashes=hashes)
        values, text = {**finding.to_dict(), **head}, _text(finding)
        if top:
            candidates = detector.candidates(rows, top, hashes=hashes, view=finding.verdict.view)
            values["candidates"] = [
                {"licensee": owner.licensee, "matches": matches, "score": round(score, 4)}
                for owner, matches, score in candidates
            ]
            text += "".join(
                f"\n    {owner.licensee}  {matches}/{model.num_bits}  score {score:.1f}"
                for owner, matches, score in candidates
            )
        return values, text

    return judge


def _text(finding: Finding) -> str:
    verdict = finding.verdict
    parts = [finding.text, f"match {verdict.matches}/{verdict.num_bits}"]
    if verdict.edit is not None:
        parts.append(verdict.edit)
    parts.append(f"p {verdict.pvalue:.1e}{' (extrapolated)' if verdict.extrapolated else ''}")
    if verdict.margin is not None:
        parts.append(f"margin {verdict.margin}")
    if verdict.is_indicated:
        parts.append(f"indication: {verdict.indication}")
    return "  ".join(parts)


def _judge_payload(
    args: argparse.Namespace, num_bits: int, model_hash: str | None, level: float
) -> Judge:
    """Judges by the code of payload mode, without a registry."""
    if args.licensee is not None:
        raise UserError("--payload-key knows no licensees; leave --licensee out")
    if model_hash is None:
        raise UserError(
            f"--network={args.network} holds no generator, and the code of payload mode is that of "
            "generator and decoder together; name the training's snapshot"
        )
    code = PayloadCode(num_bits, load_secret(args.payload_key, "payload"), model_hash)

    def judge(rows: np.ndarray, hashes: np.ndarray) -> tuple[dict[str, Any], str]:
        distinct = count_once(rows, hashes)
        found = code.decode(distinct.sum(axis=0), args.decision)
        is_ours = found.payload is not None and found.pvalue <= level
        values = {
            "images": len(rows),
            "distinct": len(distinct),
            "verdict": "payload" if is_ours else "not-ours",
            "payload": found.payload if is_ours else None,
            "pvalue": found.pvalue,
            "matches": found.matches,
            "num_bits": num_bits,
            "corrected": found.num_corrected if is_ours else None,
            "calibrated": False,
            "level": level,
            "decision": args.decision,
        }
        what = f"payload {found.payload}" if is_ours else "not-ours"
        return values, f"{what}  match {found.matches}/{num_bits}  p {found.pvalue:.1e}"

    return judge


def _print_summary(
    args: argparse.Namespace,
    counts: Counter[str],
    num_images: int,
    level: float,
    last: dict[str, Any],
    seconds: float,
) -> None:
    """Counts, and what all verdicts have in common, which stands in the last one."""
    wrong_name_rate = last.get("wrong_name_rate")  # payload mode names nobody
    num_verdicts = sum(counts.values())
    num_false = expected_false(level, num_verdicts)
    rate = num_images / max(seconds, 1e-9)
    summary = {
        "images": num_images,
        "verdicts": dict(counts),
        "level": level,
        "expected_false": num_false,
        "wrong_name_rate": wrong_name_rate,
        "images_per_second": round(rate, 2),
    }
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"
    text = f"verdicts: {listed}; false ones to expect if all are foreign: {num_false:.1e} at most"
    if wrong_name_rate is not None:
        text += f"; risk of a wrong name, per image of ours: {wrong_name_rate:.1e} at most"
    if "log_head" in last:
        text += f"; {head_text(last)}"
    emit(args, {"summary": summary}, f"{text}; {rate:.1f} images/s")
