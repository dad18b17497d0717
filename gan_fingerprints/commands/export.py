"""Flags of `run_generator.py export`: a snapshot for the published code, or for NumPy alone."""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from gan_fingerprints.commands.common import add_network

LAYOUTS = ("published", "npz")
HELP = "write a snapshot in the published layout, or as plain arrays"
DESCRIPTION = """\
Writes the networks of a snapshot for other programs:

published  as the published TensorFlow 1 code pickles its networks: E, G, D and Gs in one file.
           Its loader imports the building functions from its own training.networks_stylegan2.
npz        every variable as E/..., G/..., D/..., Gs/... in one NumPy file, and networks.json with
           classes and keywords. Any snapshot or instance.

Both are read by every command here, and give back equal networks.
"""


def add(commands: "argparse._SubParsersAction[cli.ArgumentParser]") -> None:
    """Adds the command `export`."""
    parser: cli.ArgumentParser = commands.add_parser("export", help=HELP, description=DESCRIPTION)
    add_flags(parser)


def add_flags(parser: cli.ArgumentParser) -> None:
    """Adds the command's flags."""
    add_network(parser, "snapshot")
    parser.add_argument("--layout", required=True, choices=LAYOUTS)
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_verbose()
    parser.set_defaults(work=cli.deferred("gan_fingerprints.work.export:export"))


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs `export` with its flags alone."""
    parser = cli.ArgumentParser(prog=prog, description=DESCRIPTION)
    add_flags(parser)
    args = parser.parse_args(argv)
    quiet_tensorflow(args.verbose)
    args.work(args)
