"""What a metric is: a row of the table, a name with its number of images, a result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from metrics.context import GeneratedBatch, MetricContext


class Accumulator(Protocol):
    """One metric while it is computed: generated images go in, figures come out."""

    def add(self, batch: GeneratedBatch) -> None:
        """Takes the next generated images."""

    def finish(self) -> dict[str, float]:
        """The figures: suffix -> value, in the order in which they are shown."""

    def details(self) -> dict[str, Any]:
        """Counts behind the figures, for the JSON line."""


@dataclass(frozen=True)
class Family:
    """One row of the table of metrics."""

    form: str  # the name with <n> for the thousands of images
    help: str  # one line
    start: Callable[[str, int, MetricContext], Accumulator]  # (name, number of images, context)
    larger_is_better: Callable[[str], bool]  # by suffix
    needs_inception: bool = False
    needs_lite0: bool = False  # EfficientNet-Lite0, from a package
    needs_vgg16: bool = False
    needs_dataset: bool = False
    needs_decoder: bool = False
    needs_walk: bool = False  # images a small step apart
    needs_pairs: bool = False  # of images that differ in their fingerprint alone
    min_resolution: int = 1  # pixels
    num_images: int = 50_000  # where the form says none


@dataclass(frozen=True)
class Metric:
    """A metric as the user asked for it."""

    name: str  # for example fid50k
    num_images: int  # for example 50000
    family: Family


@dataclass(frozen=True)
class MetricResult:
    """The figures of one metric for one network."""

    metric: str
    values: dict[str, float]  # full name (metric and suffix) -> figure
    larger_is_better: dict[str, bool]  # same keys
    seconds: float
    num_images: int  # generated images asked for
    details: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
