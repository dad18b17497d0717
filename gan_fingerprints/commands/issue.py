"""Flags of `issue`."""

import argparse

from dnnlib import cli
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_json,
    add_network,
    add_registry,
    add_result_dir,
)

FORMATS = ("pkl", "savedmodel", "onnx")  # keys of training.models.instances.WRITERS


HELP = "give licensees generators of their own"
DESCRIPTION = """\
Writes a generator for each licensee, with the licensee's fingerprint baked into plain
convolutions: no fingerprint input, no bits, no mapping network and no decoder in the file. The
registry draws the fingerprint and keeps it; beside each file goes a manifest signed with --key.
A licensee who has a fingerprint already gets the same file again, so an interrupted command is
simply given again.
"""
EXAMPLES = """examples:
  {command} --network=network-final.pkl --key=signing.key --licensee=acme
  {command} --network=network-final.pkl --key=signing.key \\
      --csv=licensees.csv --format=pkl,onnx
"""

WORK = cli.deferred("gan_fingerprints.work.issue:issue")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `issue`."""
    parser = add_command(commands, "issue", HELP, WORK, DESCRIPTION, EXAMPLES)
    add_network(parser, "snapshot with generator and decoder")
    add_registry(parser)
    parser.add_argument(
        "--key", required=True, metavar="FILE", help="signing key, see the command keygen"
    )
    _add_licensees(parser)
    parser.add_argument(
        "--format",
        type=_formats,
        default=["pkl"],
        metavar="LIST",
        help=f"of {', '.join(FORMATS)}, separated by commas (default: pkl)",
    )
    add_result_dir(parser, "where LICENSEE.pkl and so on go", "instances")
    parser.add_argument(
        "--spread",
        action="store_true",
        help="of an adopted generator: all weights in other numbers, which compute the same, for "
        "each licensee, so that the mean of files is no generator",
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


def _add_licensees(parser: cli.ArgumentParser) -> None:
    """Adds who gets an instance."""
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


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names
