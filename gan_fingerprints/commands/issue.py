"""`issue` and `verify-manifest`: generators of their own for licensees, and their papers."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from dnnlib import cli
from dnnlib.atomic import write_error
from dnnlib.errors import UserError
from gan_fingerprints.commands.common import (
    Commands,
    add_json,
    add_network,
    add_registry,
    emit,
    open_registry,
)

if TYPE_CHECKING:
    from fingerprints.registry.entries import Fingerprint, Model
    from fingerprints.registry.facade import Registry
    from training.models.baking import Baker
    from training.models.legacy import NetworkData

FORMATS = {"pkl": ".pkl", "savedmodel": ".savedmodel", "onnx": ".onnx"}  # name -> file ending
MANIFEST_ENDING = ".manifest.json"

ISSUE_DESCRIPTION = """\
Writes a generator for each licensee, with the licensee's fingerprint baked into plain
convolutions: no fingerprint input, no bits, no mapping network and no decoder in the file. The
registry draws the fingerprint and keeps it; beside each file goes a manifest signed with --key.
A licensee who has a fingerprint already gets the same file again, so an interrupted command is
simply given again.
"""
ISSUE_EXAMPLES = """examples:
  python3 run_fingerprints.py issue --network=network-final.pkl --key=signing.key --licensee=acme
  python3 run_fingerprints.py issue --network=network-final.pkl --key=signing.key \\
      --csv=licensees.csv --format=pkl,onnx
