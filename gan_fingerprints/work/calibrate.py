"""`calibrate`: how a decoder answers to images that its model did not make."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from fingerprints.detection.calibration import MIN_INDEPENDENT, Calibration
from fingerprints.detection.detector import open_index
from fingerprints.detection.tails import binomial_tail, matches_needed
from fingerprints.detection.verdict import FPR, decide
from fingerprints.entries import Model
from fingerprints.image_files import source_of
from fingerprints.registry.facade import Registry
from gan_fingerprints.work.images import Reader, image_paths, load_decoder
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import head_text, keep_heads, open_registry


def calibrate(args: argparse.Namespace) -> None:
    """The command `calibrate`."""
    paths = image_paths(args)

    network, model_hash, decoder_hash = load_decoder(args.network)
    registry = open_registry(args, create=True)
    if model_hash is None:
        model = registry.find_model(decoder_hash)  # a decoder alone says less than the snapshot
    else:
        name = Path(args.network).name
        model = registry.add_model(model_hash, decoder_hash, network.fingerprint_size, name)

    reader = Reader(args, network, len(paths))
    found = list(reader.read(paths))
    rows = [image.logits for image in found]
    sources = [source_of(image.path) for image in found]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    if len(numbers) < MIN_INDEPENDENT:
        raise UserError(
            f"{len(numbers)} independent foreign images are too few to calibrate with; give at "
            f"least {MIN_INDEPENDENT}, better thousands"
        )
    calibration = Calibration.from_logits(
        decoder_hash, np.stack(rows), np.array([numbers[source] for source in sources])
    )
    registry.save_calibration(model, calibration.to_bytes(), len(rows))
    head = keep_heads(args, registry)
    values, text = _report(calibration, registry, model, [image.path for image in found])
    emit(args, {**values, **head}, f"{text}\n{head_text(head)}")
    reader.finish(len(paths))


def _report(
    calibration: Calibration, registry: Registry, model: Model, paths: Sequence[Path]
) -> tuple[dict[str, Any], str]:
    """What the calibration says of the fingerprints that are registered."""
    index = open_index(registry, model)
    values: dict[str, Any] = {
        "model_hash": model.model_hash,
        "images": calibration.num_images,
        "independent": calibration.num_independent,
        "fingerprints": len(index),
    }
    lines = [f"{calibration.num_images} foreign images, {calibration.num_independent} independent"]
    if len(index):
        null = calibration.null_for(index)
        num_tests = len(index) * len(calibration.views)
        verdicts = decide(calibration.logits, index, fpr=FPR, views=calibration.views)
        most, least = max(v.matches for v in verdicts), min(v.exact_pvalue for v in verdicts)
        values |= {"most_matches": most, "least_pvalue": least}
        lines.append(
            f"nearest to any of {len(index)} fingerprints: {most} of {model.num_bits} matches; "
            f"smallest p: {least:.1e}"
        )
        if ours := [str(path) for path, v in zip(paths, verdicts, strict=True) if v.is_ours]:
            print(
                f"warning: {len(ours)} of these images match a registered fingerprint as only the "
                f"model's own should; are they foreign? ({ours[0]}"
                f"{', ...' if len(ours) > 1 else ''}) Take them out and calibrate again",
                file=sys.stderr,
            )
        needed = matches_needed(model.num_bits, num_tests, FPR)
        values["matches_needed"] = needed
        if needed is not None:
            single = binomial_tail(needed, model.num_bits)
            values["calibrated_pvalue"] = float(null.pvalue(single))
            values["exact_pvalue"] = min(1.0, num_tests * float(single))
            lines.append(
                f"at {needed} equally clear matches, which fpr {FPR:g} needs: p exact "
                f"{values['exact_pvalue']:.1e}, calibrated {values['calibrated_pvalue']:.1e}"
            )
    return values, "\n".join(lines)
