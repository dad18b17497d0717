"""Flags of `plan`."""

from dnnlib import cli
from gan_fingerprints.commands.common import (
    Commands,
    add_command,
    add_decision,
    add_fpr,
    add_json,
    add_search,
)

HELP = "what a number of bits can do"
DESCRIPTION = """\
Says before any training what a number of bits can do: how many must match so that an image of
another origin is called ours with a probability of at most F, the bit accuracy that takes, how
many licensees are possible at all, and how far apart fingerprints can be kept.
"""

EXAMPLES = "example:\n  {command} --bits=128 --licensees=1000"

WORK = cli.deferred("gan_fingerprints.work.plan:plan")


def add(commands: "Commands[cli.ArgumentParser]") -> None:
    """Adds the command `plan`."""
    parser = add_command(commands, "plan", HELP, WORK, DESCRIPTION, EXAMPLES)
    parser.add_argument("--bits", type=cli.positive_int, required=True, metavar="B")
    parser.add_argument("--licensees", type=cli.positive_int, required=True, metavar="N")
    add_fpr(parser)
    add_decision(parser)
    add_search(parser)
    add_json(parser)
