"""`export`: a snapshot for the published code, or for NumPy alone."""

import argparse

from training.models.published import save_npz, save_published
from training.models.snapshot import read_snapshot


def export(args: argparse.Namespace) -> None:
    """The command `export`.

    Raises:
        UserError: no snapshot, or one that the layout cannot hold.
    """
    networks, _ = read_snapshot(args.network)
    if args.layout == "published":
        save_published(args.out, networks, args.network)
    else:
        save_npz(args.out, networks)
    print(args.out)
