"""Gives licensees fingerprints of their own, reads fingerprints from images, and says whose."""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from gan_fingerprints.commands import calibrate, decode, issue, verify
from gan_fingerprints.commands import plan as planning
from gan_fingerprints.commands import registry_contents as registry

# In the order of a fingerprint's life, which is that of `--help`.
GROUPS = (planning, issue, registry, decode, calibrate, verify)


def build_parser() -> argparse.ArgumentParser:
    """The command line of this file; every command has a function that adds its parser."""
    parser = cli.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv` (without the program's name); None means sys.argv."""
    args = build_parser().parse_args(argv)
    if args.needs_tensorflow:
        quiet_tensorflow(args.verbose)
    args.function(args)


if __name__ == "__main__":
    cli.run(main)
