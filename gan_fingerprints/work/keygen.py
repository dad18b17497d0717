"""`keygen`: makes keys."""

import argparse

from fingerprints.keys import write_key
from fingerprints.provenance.certificates import write_c2pa_key
from gan_fingerprints.work.output import emit


def keygen(args: argparse.Namespace) -> None:
    """The command `keygen`."""
    if args.kind == "c2pa":
        files = [str(path) for path in write_c2pa_key(args.file, args.organisation)]
    else:
        files = [str(path) for path in write_key(args.file, args.kind)]
    emit(args, {"kind": args.kind, "files": files}, "\n".join(files))
