"""Trains a fingerprinted generator with its decoder."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dnnlib import cli
from dnnlib.config import to_dict
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from training.config import CheckpointConfig

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


def build_parser() -> cli.ArgumentParser:
    """All flags of the command."""
    parser = cli.ArgumentParser(description=__doc__, epilog=_EPILOG)
    add, weight = parser.add_argument, cli.non_negative_float
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
    add(
        "--resume",
        default="auto",
        metavar="WHAT",
        help="auto (default): go on with the newest unfinished run of these settings below "
        "--result-dir, if there is one; a run folder: go on with that; none: start a new run",
    )
    add("--resume-pkl", metavar="PKL", help="start from this snapshot: path or https URL")
    add(
        "--checkpoint-minutes",
        type=cli.non_negative_float,
        default=CheckpointConfig.minutes,
        metavar="MINUTES",
        help="between checkpoints, which a run goes on from (default: 10; 0: every iteration)",
    )
    add(
        "--keep-checkpoints",
        type=cli.positive_int,
        default=CheckpointConfig.keep,
        metavar="N",
        help="how many are kept (default: 2)",
    )
    cli.add_boolean(
        parser, "--skip-bad-records", default=False, help="leave damaged records of a data set out"
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
    add_execution(parser)
    add("--dry-run", action="store_true", help="check everything, print the settings, stop")
    parser.add_verbose()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    from training.config import TrainOptions, find_preset, setup_training_config

    find_preset(args.config)
    if args.workers > 1 and "TF_CONFIG" not in os.environ:  # which tells a worker that it is one
        from dnnlib.tflib.workers import launch

        command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)]
        sys.exit(launch(args.workers, command))
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed={args.seed}: expected a number from 0 to {2**32 - 1}")
    quiet_tensorflow(args.verbose)

    from dnnlib.tflib.devices import make_devices
    from dnnlib.tflib.machine import resolve_num_gpus
    from dnnlib.tflib.workers import find_task
    from metrics.table import parse_metrics
    from training.data.dataset import open_dataset

    metrics = tuple(parse_metrics(args.metrics))
    dataset = open_dataset(args.data_dir, args.dataset, skip_bad_records=args.skip_bad_records)
    plan = resolve_num_gpus(args.num_gpus)
    task = find_task()
    options = TrainOptions(
        dataset=args.dataset,
        data_dir=args.data_dir,
        config=args.config,
        num_gpus=plan.requested * (task.num_workers if task else 1),
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
        skip_bad_records=args.skip_bad_records,
        checkpoint_minutes=args.checkpoint_minutes,
        keep_checkpoints=args.keep_checkpoints,
        inception=args.inception,
        ops=args.ops,
        precision=args.precision,
    )
    config = setup_training_config(options, dataset.resolution, dataset.num_channels)

    from dnnlib.tflib.threads import pin_threads
    from training.resume import find_folder, find_threads
    from training.run import Run
    from training.training_loop import train

    where = (args.result_dir, args.resume, config, dataset.num_images)
    threads = pin_threads(args.threads or find_threads(*where))
    devices = make_devices(plan.num_gpus)
    with devices.reporting_lost_workers():
        run = Run(config, dataset, devices, threads=threads)
        if args.dry_run:
            print(json.dumps(to_dict(config), indent=2))
            return
        folder = find_folder(*where) if devices.is_chief else None  # keeps it locked
        train(run, Path(devices.from_chief(str(folder.path) if folder else "")))


if __name__ == "__main__":
    cli.run(main)
