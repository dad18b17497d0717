"""Measures what a thief of pictures learns by averaging: does the mean carry the name?

Whoever has many pictures of one instance can take their mean, subtract the mean of other pictures,
and paste what is left on a picture of his own (forgery) or take it away from a marked one
(removal). Where a fingerprint is a fixed pattern, both work; where it follows the picture, neither
does. Printed: how many bits of the fingerprint are read after each.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

_RUN = cli.deferred("evaluation.attacks.averaging:print_reading")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.averaging", description=__doc__)
    add = parser.add_argument
    add("--network", required=True, metavar="PKL", help="snapshot with generator and decoder")
    add("--images", type=cli.positive_int, default=1000, metavar="N", help="default: 1000")
    add("--victims", type=cli.positive_int, default=256, metavar="N", help="default: 256")
    add("--keys", type=cli.positive_int, default=1000, metavar="N", help="licensees (1000)")
    add("--fpr", type=cli.probability, default=1e-6, metavar="P", help="default: 1e-6")
    add("--seed", type=cli.non_negative_int, default=0, metavar="N", help="of the fingerprint")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _RUN(
        args.network,
        num_images=args.images,
        num_victims=args.victims,
        num_keys=args.keys,
        fpr=args.fpr,
        seed=args.seed,
    )


if __name__ == "__main__":
    cli.run(main)
