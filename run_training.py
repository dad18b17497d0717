"""Trains a fingerprinted generator with its decoder."""

import argparse
import json
import math
import sys
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.config import to_dict
from dnnlib.errors import UserError

_EPILOG = """examples:
  # A small model on a CPU, from the sample images
  python3 run_training.py --data-dir=datasets --dataset=noto-emoji-32 --config=config-tiny

  # As published
  python3 run_training.py --data-dir=datasets --config=config-e-Gskip-Dresnet --num-gpus=2 \\
    --dataset=celeba_align_png_cropped_30k --result-dir=results/celeba_align_png_cropped_30k \\
    --watermark-size=128 --res-modulated-range=4-128 --metrics=fid_watermark_accuracy_30k

configs:
  config-e, config-f, config-e-G{skip,resnet,orig}-D{skip,resnet,orig}: as published
  config-tiny: for a CPU; docs/training.md explains it
"""


def weight(text: str) -> float:
    """Parses the weight of a loss: a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a weight: use a number of at least 0")
    return value


def build_parser() -> cli.ArgumentParser:
    """All flags of the command."""
    parser = cli.ArgumentParser(description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("--data-dir", default="datasets", metavar="DIR", help="root of the data sets")
    add("--dataset", required=True, metavar="NAME", help="folder of the data set below --data-dir")
    add("--config", default="config-e-Gskip-Dresnet", metavar="CONFIG", help="see below")
    add("--num-gpus", type=int, metavar="N", help="GPUs to use (default: all there are)")
    add("--result-dir", default="results", metavar="DIR", help="root of the run folders")
    add("--watermark-size", type=cli.positive_int, metavar="BITS", help="fingerprint bits")
    add("--res-modulated-range", metavar="LO-HI", help="resolutions that the fingerprint modulates")
    add("--metrics", default="none", metavar="LIST", help="computed with each snapshot, or none")
    add("--total-kimg", type=cli.positive_float, metavar="KIMG", help="length, in 1000 images")
    add("--gamma", type=weight, metavar="WEIGHT", help="R1 regularisation")
    cli.add_boolean(parser, "--mirror-augment", default=False, help="mirror images at random")
    add("--resume-pkl", metavar="PKL", help="start from this snapshot: path or https URL")
    add("--decoupleL2-weight", type=weight, metavar="W", help="images alike across fingerprints")
    add("--latentsRecL2-weight", type=weight, metavar="W", help="recovery of the latent")
    add("--watermarkCls-weight", type=weight, metavar="W", help="recovery of the fingerprint")
    add("--minibatch", type=cli.positive_int, metavar="N", help="images per iteration")
    add("--minibatch-gpu", type=cli.positive_int, metavar="N", help="images at a time per device")
    add("--seed", type=int, default=1000, metavar="N", help="of everything random (default: 1000)")
    add("--kimg-per-tick", type=cli.positive_float, metavar="KIMG", help="between lines of the log")
    add("--image-snapshot-ticks", type=cli.positive_int, metavar="N", help="between image grids")
    add("--snapshot-ticks", type=cli.positive_int, metavar="N", help="between snapshots")
    add("--mapping", metavar="NAME", help="of fingerprints: published or linear (docs/training.md)")
    add(
        "--clip-decoder-input",
        type=cli.boolean,
        metavar="BOOL",
        help="train the decoder on what image files keep (default: as in the config)",
    )
    add("--inception", metavar="FILE", help="Inception graph for FID: path or URL")
    cli.add_execution(parser)
    add("--dry-run", action="store_true", help="check everything, print the settings, stop")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    from training.config import TrainOptions, find_preset, setup_training_config

    find_preset(args.config)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed={args.seed}: expected a number from 0 to {2**32 - 1}")
    cli.quiet_tensorflow(args.verbose)

    from dnnlib.run_dir import create_run_dir
    from dnnlib.tflib.device import resolve_num_gpus
    from metrics.registry import parse_metrics
    from training.dataset import open_dataset

    metrics = tuple(parse_metrics(args.metrics))
    dataset = open_dataset(args.data_dir, args.dataset)
    plan = resolve_num_gpus(args.num_gpus)
    options = TrainOptions(
        dataset=args.dataset,
        data_dir=args.data_dir,
        config=args.config,
        num_gpus=plan.requested,
        watermark_size=args.watermark_size,
        res_modulated_range=args.res_modulated_range,
        metrics=metrics,
        total_kimg=args.total_kimg,
        gamma=args.gamma,
        mirror_augment=args.mirror_augment,
        resume_pkl=args.resume_pkl,
        decouple_weight=args.decoupleL2_weight,
        latent_weight=args.latentsRecL2_weight,
        bits_weight=args.watermarkCls_weight,
        minibatch=args.minibatch,
        minibatch_gpu=args.minibatch_gpu,
        seed=args.seed,
        kimg_per_tick=args.kimg_per_tick,
        snapshot_ticks=args.snapshot_ticks,
        image_snapshot_ticks=args.image_snapshot_ticks,
        mapping=args.mapping,
        clip_decoder_input=args.clip_decoder_input,
        inception=args.inception,
        ops=args.ops,
        precision=args.precision,
    )
    config = setup_training_config(options, dataset.resolution, dataset.num_channels)
    if plan.num_gpus > 1:
        print(
            f"warning: training uses one GPU so far; the minibatch of {config.minibatch} is "
            f"computed on it in slices of {config.minibatch_gpu}",
            file=sys.stderr,
        )

    from training.training_loop import Run, train

    run = Run(config, dataset)
    if args.dry_run:
        print(json.dumps(to_dict(config), indent=2))
        return
    train(run, create_run_dir(args.result_dir, config.description))


if __name__ == "__main__":
    cli.run(main)
