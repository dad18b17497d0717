"""`keygen`: makes keys."""

import argparse

from fingerprints.keys import write_key
from gan_fingerprints.work.output import emit


def keygen(args: argparse.Namespace) -> None:
    """The command `keygen`."""
    files = [str(path) for path in write_key(args.file, args.kind)]
    emit(args, {"kind": args.kind, "files": files}, "\n".join(files))
