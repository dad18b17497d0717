"""Measures a snapshot: quality and bit accuracy, or a whole suite of studies with a report."""

import argparse
import re
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from evaluation.names import SUITES
from gan_fingerprints.commands.common import (
    add_dataset,
    add_fpr,
    add_minibatch,
    add_num_gpus,
    add_result_dir,
)
from metrics.table import help_text, parse_metrics

EXAMPLES = """
examples:
  {command} --data-dir=datasets --metrics=fid_watermark_accuracy_30k \\
      --dataset=celeba_align_png_cropped_30k --network=models/network.pkl --result-dir=eval
  {command} --metrics=watermark_accuracy_1k --network=models/network.pkl

The result lines go to stdout and, in a numbered folder under --result-dir, to log.txt,
metric-<name>.txt and, with all settings, metric-<name>.jsonl.

  {command} --suite=paper --network=models/network.pkl --dataset=celeba_align_png_cropped_30k
  {command} --suite=attacks --compare ours.pkl theirs.pkl --num-images=256

A suite has a numbered folder with report.html, report.md, results.json, results.csv, plots/ and,
for every network, a file per study; the same command goes on with one that was stopped.
"""
_NUM_IMAGES, _LICENSEES = 512, 1000
_SUITES = "\n".join(f"  {name:<26}  {what}" for name, what in SUITES.items())


def build_parser(prog: str = "run_metrics.py") -> cli.ArgumentParser:
    """The command's flags."""
    parser = cli.ArgumentParser(
        prog=prog, description=__doc__, epilog=f"{help_text()}\n\nsuites:\n{_SUITES}\n{EXAMPLES}"
    )
    parser.add_argument("--metrics", metavar="NAMES", help="names below, separated by commas")
    parser.add_argument("--network", metavar="FILE", help="snapshot, path or https URL")
    _add_suite(parser)
    add_dataset(parser)
    add_result_dir(parser, "where the run folder is made")
    cli.add_boolean(
        parser, "--mirror-augment", default=False, help="mirror every second real image at random"
    )
    add_num_gpus(parser)
    parser.add_argument(
        "--inception",
        metavar="FILE",
        help="the 2015-12-05 Inception graph, .pb, .tgz or the published code's .pkl, path or URL "
        "(default: $GAN_FINGERPRINTS_INCEPTION, else the cache folder, else downloaded)",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="of all random numbers"
    )
    add_minibatch(parser, 32, "images at a time; other numbers draw other images")
    add_execution(parser)
    parser.add_verbose()
    return parser


def _add_suite(parser: cli.ArgumentParser) -> None:
    """Adds `--suite` and what belongs to it."""
    suite = parser.add_argument_group("suites")
    suite.add_argument("--suite", choices=SUITES, help="studies and a report, see below")
    suite.add_argument(
        "--compare", nargs="+", metavar="FILE", help="several snapshots side by side, for --network"
    )
    suite.add_argument(
        "--num-images",
        type=cli.positive_int,
        metavar="N",
        help=f"pictures behind every figure of a suite (default: {_NUM_IMAGES})",
    )
    suite.add_argument(
        "--licensees",
        type=cli.positive_int,
        metavar="N",
        help=f"among whom names are given (default: {_LICENSEES})",
    )
    suite.add_argument(
        "--plain",
        metavar="FILE",
        help="a model without fingerprints, of the same data, that pictures are to be told from",
    )
    add_fpr(suite)


def seed_number(text: str) -> int:
    """Parses an integer from 0 to 2**32 - 1."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: use 0 to {2**32 - 1}")
    return int(text)


def _check_suite(parser: cli.ArgumentParser, args: argparse.Namespace) -> None:
    """Whether the flags belong together.

    Raises:
        UserError: nothing to do, or flags of the other kind of call.
    """
    if (args.metrics is None) == (args.suite is None):
        raise UserError("name what is to be measured: either --metrics or --suite (see --help)")
    kind, others = "metrics", ["num_gpus", "minibatch"]
    if args.suite is None:
        kind, others = "suite", ["compare", "num_images", "licensees", "plain", "fpr"]
    for flag in others:
        if getattr(args, flag) != parser.get_default(flag):
            raise UserError(f"--{flag.replace('_', '-')} is for --{kind}; leave it out")
    if args.network is not None and args.compare is not None:
        raise UserError("name the snapshot: either --network=FILE or --compare A B, not both")


def main(argv: Sequence[str] | None = None, prog: str = "run_metrics.py") -> None:
    """Runs the command."""
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    _check_suite(parser, args)
    if args.network is None and args.compare is None:
        parser.error("the following arguments are required: --network")
    if args.suite is not None:
        args.num_images = args.num_images or _NUM_IMAGES
        args.licensees = args.licensees or _LICENSEES
        quiet_tensorflow(args.verbose)
        cli.deferred("gan_fingerprints.work.suites:measure_suite")(args)
        return
    names = parse_metrics(args.metrics)
    if not names:
        raise UserError(
            f"--metrics={args.metrics} leaves nothing to do; name a metric (see --help)"
        )
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.evaluate:measure")(args, names)
