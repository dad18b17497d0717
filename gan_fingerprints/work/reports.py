"""`verify --report` and `verify-report`: evidence on one picture."""

import argparse
import hashlib
import platform
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import read_bytes
from fingerprints.keys import load_public_key, load_signing_key
from fingerprints.provenance.case_report import in_plain_words, read_report, write_report
from gan_fingerprints.work.bulk import ResultsOf, Work
from gan_fingerprints.work.credentials import kind_of
from gan_fingerprints.work.output import Line, emit

_LIBRARIES = ("gan-fingerprints", "tensorflow", "numpy", "scipy", "pillow")


def with_report(
    args: argparse.Namespace, work: Work, basis: Mapping[str, Any], results_of: ResultsOf
) -> ResultsOf:
    """Results of which a report is written before they are told, for `verify --report`.

    Args:
        args: the flags of `verify`.
        work: one picture.
        basis: what the verdict follows from, beside the picture: JSON values.
        results_of: the results.

    Raises:
        UserError: not one picture by itself, no registry, or a key that cannot be used.
    """
    if args.report is None:
        if args.report_key is not None:
            raise UserError("--report-key signs a report; give --report=FILE as well")
        return results_of
    if work.num_results != 1 or args.pool or args.payload_key is not None or args.out is not None:
        raise UserError(
            "--report is on one picture, by a registry; leave --pool, --payload-key and --out out"
        )
    if args.report_key is None:
        raise UserError("--report is signed; give --report-key, see the command keygen")
    key = load_signing_key(args.report_key)

    def reported(names: Sequence[str], num_done: int) -> Generator[list[Line], None, None]:
        for lines in results_of(names, num_done):
            for line in lines:
                if "error" not in line.values:
                    content = read_bytes(line.values["file"], "the picture")
                    case = case_of(line.values, content, basis)
                    write_report(args.report, case, content, kind_of(content), key)
            yield lines

    return reported


def case_of(values: Mapping[str, Any], content: bytes, basis: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says.

    Args:
        values: of a verdict, as `verify --json` tells them.
        content: of the picture's file.
        basis: what the verdict follows from beside the picture: JSON values.
    """
    versions = {name: _version(name) for name in _LIBRARIES}
    return {
        **values,
        "sha256": hashlib.sha256(content).hexdigest(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **basis,
        "versions": {"python": platform.python_version(), **versions},
    }


def _version(name: str) -> str:
    """Of an installed package; our own may run from its checkout."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "from a checkout"


def verify_report(args: argparse.Namespace) -> None:
    """The command `verify-report`."""
    case = read_report(args.report, load_public_key(args.public_key))
    lines = [f"{args.report}: the signature fits, of {case['time']}", *in_plain_words(case)]
    emit(args, case, "\n".join(lines))
