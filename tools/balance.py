"""Makes all bits of a finished model equally readable, without data and without training.

A model with a linear mapping of fingerprints gets a mapping that is a rotation, as small presets
have it, and lost combinations of bits come back; all are made equally strong at the visibility that
is asked for, and the decoder gets a linear layer on small pictures, fitted by least squares. With
--readout=0 the decoder stays, and the fingerprint as a whole is made fainter or clearer. The result
is another model: instances of the old one stay with the old one's file.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow

_BALANCE = cli.deferred("tools.study.balanced:write_balanced")


def _psnr(text: str) -> float | None:
    return None if text == "keep" else cli.positive_float(text)


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.balance", description=__doc__)
    parser.add_argument("snapshot", metavar="PKL", help="snapshot with generator and decoder")
    parser.add_argument("output", metavar="OUT", help="file to write")
    add = parser.add_argument
    add("--psnr", type=_psnr, default=37.0, metavar="DB", help="between two (37); keep: as it is")
    side = "of the small pictures, in pixels (32); 0: sizes alone change, all by one factor"
    add("--readout", type=cli.non_negative_int, default=32, metavar="N", help=side)
    add("--images", type=cli.positive_int, default=60000, metavar="N", help="to fit to (60000)")
    add("--immunize", default="none", metavar="EDITS", help="that half of them go through")
    add("--strength", type=cli.share, default=1.0, metavar="SHARE", help="of those edits (1)")
    add("--seed", type=cli.non_negative_int, default=0, metavar="N", help="of all that is random")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _BALANCE(
        args.snapshot,
        args.output,
        psnr=args.psnr,
        size=args.readout,
        num_images=args.images,
        immunize=args.immunize,
        strength=args.strength,
        seed=args.seed,
    )


if __name__ == "__main__":
    cli.run(main)
