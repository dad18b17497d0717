"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries.

Also writes the generator and its partners for other programs: `export`.
"""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from gan_fingerprints.commands import export_network
from gan_fingerprints.commands.common import (
    add_minibatch,
    add_network,
    add_num_gpus,
    add_result_dir,
)

EXAMPLE = """example:
  {command} --network=network-final.pkl --seeds=0-15 \\
      --fingerprint=0xcafe1234 --grid
"""
DESCRIPTION = """\
Writes seed0000.png, ... and fingerprints.jsonl into a new numbered folder
under --result-dir and prints the folder's name. The same seeds give the same pictures.
An instance, which has one fingerprint in its weights, makes the pictures that its
snapshot makes with that fingerprint, and no fingerprints.jsonl: it does not know it.
"""


def seed_list(text: str) -> list[int]:
    """Parses `--seeds` into different seeds that NumPy's RandomState takes, in the order given."""
    seeds = list(dict.fromkeys(cli.number_list(text)))
    if max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"{max(seeds)} is too large: seeds end at {2**32 - 1}")
    return seeds


def build_parser(prog: str | None = None) -> cli.ArgumentParser:
    """The command line of run_generator.py."""
    example = EXAMPLE.replace("{command}", "{command} generate-images")
    parser = cli.ArgumentParser(prog=prog, description=__doc__, epilog=example)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    images = commands.add_parser(
        "generate-images",
        help="write one PNG file per seed, and fingerprints.jsonl beside them",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    add_flags(images)
    images.set_defaults(function=_run)
    export = commands.add_parser(
        "export",
        help=export_network.HELP,
        description=export_network.DESCRIPTION,
        epilog=export_network.EXAMPLE,
    )
    export_network.add_flags(export)
    export.set_defaults(function=export_network.run)
    return parser


def add_flags(parser: cli.ArgumentParser) -> None:
    """Adds the flags of `generate-images`."""
    add_network(parser, "snapshot")
    parser.add_argument(
        "--seeds", required=True, type=seed_list, metavar="LIST", help="0-63, 1,2,5 or a mixture"
    )
    add_result_dir(parser, "where the numbered folder is made")
    cli.add_boolean(
        parser,
        "--identical-latent",
        default=False,
        help="all images share the latent of the first seed",
    )
    cli.add_boolean(
        parser,
        "--identical-watermark",
        default=False,
        help="all images share the fingerprint of the first seed",
    )
    parser.add_argument(
        "--fingerprint",
        metavar="HEX|BITS",
        help="the fingerprint that all images carry: as many characters 0/1 as the network has "
        "bits, or a quarter as many hex digits (default: drawn by seed)",
    )
    parser.add_argument("--grid", action="store_true", help="write grid.png as well")
    add_minibatch(parser, 16, "images per step, on all GPUs together")
    add_num_gpus(parser)
    parser.add_argument(
        "--truncation-psi", type=float, metavar="X", help="accepted, but without effect"
    )
    add_execution(parser)
    parser.add_verbose()


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs run_generator.py."""
    args = build_parser(prog).parse_args(argv)
    args.function(args)


def generate(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs `generate-images` with its flags alone."""
    parser = cli.ArgumentParser(prog=prog, description=DESCRIPTION, epilog=EXAMPLE)
    add_flags(parser)
    _run(parser.parse_args(argv))


def _run(args: argparse.Namespace) -> None:
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.generate:generate_images")(args)
