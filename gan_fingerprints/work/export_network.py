"""Writes a snapshot for other programs: the published TensorFlow 1 code, or anything with NumPy."""

import argparse
import os
import sys

from dnnlib.errors import UserError
from training.models.layouts import export_snapshot


def export(args: argparse.Namespace) -> None:
    """The command `export`; prints the name of the file.

    Raises:
        UserError: anything that the user can mend.
    """
    both_exist = os.path.exists(args.out) and os.path.exists(args.network)
    if both_exist and os.path.samefile(args.out, args.network):
        raise UserError(f"--out={args.out} is --network itself; choose another name")
    note = export_snapshot(args.network, args.layout, args.out)
    if note:
        print(note, file=sys.stderr)
    print(args.out)
