"""Measures what licensees of an adopted generator can do to the fingerprints in their files.

Licensees get instances; some put their files together. They take the mean of them, or write other
numbers where fingerprints lie. Printed: how far the pictures of the result are from the original's,
and whether they still name one of those licensees, somebody else, or nobody. All that is done with
instances whose biases alone differ, with spread ones (`issue --spread`), and with such that have a
small random change of every weight.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

_RUN = cli.deferred("tools.study.collusion:print_tables")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.collusion", description=__doc__)
    add = parser.add_argument
    add("--network", required=True, metavar="PKL", help="adopted generator and its decoder")
    add("--licensees", type=cli.positive_int, default=100, metavar="N", help="default: 100")
    add("--groups", type=cli.positive_int, default=10, metavar="N", help="of colluders (10)")
    add("--images", type=cli.positive_int, default=32, metavar="N", help="per group (32)")
    add("--fpr", type=cli.probability, default=1e-6, metavar="P", help="default: 1e-6")
    add("--seed", type=cli.non_negative_int, default=0, metavar="N", help="of who colludes")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _RUN(
        args.network,
        num_licensees=args.licensees,
        num_groups=args.groups,
        num_images=args.images,
        fpr=args.fpr,
        seed=args.seed,
    )


if __name__ == "__main__":
    cli.run(main)
