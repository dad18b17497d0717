"""`issue`: generators of their own for licensees, and their papers."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.atomic import write_error
from dnnlib.errors import UserError
from fingerprints.detection.codec import PayloadCode
from fingerprints.detection.detector import load_calibration
from fingerprints.entries import Fingerprint
from fingerprints.instances.issuing import Issuer, reserve
from fingerprints.keys import load_secret, load_signing_key
from fingerprints.registry.facade import Registry
from gan_fingerprints.work.licensees import check_licensee, read_licensees
from gan_fingerprints.work.models import load_model
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import (
    head_text,
    keep_heads,
    not_calibrated,
    open_registry,
)
from training.models.adopted_baking import make_baker
from training.models.instances import make_writers
from training.networks.table import Fingerprinted


@dataclass(frozen=True)
class _Order:
    """One instance to make."""

    licensee: str
    bits: np.ndarray  # uint8 [B]
    fingerprint: Fingerprint | None  # None in payload mode


def issue(args: argparse.Namespace) -> None:
    """The command `issue`."""
    licensees: list[tuple[str, str]] = []
    if args.csv is not None:
        licensees = read_licensees(args.csv)
    elif args.licensee is not None:
        licensees = [(check_licensee(args.licensee, "--licensee"), args.name)]
    elif args.payload_key is None:
        raise UserError("--payload needs --payload-key; make one with keygen --kind=payload")
    signing_key = load_signing_key(args.key)
    writers = make_writers(args.format)
    folder = Path(args.result_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    networks, model_hash, decoder_hash = load_model(args.network, only="generator")
    generator = networks.fingerprinted
    spread_seed = model_hash.encode() if args.spread else None
    baker = make_baker(generator, args.network, spread_seed=spread_seed)

    registry: Registry | None = None
    if args.payload is None:
        registry = open_registry(args, create=True)
        keep_heads(args, registry)  # before anything is drawn: it may have lost fingerprints
        orders = _reserve(args, registry, generator, (model_hash, decoder_hash), licensees)
    else:
        orders = [_payload_order(args, generator.fingerprint_size, model_hash)]

    issuer = Issuer(
        baker.bake,
        writers,
        folder,
        model_hash=model_hash,
        signing_key=signing_key,
        registry=registry,
        spread=args.spread,
    )
    with tqdm(total=len(orders), unit="instance", file=sys.stderr, disable=None) as progress:
        for order in orders:
            for issued in issuer.issue(order.licensee, order.bits, order.fingerprint):
                values = {
                    "licensee": issued.licensee,
                    "file": str(issued.path),
                    "manifest": str(issued.manifest_path),
                    "instance_hash": issued.instance_hash,
                    "format": issued.file_format,
                }
                text = f"{issued.licensee}  {issued.path}  {issued.manifest_path}"
                emit(args, values, text)
            progress.update()
    if registry is not None:
        print(head_text(keep_heads(args, registry)), file=sys.stderr)


def _reserve(
    args: argparse.Namespace,
    registry: Registry,
    generator: Fingerprinted,
    hashes: tuple[str, str],
    licensees: list[tuple[str, str]],
) -> list[_Order]:
    """Reserves a fingerprint for each licensee, or finds the one that is there."""
    name = Path(args.network).name
    model = registry.add_model(*hashes, generator.fingerprint_size, name)
    if load_calibration(registry, model) is None:
        print(
            f"{not_calibrated(registry, model)}: fingerprints are drawn without regard to what "
            "foreign images show",
            file=sys.stderr,
        )
    found = reserve(
        registry,
        model,
        licensees,
        min_distance=args.min_distance,
        replace_revoked=args.replace_revoked,
    )
    return [_Order(entry.licensee, entry.bits, entry) for entry in found]


def _payload_order(args: argparse.Namespace, num_bits: int, model_hash: str) -> _Order:
    code = PayloadCode(num_bits, load_secret(args.payload_key, "payload"), model_hash)
    return _Order(f"payload-{args.payload}", code.encode(args.payload), None)
