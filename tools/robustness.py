"""Measures what is read from pictures after what happens to them in the wild, by real codecs.

Pictures of the model, each with a fingerprint of its own, are edited one way at a time and three
ways in a row; printed are the share of bits read rightly, the share of pictures whose licensee is
named at the rate asked for, and how many are named wrongly.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from fingerprints.detection.views import DECISIONS

_RUN = cli.deferred("tools.study.robustness:print_robustness")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.robustness", description=__doc__)
    add = parser.add_argument
    add("--network", required=True, metavar="PKL", help="snapshot with generator and decoder")
    add("--images", type=cli.positive_int, default=500, metavar="N", help="default: 500")
    add("--keys", type=cli.positive_int, default=1000, metavar="N", help="licensees (1000)")
    add("--fpr", type=cli.probability, default=1e-6, metavar="P", help="default: 1e-6")
    add("--seed", type=cli.non_negative_int, default=0, metavar="N", help="of what is drawn")
    add("--decision", choices=DECISIONS, default="soft", help="what bits weigh (soft)")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _RUN(
        args.network,
        num_images=args.images,
        num_keys=args.keys,
        fpr=args.fpr,
        seed=args.seed,
        decision=args.decision,
    )


if __name__ == "__main__":
    cli.run(main)
