"""Cuts a snapshot down to what users of a finished model need: Gs and the decoder.

With --half, numbers are kept in 16 bits, which halves the file. With --discriminator, D is kept as
well, so that training can go on from it.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

_PUBLISH = cli.deferred("tools.study.publish:publish")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.publish_model", description=__doc__)
    parser.add_argument("snapshot", metavar="PKL", help="snapshot of a training run")
    parser.add_argument("output", metavar="OUT", help="file to write")
    parser.add_argument("--half", action="store_true", help="16 bits per number")
    parser.add_argument("--discriminator", action="store_true", help="with D")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    print(_PUBLISH(args.snapshot, args.output, half=args.half, discriminator=args.discriminator))


if __name__ == "__main__":
    cli.run(main)
