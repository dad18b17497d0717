"""Times networks as `generate-images` and `decode` call them; see `bench_generation`."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import floor, report
from benchmarks.device import measure_peak
from benchmarks.settings import Setting
from dnnlib.image_grid import save_png
from dnnlib.tflib.machine import resolve_execution
from fingerprints.image_files import read_image
from training.models.functions import inputs_by_seed, make_decoder, make_generator
from training.models.seeds import GeneratorInputs
from training.models.snapshot import load_networks, save_snapshot
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.setup import make_networks

SAMPLE_SECONDS = 0.3  # short calls are repeated for as long, and their mean is one sample


def save_model(setting: Setting, path: Path) -> None:
    """A snapshot with random weights: average and decoder."""
    networks = make_networks(setting.make_config())
    save_snapshot(path, E=networks.E, Gs=networks.Gs)


def draw_inputs(
    generator: Generator, count: int, fingerprint: np.ndarray | None = None
) -> GeneratorInputs:
    """What `generate-images` draws for its first minibatch of `count` images."""
    return next(inputs_by_seed(generator, range(count), fingerprint=fingerprint, minibatch=count))


def measure(model: Path, rounds: int, minibatches: Sequence[int]) -> dict[str, Any]:
    """Times the networks of a snapshot.

    Returns:
        `peak_flops` (FLOP/s); `gflop_per_image` and, by minibatch, `images_per_second`,
        `floor` (images/s), `fraction` and `with_files` (images/s), all by command.
    """
    found = load_networks(model)
    generator, decoder = found.fingerprinted, found.decoder
    with tempfile.TemporaryDirectory() as folder:
        calls = _make_calls(generator, decoder, minibatches, Path(folder))
        repeats = {name: _repeats(call) for name, call in calls.items()}
        repeated = {name: partial(report.repeat, calls[name], n) for name, n in repeats.items()}
        peaks: list[float] = []
        medians = report.paired_medians(repeated, rounds, lambda: peaks.append(measure_peak()))
    peak = statistics.median(peaks)
    figures: dict[str, Any] = {"peak_flops": peak}
    for command, network in (("generate-images", generator), ("decode", decoder)):
        flops = floor.network_flops(network)
        figures[command] = {"gflop_per_image": flops / 1e9}
        for count in minibatches:
            name = f"{command} {count}"
            rate, files = (count * repeats[key] / medians[key] for key in (name, f"{name} files"))
            figures[command][str(count)] = {
                "images_per_second": rate,
                "floor": peak / flops,
                "fraction": rate / (peak / flops),
                "with_files": files,
            }
    return figures


def _make_calls(
    generator: Generator, decoder: Decoder, minibatches: Sequence[int], folder: Path
) -> dict[str, Callable[[], Any]]:
    """What is timed, by `COMMAND MINIBATCH` and, with files, `COMMAND MINIBATCH files`."""
    paths = [folder / f"seed{seed:04d}.png" for seed in range(max(minibatches))]
    execution = resolve_execution()
    generate = make_generator(generator, execution=execution)

    def generate_files(count: int) -> None:
        images = generate(draw_inputs(generator, count))
        for image, path in zip(images, paths, strict=False):
            save_png(image, path)

    def decode_files(count: int, decode: Callable[[np.ndarray], np.ndarray]) -> None:
        size, channels = decoder.resolution, decoder.num_channels
        images = [read_image(path, size, channels, resize=False) for path in paths[:count]]
        decode(np.stack(images))

    calls: dict[str, Callable[[], Any]] = {}
    for count in sorted(minibatches, reverse=True):  # the largest writes all files
        inputs, decode = draw_inputs(generator, count), make_decoder(decoder, count, execution)
        calls |= {
            f"generate-images {count}": partial(generate, inputs),
            f"generate-images {count} files": partial(generate_files, count),
            f"decode {count}": partial(decode, generate(inputs)),
            f"decode {count} files": partial(decode_files, count, decode),
        }
    return calls


def _repeats(call: Callable[[], Any]) -> int:
    call()
    return max(1, round(SAMPLE_SECONDS / report.seconds(call)))
