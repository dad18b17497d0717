"""How fast are instances issued, does memory grow with their number, and how fast do they run?

Every format is written in a process of its own: one instance first, which pays for tracing and
conversion, then many others. The speed is that of the function behind generate-images, as this
machine runs it by default, of an instance and of its parent in turn.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import report
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ("pkl", "SavedModel", "ONNX")
MINIBATCH = 16
SAMPLE_SECONDS = 0.02  # many short samples: the difference is smaller than a machine's moods


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    add = parser.add_argument
    add(
        "--network",
        default=str(ROOT / "models" / "emoji-32.pkl"),
        metavar="PKL",
        help="the parent (default: models/emoji-32.pkl)",
    )
    add(
        "--instances",
        type=cli.positive_int,
        default=50,
        metavar="N",
        help="how many of each format (default: 50)",
    )
    add(
        "--rounds",
        type=cli.positive_int,
        default=300,
        metavar="N",
        help="samples of the speed (default: 300)",
    )
    return parser


def measure_writing(model: str, kind: str, count: int) -> dict[str, float]:
    """Writes `count` instances with fingerprints of their own, after a first one.

    Returns:
        `first`: seconds of the first one; `per_second`: instances, of the others;
        `growth_mib`: by how much the largest resident memory rose while those were written;
        `file_mib`: size of one.
    """
    quiet_tensorflow(verbose=False)
    from training.models import export
    from training.models.baking import Baker, write_instance
    from training.models.legacy import NetworkData
    from training.models.snapshot import load_networks

    generator = load_networks(model, only="generator").fingerprinted
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, [count + 1, generator.fingerprint_size], np.uint8)

    def make_writer(data: NetworkData) -> Callable[[NetworkData, Path], Any]:
        if kind == "pkl":
            return lambda data, path: write_instance(path, data)
        exporters = {"SavedModel": export.SavedModelExporter, "ONNX": export.OnnxExporter}
        return exporters[kind](data).write

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


def measure_speed(model: str, rounds: int) -> dict[str, Any]:
    """Images per second of the parent and of an instance, and the largest difference in pixels.

    Returns:
        `execution`, `parent` and `instance` (images/s), `ratio` (of the two), `difference`.
    """
    quiet_tensorflow(verbose=False)
    from dnnlib.tflib.machine import resolve_execution
    from training.models.baking import Baker
    from training.models.functions import make_generator
    from training.models.seeds import sample_by_seed
    from training.models.snapshot import build_network, load_networks

    parent = load_networks(model, only="generator").fingerprinted
    bits = np.random.default_rng(0).integers(0, 2, parent.fingerprint_size, np.uint8)
    instance = build_network(Baker(parent).bake(bits), "the instance")
    inputs = next(
        sample_by_seed(
            range(MINIBATCH),
            latent_size=parent.latent_size,
            fingerprint_size=parent.fingerprint_size,
            noise_shapes=parent.noise_shapes,
            fingerprint=bits,
            minibatch=MINIBATCH,
        )
    )
    execution = resolve_execution()
    calls = {
        name: partial(make_generator(network, MINIBATCH, execution), inputs)
        for name, network in (("parent", parent), ("instance", instance))
    }
    images = {name: call().astype(int) for name, call in calls.items()}
    repeats = max(1, round(SAMPLE_SECONDS / report.seconds(calls["parent"])))
    repeated = {name: partial(_repeat, call, repeats) for name, call in calls.items()}
    medians = report.paired_medians(repeated, rounds)
    rates = {name: MINIBATCH * repeats / seconds for name, seconds in medians.items()}
    return {
        "execution": execution.label,
        **rates,
        "ratio": rates["instance"] / rates["parent"],
        "difference": int(np.abs(images["parent"] - images["instance"]).max()),
    }


def _repeat(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    formats = {}
    for kind in FORMATS:
        try:
            formats[kind] = report.in_process(measure_writing, args.network, kind, args.instances)
        except UserError as error:
            if kind != "ONNX":
                raise
            report.note(f"no ONNX: {error}")
    speed = report.in_process(measure_speed, args.network, args.rounds)
    rows = [
        [
            kind,
            f"{found['per_second']:.3g}",
            f"{found['first']:.2f}",
            f"{found['growth_mib']:.1f}",
            f"{found['file_mib']:.2f}",
        ]
        for kind, found in formats.items()
    ]
    head = ["format", "instances/s", "the first, s", "memory growth, MiB", "file, MiB"]
    text = (
        f"### {Path(args.network).name}, {args.instances} instances\n\n"
        f"{report.table(head, rows)}\n\n"
        f"{speed['execution']}, minibatch {MINIBATCH}: the parent makes {speed['parent']:.4g} "
        f"images/s, an instance {speed['instance']:.4g}, {speed['ratio']:.3f} times as many; "
        f"pixels differ by at most {speed['difference']}."
    )
    figures = {"instances": args.instances, "formats": formats, "speed": speed}
    report.publish("instances", text, figures, args.out)


if __name__ == "__main__":
    cli.run(main)
