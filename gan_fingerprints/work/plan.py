"""`plan`: what a number of bits can do."""

import argparse
from dataclasses import asdict

from fingerprints.detection import planning
from fingerprints.detection.views import SEARCHES
from gan_fingerprints.work.output import emit, write_line


def plan(args: argparse.Namespace) -> None:
    """The command `plan`."""
    found = planning.plan(
        args.bits,
        args.licensees,
        args.fpr,
        num_views=len(SEARCHES[args.search]),
        decision=args.decision,
    )
    if args.json:
        emit(args, asdict(found), "")
    else:
        write_line("\n".join(found.lines()))
