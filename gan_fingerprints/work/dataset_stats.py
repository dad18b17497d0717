"""What FID needs of the real images, ahead of time: `dataset_tool.py stats`."""

import argparse
from typing import Any

import numpy as np

from dnnlib.cache import default_cache_dir
from gan_fingerprints.work.dataset_checks import place
from metrics.context import MetricContext
from metrics.feature_extractors import check_inception
from metrics.frechet_inception_distance import real_statistics
from training.data.dataset import open_dataset


def stats(args: argparse.Namespace) -> None:
    """Computes what FID needs of the real images, and keeps it where metrics look for it."""
    data_dir, name, _ = place(args.tfrecord_dir)
    dataset = open_dataset(data_dir, name, skip_bad_records=args.skip_bad_records)
    count = min(args.num_images or dataset.num_images, dataset.num_images)
    extract = check_inception(["fid1k"], args.inception)
    assert extract is not None
    context = MetricContext(
        generate=_no_generator,
        resolution=dataset.resolution,
        num_channels=dataset.num_channels,
        fingerprint_size=0,
        dataset=dataset,
        mirror_augment=args.mirror_augment,
        inception=extract,
        cache_dir=default_cache_dir(),
    )
    mean, covariance = real_statistics(context, dataset, extract, count)
    print(
        f"{args.tfrecord_dir}: mean and covariance of {len(mean)} features of {count} images are in"
        f" {default_cache_dir()}; trace {np.trace(covariance):.6g}"
    )


def _no_generator(num_images: int, first: int) -> Any:
    raise AssertionError("only real images are looked at")
