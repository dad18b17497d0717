"""Times how instances are written and how they run; see `bench_instances`."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.measure_generation import draw_inputs
from dnnlib.tflib.machine import resolve_execution
from training.models import export
from training.models.baking import Baker, write_instance
from training.models.functions import make_generator
from training.models.legacy import NetworkData
from training.models.snapshot import build_network, load_networks


def measure_writing(model: str, kind: str, count: int) -> dict[str, float]:
    """Writes `count` instances with fingerprints of their own, after a first one.

    Returns:
        `first`: seconds of the first one; `per_second`: instances, of the others;
        `growth_mib`: by how much the largest resident memory rose while those were written;
        `file_mib`: size of one.
    """
    generator = load_networks(model, only="generator").fingerprinted
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, [count + 1, generator.fingerprint_size], np.uint8)

    def make_writer(data: NetworkData) -> Callable[[NetworkData, Path], Any]:
        if kind == "pkl":
            return lambda data, path: write_instance(path, data)
        if kind == "ONNX":
            return export.OnnxExporter(data).write
        return export.SavedModelExporter(data).write

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        baker = Baker(generator)
        data = baker.bake(bits[count])
        write = make_writer(data)
        write(data, Path(folder) / "first")
        first = time.perf_counter() - start

        before = report.peak_memory_gb()
        start = time.perf_counter()
        for index in range(count):
            write(baker.bake(bits[index]), Path(folder) / str(index))
        duration = time.perf_counter() - start
        growth = max(0.0, report.peak_memory_gb() - before)
        paths = [Path(folder) / "first", *(Path(folder) / "first").rglob("*")]
        size = sum(path.stat().st_size for path in paths if path.is_file())
    return {
        "first": first,
        "per_second": count / duration,
        "growth_mib": growth * 1024,
        "file_mib": size / 2**20,
    }


def measure_speed(model: str, rounds: int, minibatch: int, sample_seconds: float) -> dict[str, Any]:
    """Images per second of the parent and of an instance, and the largest difference in pixels.

    Returns:
        `execution`, `parent` and `instance` (images/s), `ratio` (of the two), `difference`.
    """
    parent = load_networks(model, only="generator").fingerprinted
    bits = np.random.default_rng(0).integers(0, 2, parent.fingerprint_size, np.uint8)
    instance = build_network(Baker(parent).bake(bits), "the instance")
    inputs = draw_inputs(parent, minibatch, bits)
    execution = resolve_execution()
    calls = {
        name: partial(make_generator(network, minibatch, execution), inputs)
        for name, network in (("parent", parent), ("instance", instance))
    }
    images = {name: call().astype(int) for name, call in calls.items()}
    repeats = max(1, round(sample_seconds / report.seconds(calls["parent"])))
    repeated = {name: partial(report.repeat, call, repeats) for name, call in calls.items()}
    medians = report.paired_medians(repeated, rounds)
    rates = {name: minibatch * repeats / seconds for name, seconds in medians.items()}
    return {
        "execution": execution.label,
        **rates,
        "ratio": rates["instance"] / rates["parent"],
        "difference": int(np.abs(images["parent"] - images["instance"]).max()),
    }
