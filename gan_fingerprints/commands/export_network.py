"""Writes a snapshot for other programs: the published TensorFlow 1 code, or anything with NumPy."""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from gan_fingerprints.commands.common import add_network

LAYOUTS = ("published", "torch", "npz")  # keys of training.models.layouts.LAYOUTS

HELP = "write a snapshot for other programs: the published code, PyTorch, plain arrays"
DESCRIPTION = """\
published: a pickle (E, G, D, Gs) that the published TensorFlow 1 code and NumPy 1 read, if the
snapshot has all four; plain StyleGAN2 is (G, D, Gs), as its own code in TensorFlow 1 has it. The
code of the networks is not in the file: the loader imports it from training.networks_stylegan2 of
the published code, which has to be importable there.
torch: plain StyleGAN2 as a pickle of G, D and G_ema that StyleGAN2-ADA's PyTorch code reads. The
classes are not in the file either: they are imported from training.networks of that code.
npz: all variables as plain arrays, E/..., G/..., D/..., Gs/..., and one JSON text.
Every --network of this project takes all of these files.
"""
EXAMPLE = """example:
  {command} --network=network-final.pkl --layout=published --out=for-tf1.pkl
"""

WORK = cli.deferred("gan_fingerprints.work.export_network:export")


def add_flags(parser: cli.ArgumentParser) -> None:
    """Adds the flags of `export`."""
    add_network(parser, "snapshot")
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="of the file to write")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_verbose()


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs `export` with its flags alone."""
    parser = cli.ArgumentParser(prog=prog, description=DESCRIPTION, epilog=EXAMPLE)
    add_flags(parser)
    run(parser.parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Runs `export` with parsed arguments."""
    quiet_tensorflow(args.verbose)
    WORK(args)
