"""Runs metrics over one pass of generated images; for training and for run_metrics alike."""

import time
from collections.abc import Sequence

from dnnlib.errors import UserError
from metrics.context import MetricContext, progress
from metrics.metric import Accumulator, Metric, MetricResult
from metrics.table import needs_inception, needs_lite0, needs_vgg16, parse_metric


def check_metrics(names: Sequence[str], context: MetricContext) -> None:
    """Checks that networks and data set suit the metrics, before anything is computed.

    Networks for features, which may have to be downloaded, are the business of `check_inception`,
    `check_lite0` and `check_vgg16`.

    Raises:
        UserError: no data set or decoder, or images that do not suit a metric or each other.
    """
    for name in names:
        family = parse_metric(name).family
        if family.needs_dataset and context.dataset is None:
            raise UserError(f"metric {name} needs real images: give --dataset and --data-dir")
        if family.needs_decoder and context.decode is None:
            raise UserError(f"metric {name} needs a decoder, and the network file holds none")
        if family.needs_pairs and (context.generate_pairs is None or not context.fingerprint_size):
            raise UserError(
                f"metric {name} compares fingerprints, and the generator takes none; name a "
                "snapshot whose generator does"
            )
        if family.needs_walk and context.walk is None:
            raise UserError(f"metric {name} needs a generator that says how it is walked on")
        if context.resolution < family.min_resolution:
            raise UserError(
                f"metric {name} needs images of at least {family.min_resolution}x"
                f"{family.min_resolution}, the network makes {context.resolution}x"
                f"{context.resolution}"
            )
    if context.dataset is not None:
        data = (context.dataset.resolution, context.dataset.num_channels)
        if data != (context.resolution, context.num_channels):
            raise UserError(
                f"the data set {context.dataset.name} has {data[0]}x{data[0]} images of {data[1]} "
                f"channels, the network makes {context.resolution}x{context.resolution} of "
                f"{context.num_channels}; choose the data set that the network was trained on"
            )


def evaluate(names: Sequence[str], context: MetricContext) -> list[MetricResult]:
    """Computes the metrics; images are generated once and shared by all of them.

    Args:
        names: for example ["fid50k", "watermark_accuracy_50k"]; none gives no result.
        context: what they are computed from.

    Returns:
        One result per name, in order. `seconds` is the time that this metric alone would take.

    Raises:
        UserError: an unknown metric, or one that lacks something (see `check_metrics`).
        ValueError: a metric needs a network for features, and the context has none.
    """
    check_metrics(names, context)
    if context.inception is None and (wanting := needs_inception(names)):
        raise ValueError(f"{wanting} need the Inception graph (see check_inception)")
    if context.lite0 is None and needs_lite0(names):
        raise ValueError(f"{names} need EfficientNet-Lite0 (see check_lite0)")
    if context.vgg16 is None and needs_vgg16(names):
        raise ValueError(f"{names} need VGG16 (see check_vgg16)")
    runs = [_Run(parse_metric(name), context) for name in names]
    total = max((run.metric.num_images for run in runs), default=0)
    with progress(total, "generated images") as bar:
        for first in range(0, total, context.minibatch):
            start = time.perf_counter()
            # Whole batches always, so that a metric's images do not depend on the others asked for.
            batch = context.generate(context.minibatch, first)
            seconds = time.perf_counter() - start
            for run in runs:
                part = batch.head(max(run.metric.num_images - first, 0))
                if len(part):
                    run.seconds += seconds
                    with run:
                        run.accumulator.add(part)
            bar.update(min(len(batch), total - first))
    return [run.result(context) for run in runs]


class _Run:
    """One metric while it is computed; as a context manager it takes the time."""

    accumulator: Accumulator

    def __init__(self, metric: Metric, context: MetricContext) -> None:
        self.metric = metric
        self.seconds = 0.0
        with self:
            self.accumulator = metric.family.start(metric.name, metric.num_images, context)

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._start

    def result(self, context: MetricContext) -> MetricResult:
        with self:
            by_suffix = self.accumulator.finish()
        name, better = self.metric.name, self.metric.family.larger_is_better
        return MetricResult(
            metric=name,
            values={name + suffix: value for suffix, value in by_suffix.items()},
            larger_is_better={name + suffix: better(suffix) for suffix in by_suffix},
            seconds=self.seconds,
            num_images=self.metric.num_images,
            details=self.accumulator.details(),
            settings=context.settings(),
        )
