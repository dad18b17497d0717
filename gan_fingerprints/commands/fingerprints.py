"""Gives licensees fingerprints of their own, reads fingerprints from images, and says whose."""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from gan_fingerprints.commands import (
    adopt,
    calibrate,
    decode,
    issue,
    keygen,
    plan,
    registry_contents,
    retune,
    serve,
    verify,
    verify_manifest,
)

# In the order of a fingerprint's life, which is that of `--help`.
GROUPS = (
    *(keygen, plan, adopt, issue, verify_manifest, registry_contents),
    *(decode, retune, calibrate, verify, serve),
)


def build_parser(prog: str | None = None) -> cli.ArgumentParser:
    """The command line; every command has a function that adds its parser."""
    parser = cli.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the command line `argv` (without the program's name); None means sys.argv."""
    args = build_parser(prog).parse_args(argv)
    if args.needs_tensorflow:
        quiet_tensorflow(args.verbose)
    args.function(args)
