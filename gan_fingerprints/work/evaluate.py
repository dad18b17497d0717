"""Measures quality and bit accuracy of a snapshot."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnnlib.run_dir import LOG, append_line, create_run_dir, mark_finished
from dnnlib.tflib.devices import local_devices
from dnnlib.tflib.machine import resolve_execution, resolve_num_gpus
from metrics.efficientnet_lite import check_lite0
from metrics.evaluate import check_metrics, evaluate
from metrics.feature_extractors import check_inception
from metrics.report import report
from metrics.sampling import make_context
from metrics.vgg16 import check_vgg16
from training.data.dataset import Dataset, open_dataset
from training.models.functions import num_classes
from training.models.snapshot import load_networks
from training.networks.stylegan2 import StyleGAN2Generator
from training.networks.table import AnyGenerator


def measure(args: argparse.Namespace, names: Sequence[str]) -> None:
    """The command.

    Raises:
        UserError: anything that the user can mend. All of it is checked before computing.
    """
    plan = resolve_num_gpus(args.num_gpus)
    execution = resolve_execution(args.ops, args.precision)
    devices = local_devices(plan.num_gpus)
    with devices.strategy.scope():
        networks = load_networks(args.network)
    generator = networks.generator
    if not isinstance(generator, StyleGAN2Generator):
        generator = networks.fingerprinted
    dataset = None
    if args.dataset:
        dataset = open_dataset(args.data_dir, args.dataset, skip_bad_records=args.skip_bad_records)
    context = make_context(
        generator=generator,
        decoder=networks.E,
        labels=_labels(generator, dataset),
        dataset=dataset,
        minibatch=args.minibatch,
        seed=args.seed,
        mirror_augment=args.mirror_augment,
        num_gpus=plan.num_gpus,
        execution=execution,
        devices=devices,
    )
    check_metrics(names, context)
    lite0 = check_lite0(names, devices)
    vgg16 = check_vgg16(names, devices=devices)
    inception = check_inception(names, args.inception, devices=devices)
    context = dataclasses.replace(context, inception=inception, lite0=lite0, vgg16=vgg16)

    stem = network_stem(args.network)
    run_dir = create_run_dir(args.result_dir, f"metrics-{stem}")
    try:
        for result in evaluate(names, context):
            extra = {"network": args.network, "data_dir": args.data_dir}
            line = report(result, run_dir, stem, extra)
            append_line(run_dir / LOG, line)
            print(line, flush=True)
        mark_finished(run_dir)
    finally:
        remove_if_empty(run_dir)


def _labels(generator: AnyGenerator, dataset: Dataset | None) -> np.ndarray | None:
    """The data set's labels, if the generator takes such; its classes are drawn by them."""
    classes = num_classes(generator)
    if dataset is None or not classes or dataset.label_size != classes:
        return None
    return dataset.labels


def network_stem(name: str) -> str:
    """Name of a snapshot without folder, query and ending, fit for a file name."""
    last = name.partition("?")[0].rstrip("/").rpartition("/")[2]
    stem = last.removesuffix(".pkl").removesuffix(".npz")
    return re.sub(r"[^A-Za-z0-9._-]", "_", stem) or "network"


def remove_if_empty(run_dir: Path) -> None:
    """Leaves no folder behind when a run ends before its first result."""
    if not any(run_dir.iterdir()):
        run_dir.rmdir()
