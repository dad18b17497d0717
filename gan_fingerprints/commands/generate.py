"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries.

Also writes the generator and its partners for other programs: `export`.
"""

import argparse
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from fingerprints.handles import SOFT_BINDING
from gan_fingerprints.commands import export_network
from gan_fingerprints.commands.common import (
    add_minibatch,
    add_network,
    add_num_gpus,
    add_result_dir,
)

NOISE_MODES = ("random", "const", "none")  # as in training.models.functions
EXAMPLE = """example:
  {command} --network=network-final.pkl --seeds=0-15 \\
      --fingerprint=0xcafe1234 --grid
"""
DESCRIPTION = """\
Writes seed0000.png, ... and fingerprints.jsonl into a new numbered folder
under --result-dir and prints the folder's name. The same seeds give the same pictures.
An instance, which has one fingerprint in its weights, makes the pictures that its
snapshot makes with that fingerprint, and no fingerprints.jsonl: it does not know it.
Plain StyleGAN2, whether trained here or a file of NVIDIA's TensorFlow or PyTorch code,
makes the pictures that its users know by these seeds; they carry no fingerprint.
"""
MIXING_EXAMPLE = """example:
  {command} --network=stylegan2-ffhq.pkl --row-seeds=85,100,75 \
      --col-seeds=55,821 --col-styles=0-6 --truncation-psi=0.7
"""
MIXING = """\
Writes 85-55.png for every pair of seeds: the picture of the row's seed 85, whose layers
--col-styles have the styles of the column's seed 55; 85-85.png is a seed's own picture;
grid.png shows all of them. The network is plain StyleGAN2: in fingerprinted ones the styles
carry the fingerprint.
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
    mixing = commands.add_parser(
        "style-mixing-example",
        help="write pictures of plain StyleGAN2 that mix the styles of two seeds",
        description=MIXING,
        epilog=MIXING_EXAMPLE,
    )
    add_mixing_flags(mixing)
    mixing.set_defaults(function=_run_mixing)
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
    add_stylegan2(parser)
    add_noise_mode(parser, "random, and const for PyTorch files of StyleGAN2")
    _add_c2pa(parser)
    add_execution(parser)
    parser.add_verbose()


def _add_c2pa(parser: cli.ArgumentParser) -> None:
    parser.add_argument(
        "--c2pa",
        metavar="KEY",
        help="sign each picture as generated, C2PA, with this key and KEY.chain.pem (keygen "
        "--kind=c2pa); needs requirements/c2pa.txt",
    )
    parser.add_argument(
        "--c2pa-handle",
        metavar="HANDLE",
        help="public name of the fingerprint (default: that of the instance, from the manifest "
        "beside it)",
    )
    parser.add_argument(
        "--c2pa-alg",
        default=SOFT_BINDING,
        metavar="NAME",
        help="name of the soft binding's algorithm (default: %(default)s)",
    )


def add_noise_mode(parser: cli.ArgumentParser, default: str) -> None:
    """Adds `--noise-mode`; `default` is what the help says of it."""
    parser.add_argument(
        "--noise-mode",
        choices=NOISE_MODES,
        help=f"noise maps: drawn by seed, those of the network, or none (default: {default})",
    )


def add_stylegan2(parser: cli.ArgumentParser) -> None:
    """Adds what StyleGAN2 without fingerprints takes."""
    parser.add_argument(
        "--truncation-psi",
        type=cli.finite_float,
        metavar="X",
        help="of plain StyleGAN2: how far styles lie from their mean (default: 1, as they are); "
        "without effect on fingerprinted networks, which have no mean style",
    )
    parser.add_argument(
        "--class",
        dest="class_index",
        type=cli.non_negative_int,
        metavar="N",
        help="of networks that were trained with classes: which one, from 0 on",
    )


def add_mixing_flags(parser: cli.ArgumentParser) -> None:
    """Adds the flags of `style-mixing-example`."""
    add_network(parser, "snapshot of plain StyleGAN2")
    for side, default in (("row", [85, 100, 75, 458, 1500]), ("col", [55, 821, 1789, 293])):
        parser.add_argument(
            f"--{side}-seeds",
            type=seed_list,
            default=default,
            metavar="LIST",
            help=f"(default: {','.join(map(str, default))})",
        )
    parser.add_argument(
        "--col-styles",
        type=cli.number_list,
        metavar="LIST",
        help="layers whose styles are the column's (default: 0-6, as far as there are so many)",
    )
    add_result_dir(parser, "where the numbered folder is made")
    add_minibatch(parser, 16, "images per step")
    add_stylegan2(parser)
    add_noise_mode(parser, "const")
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


def _run_mixing(args: argparse.Namespace) -> None:
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.style_mixing:mix_styles")(args)
