"""Settles a run's settings, finds or makes its folder, and trains."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from dnnlib.config import differences, to_dict
from dnnlib.run_dir import check_result_dir
from dnnlib.tflib.devices import make_devices
from dnnlib.tflib.machine import resolve_num_gpus
from dnnlib.tflib.threads import pin_threads
from dnnlib.tflib.workers import find_task
from training.config import TrainConfig, setup_training_config
from training.data.dataset import open_dataset
from training.models.snapshot import network_configs
from training.options import TrainOptions
from training.plain_config import like_snapshot
from training.resume import begin_run, find_run, write_settings
from training.run import Run
from training.training_loop import train


def train_model(args: argparse.Namespace, options: TrainOptions) -> None:
    """The command.

    Raises:
        UserError: anything that the user can mend, most of it before the run's folder is made.
    """
    dataset = open_dataset(
        options.data_dir, options.dataset, skip_bad_records=options.skip_bad_records
    )
    plan = resolve_num_gpus(options.num_gpus)
    task = find_task()
    num_gpus = plan.requested * (task.num_workers if task else 1)
    options = dataclasses.replace(options, num_gpus=num_gpus)
    label_size = dataset.label_size if options.cond else 0
    config = setup_training_config(options, dataset.resolution, dataset.num_channels, label_size)
    if config.resume_pkl is not None and not config.num_bits:
        networks = network_configs(config.resume_pkl, ("G", "D"))
        config = like_snapshot(config, networks, config.resume_pkl)

    _say_modulated(options.res_modulated_range, config)
    _say_recipe(options, config)
    # Before TensorFlow runs its first operation, for the number of threads is fixed by then.
    is_chief = task is None or task.index == 0
    found = find_run(args.result_dir, args.resume, config, dataset.num_images, is_chief=is_chief)
    threads = pin_threads(args.threads or (found.threads if found else None))
    devices = make_devices(plan.num_gpus)
    with devices.reporting_lost_workers():
        run = Run(config, dataset, devices, threads=threads)
        if args.dry_run:
            check_result_dir(args.result_dir)
            print(json.dumps(to_dict(config), indent=2))
            where = found.path if found else f"a new folder below {args.result_dir}"
            print(f"without --dry-run it would train in {where}", file=sys.stderr)
            return
        folder = None  # the chief's; it keeps it locked
        if devices.is_chief:
            folder = found or begin_run(args.result_dir, config)
            write_settings(folder, config)
        train(run, Path(devices.from_chief(str(folder.path) if folder else "")))


def _say_recipe(options: TrainOptions, config: TrainConfig) -> None:
    """Says what a recipe changes of the configuration."""
    if options.recipe == "published":
        return
    plain = setup_training_config(
        dataclasses.replace(options, recipe="published"), config.G.resolution, config.G.num_channels
    )
    changed = differences(to_dict(plain), to_dict(config))
    what = ", ".join(text for text in changed if not text.startswith("recipe "))
    print(f"--recipe={options.recipe} changes {what or 'nothing'}", file=sys.stderr)


def _say_modulated(text: str | None, config: TrainConfig) -> None:
    """Says which resolutions are modulated, where the flag's numbers are no powers of two."""
    low, high = (2**log2 for log2 in config.modulated_log2)
    if text is not None and text.strip() != f"{low}-{high}":
        print(
            f"--res-modulated-range={text} means {low}-{high}: both are floored to powers of two",
            file=sys.stderr,
        )
