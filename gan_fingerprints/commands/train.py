"""Trains a fingerprinted generator with its decoder."""

import os
import sys
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.flags import add_flags, read_flags
from dnnlib.tflib.start import quiet_tensorflow
from dnnlib.tflib.workers import VARIABLE, launch
from training.config import find_preset
from training.options import TrainOptions

EPILOG = """examples:
  # A small model on a CPU, from the sample images
  {command} --data-dir=datasets --dataset=portraits-32 --config=config-tiny

  # As published
  {command} --data-dir=datasets --config=config-e-Gskip-Dresnet --num-gpus=2 \\
    --dataset=celeba_align_png_cropped_30k --result-dir=results/celeba_align_png_cropped_30k \\
    --watermark-size=128 --res-modulated-range=4-128 --metrics=fid_watermark_accuracy_30k

  # Pictures that survive edits, from a model that was trained without them
  {command} --data-dir=datasets --dataset=portraits-32 --config=config-tiny --immunize=full \\
    --edit-strength=0@140,1@170 --total-kimg=260 --resume-pkl=network-final.pkl

configs:
  config-e, config-f, config-e-G{skip,resnet,orig}-D{skip,resnet,orig}: as published
  config-tiny, config-tiny-128, config-small: for a CPU; docs/training.md explains them
  --recipe=recommended applies what was learned since to any of them, and says what it changes
"""


def build_parser(prog: str | None = None) -> cli.ArgumentParser:
    """The settings of a run (training/options.py), and how this command makes it."""
    parser = cli.ArgumentParser(prog=prog, description=__doc__, epilog=EPILOG)
    add_flags(parser, TrainOptions)
    add = parser.add_argument
    add("--result-dir", default="results", metavar="DIR", help="root of the run folders")
    add(
        "--resume",
        default="auto",
        metavar="WHAT",
        help="auto (default): go on with the newest unfinished run of these settings below "
        "--result-dir, if there is one; a run folder: go on with that; none: start a new run",
    )
    add(
        "--workers",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="train as N processes of this machine, to try out what docs/scaling.md describes",
    )
    add(
        "--threads",
        type=cli.positive_int,
        metavar="N",
        help="within an operation (default: one per core, or as the run that goes on)",
    )
    add("--dry-run", action="store_true", help="check everything, print the settings, stop")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs the command."""
    args = build_parser(prog).parse_args(argv)
    options = read_flags(TrainOptions, args)
    find_preset(options.config)
    if args.workers > 1 and VARIABLE not in os.environ:  # which tells a worker that it is one
        # The same command, whether it was a script, a module or a program.
        command = [sys.executable, *sys.orig_argv[1:]]
        sys.exit(launch(args.workers, command))
    quiet_tensorflow(args.verbose)
    cli.deferred("gan_fingerprints.work.train:train_model")(args, options)
