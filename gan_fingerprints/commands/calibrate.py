"""`calibrate`: how a decoder answers to images that its model did not make."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnnlib import cli
from dnnlib.errors import UserError
from fingerprints.image_files import source_of
from gan_fingerprints.commands.common import (
    Commands,
    Reader,
    add_images,
    add_json,
    add_network,
    add_registry,
    emit,
    image_paths,
    load_decoder,
    open_registry,
)

if TYPE_CHECKING:
    from fingerprints.detection.calibration import Calibration
    from fingerprints.registry.entries import Model
    from fingerprints.registry.facade import Registry

DESCRIPTION = """\
Reads foreign images, which the model did not make, and keeps the decoder's answers in the
registry. From then on `verify` reports the larger of the exact p-value and the one that these
images give, `issue` leaves out fingerprints that they lean to, and the decoder's confidence is
evidence of its own. Take images of the kind that will be judged, several thousand if you can. Crops
of one picture are called NAME-crop00.png, NAME-crop01.png, ... and count as one. A new calibration
takes the place of the one before.
"""
EXAMPLES = """examples:
  python3 run_fingerprints.py calibrate --network=network-final.pkl --resize foreign/*/
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `calibrate`."""
    parser = commands.add_parser(
        "calibrate",
        help="measure false matches on foreign images",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.set_defaults(function=calibrate, needs_tensorflow=True)
    add_network(parser, "snapshot with generator and decoder")
    add_registry(parser)
    add_images(parser)
    add_json(parser)
    parser.add_verbose()


def calibrate(args: argparse.Namespace) -> None:
    """The command `calibrate`."""
    paths = image_paths(args)

    from fingerprints.detection.calibration import MIN_INDEPENDENT, Calibration

    network, model_hash, decoder_hash = load_decoder(args.network)
    registry = open_registry(args, create=True)
    if model_hash is None:
        model = registry.find_model(decoder_hash)  # a decoder alone says less than the snapshot
    else:
        name = Path(args.network).name
        model = registry.add_model(model_hash, decoder_hash, network.fingerprint_size, name)

    reader = Reader(args, network, len(paths))
    found = list(reader.read(paths))
    rows = [logits for _, logits in found]
    sources = [source_of(path) for path, _ in found]
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
    values, text = _report(calibration, registry, model, [path for path, _ in found])
    emit(args, values, text)
    reader.finish(len(paths))


def _report(
    calibration: "Calibration", registry: "Registry", model: "Model", paths: Sequence[Path]
) -> tuple[dict[str, Any], str]:
    """What the calibration says of the fingerprints that are registered."""
    from fingerprints.detection.detector import open_index
    from fingerprints.detection.tails import match_pvalue, matches_needed
    from fingerprints.detection.verdict import FPR

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
        best = index.max_matches((calibration.logits > 0).astype(np.uint8))
        needed = matches_needed(model.num_bits, len(index), FPR)
        values |= {"most_matches": int(best.max()), "matches_needed": needed}
        lines.append(
            f"most matches with any of {len(index)} fingerprints: {best.max()} of {model.num_bits}"
        )
        if needed is not None:
            if ours := [str(path) for path, m in zip(paths, best, strict=True) if m >= needed]:
                print(
                    f"warning: {len(ours)} of these images match a registered fingerprint as only "
                    f"the model's own should; are they foreign? ({ours[0]}"
                    f"{', ...' if len(ours) > 1 else ''}) Take them out and calibrate again",
                    file=sys.stderr,
                )
            values["calibrated_pvalue"] = null.match_pvalue(needed)
            values["exact_pvalue"] = match_pvalue(needed, model.num_bits, len(index))
            lines.append(
                f"at {needed} matches, which fpr {FPR:g} needs: p exact "
                f"{values['exact_pvalue']:.1e}, calibrated {values['calibrated_pvalue']:.1e}"
            )
    return values, "\n".join(lines)
