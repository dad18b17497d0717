"""Measures what is read from pictures after what happens to them in the wild, by real codecs.

Pictures of the model, each with a fingerprint of its own, are edited one way at a time and three
ways in a row. Printed are the share of bits read rightly and, for each way of coming to a verdict
(matching bits, soft decisions, tried edits, a decoder that was retuned), the share of pictures
whose licensee is named at the rate asked for, and how many are named wrongly. So is how many
pictures are called ours that show nothing: one colour, gradients, squares, noise, and pools of
copies of one of these. With --foreign, half of the foreign pictures calibrate and the others are
judged.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from fingerprints.detection.views import SEARCHES

_RUN = cli.deferred("evaluation.studies.wild:run")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.robustness", description=__doc__)
    add = parser.add_argument
    add("--network", required=True, metavar="PKL", help="snapshot with generator and decoder")
    add("--retuned", metavar="PKL", help="the same with a decoder that was retuned")
    add("--foreign", metavar="DIR", help="folder of folders, see tools/foreign_images.py")
    add("--search", choices=list(SEARCHES), default="light", help="tried edits (default: light)")
    add("--images", type=cli.positive_int, default=600, metavar="N", help="default: 600")
    add("--keys", type=cli.positive_int, default=1000, metavar="N", help="licensees (1000)")
    add("--fpr", type=cli.probability, default=1e-6, metavar="P", help="default: 1e-6")
    add("--seed", type=cli.non_negative_int, default=0, metavar="N", help="of what is drawn")
    add("--out", metavar="DIR", help="folder for robustness.md and robustness.json")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _RUN(
        args.network,
        retuned=args.retuned,
        foreign=args.foreign,
        search=args.search,
        num_images=args.images,
        num_keys=args.keys,
        fpr=args.fpr,
        seed=args.seed,
        out=args.out,
    )


if __name__ == "__main__":
    cli.run(main)
