"""Measures quality and bit accuracy of a snapshot."""

import argparse
import re
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from gan_fingerprints.commands.common import (
    add_dataset,
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
"""


def build_parser(prog: str = "run_metrics.py") -> cli.ArgumentParser:
    """The command's flags."""
    parser = cli.ArgumentParser(prog=prog, description=__doc__, epilog=f"{help_text()}\n{EXAMPLES}")
    parser.add_argument(
        "--metrics", required=True, metavar="NAMES", help="names below, separated by commas"
    )
    parser.add_argument(
        "--network", required=True, metavar="FILE", help="snapshot, path or https URL"
    )
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


def seed_number(text: str) -> int:
    """Parses an integer from 0 to 2**32 - 1."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: use 0 to {2**32 - 1}")
    return int(text)


def main(argv: Sequence[str] | None = None, prog: str = "run_metrics.py") -> None:
    """Runs the command."""
    args = build_parser(prog).parse_args(argv)
    names = parse_metrics(args.metrics)
    if not names:
        raise UserError(
            f"--metrics={args.metrics} leaves nothing to do; name a metric (see --help)"
        )
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.evaluate:measure")(args, names)
