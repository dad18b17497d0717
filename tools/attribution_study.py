"""Measures detection and attribution with a trained model, on files that are written and read back.

1. Foreign images, one folder per source: half of the pictures of each source calibrate, the other
   half are judged.
2. Licensees get instances; every instance makes pictures, saved as PNG and as JPEG, quality 95.
3. The PNG files of some of them are edited in various ways, and averaged over colluding licensees.
4. One instance makes many pictures from latents of its own: none may be named as somebody else's.

The commands of run_fingerprints.py do the issuing and calibrating; verdicts come from
`fingerprints.detection.detector`, as those of `verify` do. Instances of adopted generators are
files of the kind that came in, TensorFlow's or PyTorch's, and are read as such. Tables go to stdout
and to DIR/study.md, and DIR/matches.png shows how many bits match.
"""

from collections.abc import Sequence

from dnnlib import cli
from dnnlib.tflib.start import quiet_tensorflow
from fingerprints.detection.views import DECISIONS

_RUN = cli.deferred("tools.study.study:run")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.attribution_study", description=__doc__)
    parser.add_argument("--network", required=True, metavar="PKL", help="generator and decoder")
    parser.add_argument(
        "--foreign", metavar="DIR", help="folder of folders, see tools/foreign_images.py"
    )
    parser.add_argument("--licensees", type=cli.positive_int, default=1000, metavar="N")
    parser.add_argument(
        "--images", type=cli.positive_int, default=3, metavar="N", help="per instance (default: 3)"
    )
    parser.add_argument(
        "--latents", type=cli.positive_int, default=10_000, metavar="N", help="of one instance"
    )
    parser.add_argument("--spread", action="store_true", help="as the flag of issue")
    parser.add_argument("--fpr", type=cli.probability, default=1e-6, metavar="F")
    parser.add_argument(
        "--decision", choices=DECISIONS, default="soft", help="what bits weigh (default: soft)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder for everything")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    _RUN(args)


if __name__ == "__main__":
    cli.run(main)
