"""Measures quality and bit accuracy of a snapshot."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution, quiet_tensorflow
from metrics.table import help_text, parse_metrics

EXAMPLES = """
examples:
  python3 run_metrics.py --data-dir=datasets --metrics=fid_watermark_accuracy_30k \\
      --dataset=celeba_align_png_cropped_30k --network=models/network.pkl --result-dir=eval
  python3 run_metrics.py --metrics=watermark_accuracy_1k --network=models/network.pkl

The result lines go to stdout and, in a numbered folder under --result-dir, to log.txt,
metric-<name>.txt and, with all settings, metric-<name>.jsonl.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = cli.ArgumentParser(
        prog="run_metrics.py", description=__doc__, epilog=f"{help_text()}\n{EXAMPLES}"
    )
    parser.add_argument(
        "--metrics", required=True, metavar="NAMES", help="names below, separated by commas"
    )
    parser.add_argument(
        "--network", required=True, metavar="FILE", help="snapshot, path or https URL"
    )
    parser.add_argument("--data-dir", default="datasets", metavar="DIR", help="folder of data sets")
    parser.add_argument(
        "--dataset", metavar="NAME", help="data set below --data-dir; not for watermark_accuracy"
    )
    parser.add_argument(
        "--result-dir", default="results", metavar="DIR", help="where the run folder is made"
    )
    cli.add_boolean(
        parser, "--mirror-augment", default=False, help="mirror every second real image at random"
    )
    cli.add_boolean(
        parser, "--skip-bad-records", default=False, help="leave damaged records of a data set out"
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="GPUs to use, which share each minibatch (default: all there are)",
    )
    parser.add_argument(
        "--inception",
        metavar="FILE",
        help="the 2015-12-05 Inception graph, .pb or .tgz, path or URL (default: "
        "$GAN_FINGERPRINTS_INCEPTION, else the cache folder, else downloaded)",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="of all random numbers"
    )
    parser.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=32,
        metavar="N",
        help="images at a time; other numbers draw other images",
    )
    add_execution(parser)
    parser.add_verbose()
    return parser


def seed_number(text: str) -> int:
    """Parses an integer from 0 to 2**32 - 1."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: use 0 to {2**32 - 1}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command.

    Raises:
        UserError: anything that the user can mend. All of it is checked before computing.
    """
    args = build_parser().parse_args(argv)
    names = parse_metrics(args.metrics)
    if not names:
        raise UserError("--metrics=none leaves nothing to do; name a metric (see --help)")

    quiet_tensorflow(args.verbose)
    from dnnlib.run_dir import create_run_dir
    from dnnlib.tflib.devices import local_devices
    from dnnlib.tflib.machine import resolve_execution, resolve_num_gpus
    from metrics.evaluate import check_metrics, evaluate
    from metrics.feature_extractors import check_inception
    from metrics.report import append_line, report
    from metrics.sampling import make_context
    from training.data.dataset import open_dataset
    from training.models.snapshot import load_networks

    plan = resolve_num_gpus(args.num_gpus)
    execution = resolve_execution(args.ops, args.precision)
    devices = local_devices(plan.num_gpus)
    with devices.strategy.scope():
        networks = load_networks(args.network)
    dataset = None
    if args.dataset:
        dataset = open_dataset(args.data_dir, args.dataset, skip_bad_records=args.skip_bad_records)
    context = make_context(
        generator=networks.fingerprinted,
        decoder=networks.E,
        dataset=dataset,
        minibatch=args.minibatch,
        seed=args.seed,
        mirror_augment=args.mirror_augment,
        num_gpus=plan.num_gpus,
        execution=execution,
        devices=devices,
    )
    check_metrics(names, context)
    inception = check_inception(names, args.inception, devices=devices)
    context = dataclasses.replace(context, inception=inception)

    stem = network_stem(args.network)
    run_dir = create_run_dir(args.result_dir, f"metrics-{stem}")
    try:
        for result in evaluate(names, context):
            extra = {"network": args.network, "data_dir": args.data_dir}
            line = report(result, run_dir, stem, extra)
            append_line(run_dir / "log.txt", line)
            print(line, flush=True)
    finally:
        remove_if_empty(run_dir)


def network_stem(name: str) -> str:
    """Name of a snapshot without folder, query and ending, fit for a file name."""
    last = name.partition("?")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last.removesuffix(".pkl")) or "network"


def remove_if_empty(run_dir: Path) -> None:
    """Leaves no folder behind when a run ends before its first result."""
    if not any(run_dir.iterdir()):
        run_dir.rmdir()


if __name__ == "__main__":
    cli.run(main)