"""
VERIFY_DESCRIPTION = """\
Checks that a manifest was signed with the private half of this key and that the instance beside
it is the one it speaks of.
"""


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the commands `issue` and `verify-manifest`."""
    parser = commands.add_parser(
        "issue",
        help="give licensees generators of their own",
        description=ISSUE_DESCRIPTION,
        epilog=ISSUE_EXAMPLES,
    )
    parser.set_defaults(function=issue, needs_tensorflow=True)
    add_network(parser, "snapshot with generator and decoder")
    add_registry(parser)
    parser.add_argument(
        "--key", required=True, metavar="FILE", help="signing key, see the command keygen"
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--licensee", metavar="ID", help="one licensee")
    who.add_argument(
        "--csv",
        metavar="FILE",
        help="many: a file with the columns `licensee` and, if you like, `name`",
    )
    who.add_argument(
        "--payload",
        type=int,
        metavar="N",
        help="no registry: the fingerprint is the number N in the model's code, see --payload-key",
    )
    parser.add_argument("--name", default="", metavar="TEXT", help="of the one licensee")
    parser.add_argument(
        "--payload-key", metavar="FILE", help="hides the code (keygen --kind=payload)"
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=["pkl"],
        metavar="LIST",
        help=f"of {', '.join(FORMATS)}, separated by commas (default: pkl)",
    )
    parser.add_argument(
        "--result-dir",
        default="instances",
        metavar="DIR",
        help="where LICENSEE.pkl and so on go (default: instances)",
    )
    parser.add_argument(
        "--min-distance",
        type=cli.positive_int,
        metavar="BITS",
        help="by which fingerprints differ at least (default: a quarter of the bits, or what "
        "leaves room for all licensees)",
    )
    parser.add_argument(
        "--replace-revoked",
        action="store_true",
        help="licensees whose fingerprint was revoked get a new one; without this they are refused",
    )
    add_json(parser)
    parser.add_verbose()

    parser = commands.add_parser(
        "verify-manifest",
        help="check an instance's signed manifest",
        description=VERIFY_DESCRIPTION,
        epilog="example:\n  python3 run_fingerprints.py verify-manifest "
        "--public-key=signing.key.pub instances/acme.pkl.manifest.json",
    )
    parser.set_defaults(function=verify_manifest, needs_tensorflow=False)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument(
        "--public-key", required=True, metavar="FILE", help="public half of the signing key (*.pub)"
    )
    parser.add_argument(
        "--instance",
        metavar="FILE",
        help="the instance (default: the manifest's name without .manifest.json)",
    )
    add_json(parser)
    parser.add_verbose()


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def read_licensees(path: str) -> list[tuple[str, str]]:
    """Ids and names from a CSV file with a header.

    Raises:
        UserError: it cannot be read, has no column `licensee`, or a row without one; names the row.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "licensee" not in (reader.fieldnames or ()):
                raise UserError(f"--csv={path}: the first line must name a column `licensee`")
            found: dict[str, str] = {}
            for row in reader:
                licensee = check_licensee(row["licensee"], f"--csv={path}, line {reader.line_num}")
                if licensee in found:
                    raise UserError(
                        f"--csv={path}, line {reader.line_num}: {licensee} is listed twice"
                    )
                found[licensee] = row.get("name") or ""
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"cannot read --csv={path}: {error}") from error
    if not found:
        raise UserError(f"--csv={path} lists no licensees")
    return list(found.items())


def check_licensee(text: str | None, where: str) -> str:
    """A licensee's id, which is also a file's name.

    Raises:
        UserError: it cannot be one.
    """
    from fingerprints.registry.entries import LICENSEE_ID

    if not LICENSEE_ID.fullmatch(text or ""):
        raise UserError(
            f"{where}: {text!r} cannot be a licensee's id; use up to 100 letters, digits and "
            "._@+-, beginning with a letter or digit (the name may be anything)"
        )
    assert text is not None
    return text


@dataclass(frozen=True)
class _Order:
    """One instance to make."""

    licensee: str
    bits: np.ndarray  # uint8 [B]
    fingerprint: "Fingerprint | None"  # None in payload mode


def issue(args: argparse.Namespace) -> None:
    """The command `issue`."""
    from fingerprints.keys import load_signing_key

    licensees: list[tuple[str, str]] = []
    if args.csv is not None:
        licensees = read_licensees(args.csv)
    elif args.licensee is not None:
        licensees = [(check_licensee(args.licensee, "--licensee"), args.name)]
    elif args.payload_key is None:
        raise UserError("--payload needs --payload-key; make one with keygen --kind=payload")
    signing_key = load_signing_key(args.key)
    if "onnx" in args.format:
        from training.models.export import import_onnx

        import_onnx()  # what is missing shall be said before anything is reserved
    folder = Path(args.result_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error

    from training.models.baking import Baker
    from training.models.hashes import hashes_of
    from training.models.snapshot import load_networks, read_snapshot

    model_hash, decoder_hash = hashes_of(read_snapshot(args.network)[0], args.network)
    if model_hash is None or decoder_hash is None:
        raise UserError(
            f"--network={args.network} must hold a generator and its decoder, which reads the "
            "fingerprints back; name the training's snapshot"
        )
    generator = load_networks(args.network, only="generator").fingerprinted
    baker = Baker(generator)

    registry: Registry | None = None
    if args.payload is None:
        registry = open_registry(args, create=True)
        name = Path(args.network).name
        model = registry.add_model(model_hash, decoder_hash, generator.fingerprint_size, name)
        orders = _reserve(args, registry, model, licensees)
    else:
        orders = [_payload_order(args, generator.fingerprint_size, model_hash)]

    writer = _Writer(baker, folder, args.format)
    with tqdm(total=len(orders), unit="instance", file=sys.stderr, disable=None) as progress:
        for order in orders:
            for file_format, path, instance_hash in writer.write(order):
                _finish(args, registry, model_hash, order, file_format, path, instance_hash,
                        signing_key)  # fmt: skip
            progress.update()


def _reserve(
    args: argparse.Namespace,
    registry: "Registry",
    model: "Model",
    licensees: Sequence[tuple[str, str]],
) -> list[_Order]:
    """Reserves a fingerprint for each licensee, or finds the one that is there."""
    from fingerprints.detection.detector import load_calibration
    from fingerprints.detection.planning import default_min_distance

    calibration = load_calibration(registry, model)
    if calibration is None:
        print(
            "not calibrated: fingerprints are drawn without regard to what foreign images show "
            "(see the command calibrate)",
            file=sys.stderr,
        )
    min_distance = args.min_distance
    if min_distance is None:
        expected = registry.counts(model).fingerprints + len(licensees)
        min_distance = default_min_distance(model.num_bits, expected)
    found = registry.reserve(
        model,
        licensees,
        min_distance=min_distance,
        is_favoured=None if calibration is None else calibration.favoured,
        replace_revoked=args.replace_revoked,
    )
    return [_Order(entry.licensee, entry.bits, entry) for entry in found]


def _payload_order(args: argparse.Namespace, num_bits: int, model_hash: str) -> _Order:
    from fingerprints.detection.codec import PayloadCode
    from fingerprints.keys import load_secret

    code = PayloadCode(num_bits, load_secret(args.payload_key, "payload"), model_hash)
    return _Order(f"payload-{args.payload}", code.encode(args.payload), None)


class _Writer:
    """Writes the files of one instance after the other; what can be shared is made once."""

    def __init__(self, baker: "Baker", folder: Path, formats: Sequence[str]) -> None:
        self._baker = baker
        self._folder = folder
        self._formats = formats
        self._exporters: dict[str, Any] = {}

    def write(self, order: _Order) -> Iterator[tuple[str, Path, str]]:
        """Yields format, path and hash of every file."""
        data = self._baker.bake(order.bits)
        for name in self._formats:
            path = self._folder / f"{order.licensee}{FORMATS[name]}"
            yield name, path, self._write_one(name, data, path)

    def _write_one(self, name: str, data: "NetworkData", path: Path) -> str:
        """Writes one file; returns its hash."""
        from dnnlib.atomic import remove_folder
        from fingerprints.instances.instance_manifest import hash_tree
        from training.models.baking import write_instance
        from training.models.export import OnnxExporter, SavedModelExporter

        if name == "pkl":
            return write_instance(path, data)
        if name not in self._exporters:
            self._exporters[name] = {"onnx": OnnxExporter, "savedmodel": SavedModelExporter}[name](
                data
            )
        if name == "savedmodel":
            remove_folder(path)  # of an earlier call; a folder cannot be replaced in one step
        self._exporters[name].write(data, path)
        return hash_tree(path)


def _finish(
    args: argparse.Namespace,
    registry: "Registry | None",
    model_hash: str,
    order: _Order,
    file_format: str,
    path: Path,
    instance_hash: str,
    signing_key: Any,
) -> None:
    """Signs and writes the manifest of a file, and enters the file into the registry's log."""
    from fingerprints.instances import instance_manifest
    from fingerprints.registry.event_log import utc_now

    manifest = instance_manifest.InstanceManifest(
        licensee=order.licensee,
        model_hash=model_hash,
        instance_hash=instance_hash,
        file_format=file_format,
        time=utc_now(),
        log_head="" if registry is None else registry.head(),
        fingerprint_id=None if order.fingerprint is None else order.fingerprint.id,
    )
    manifest_path = path.with_name(path.name + MANIFEST_ENDING)
    manifest_hash = instance_manifest.write(
        manifest_path, instance_manifest.sign(manifest, signing_key)
    )
    if registry is not None:
        assert order.fingerprint is not None
        registry.record_issue(order.fingerprint, instance_hash, file_format, manifest_hash)
    values = {
        "licensee": order.licensee,
        "file": str(path),
        "manifest": str(manifest_path),
        "instance_hash": instance_hash,
        "format": file_format,
    }
    emit(args, values, f"{order.licensee}  {path}  {manifest_path}")


def verify_manifest(args: argparse.Namespace) -> None:
    """The command `verify-manifest`."""
    from fingerprints.instances.instance_manifest import read_and_verify
    from fingerprints.keys import load_public_key

    if args.instance is not None and len(args.manifests) > 1:
        raise UserError("--instance goes with one manifest; without it, each has its own")
    key = load_public_key(args.public_key)
    num_bad = 0
    for name in args.manifests:
        try:
            manifest = read_and_verify(name, key, _instance_of(name, args.instance))
        except UserError as error:
            num_bad += 1
            emit(args, {"manifest": name, "valid": False, "error": str(error)}, f"BAD  {error}")
            continue
        values = {"manifest": name, "valid": True, **asdict(manifest)}
        emit(
            args,
            values,
            f"good  {name}: {manifest.licensee}, {manifest.file_format}, {manifest.time}",
        )
    if num_bad:
        raise UserError(f"{num_bad} of {len(args.manifests)} manifests are not valid")


def _instance_of(manifest: str, instance: str | None) -> Path:
    if instance is not None:
        return Path(instance)
    if not manifest.endswith(MANIFEST_ENDING):
        raise UserError(f"{manifest}: its name does not tell the instance; name it by --instance")
    return Path(manifest.removesuffix(MANIFEST_ENDING))
