"""Times the commands on many files against the network alone; see `bench_verify`."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dnnlib.tflib.machine import resolve_execution
from fingerprints.registry.facade import Registry
from gan_fingerprints.commands.fingerprints import build_parser
from gan_fingerprints.work import bulk
from gan_fingerprints.work.decode import Describer
from gan_fingerprints.work.images import Reader, load_decoder
from gan_fingerprints.work.judges import make_judge
from gan_fingerprints.work.results import DECODE_COLUMNS, VERDICT_COLUMNS, open_results
from training.models.functions import images_by_seed, make_decoder
from training.models.snapshot import load_networks
from training.networks.decoder import Decoder

LEVEL = 1e-6


def measure(
    network: str, num_images: int, num_licensees: int, minibatch: int, rounds: int
) -> dict[str, Any]:
    """Images per second and processor time of each way, in turn.

    Half of the files are pictures of licensees, half are noise.

    Returns:
        `execution`, `resolution`, and `rates`: what -> `images_per_second`, `cpu_us` (medians) and
        `ratio` (median over rounds of the speed over that of the network in the same round).
    """
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare(Path(name), network, num_images, num_licensees)
        execution = resolve_execution()
        ways: dict[str, Callable[[int], object]] = {}
        alone = make_decoder(prepared.decoder, minibatch, execution)
        ways["the network, pictures in memory"] = lambda _: alone(prepared.images)

        names = prepared.names
        flags = [f"--network={network}", f"--minibatch={minibatch}"]
        args = build_parser().parse_args(["decode", *flags, *names[:1]])
        reader = Reader(args, prepared.decoder, num_images)
        describer = Describer({Path(name): None for name in names})
        ways["decode"] = partial(
            _run, args, prepared.folder, names, reader, describer, DECODE_COLUMNS
        )
        ways["verify"] = make_verify(prepared, minibatch)
        rates = _in_turn(ways, num_images, rounds)
    resolution = prepared.decoder.resolution
    return {"execution": execution.label, "resolution": resolution, "rates": rates}


class Prepared(NamedTuple):
    """A model with licensees, and pictures."""

    folder: Path
    network: str
    registry: Path
    decoder: Decoder
    hashes: tuple[str | None, str]  # of the model, of the decoder
    images: np.ndarray  # uint8 [N,R,R,C]: half with a licensee's fingerprint, half noise
    names: list[str]  # of their files


def prepare(folder: Path, network: str, num_images: int, num_licensees: int) -> Prepared:
    """Makes registry and pictures in a folder, which is the cache folder, too."""
    os.environ["GAN_FINGERPRINTS_CACHE"] = str(folder / "cache")
    decoder, model_hash, decoder_hash = load_decoder(network)
    registry = folder / "registry.db"
    with Registry.create(str(registry)) as opened:
        num_bits = decoder.fingerprint_size
        model = opened.add_model(str(model_hash), decoder_hash, num_bits, "model")
        people = [(f"licensee-{i}", "") for i in range(num_licensees)]
        issued = opened.reserve(model, people, min_distance=1)
    images = _pictures(network, num_images, issued[0].bits)
    names = _save(folder / "pictures", images)
    hashes = (model_hash, decoder_hash)
    return Prepared(folder, network, registry, decoder, hashes, images, names)


def make_verify(prepared: Prepared, minibatch: int) -> Callable[[int], object]:
    """What `verify --out` does with all the pictures between starting and its summary.

    Returns:
        A function of a number, after which its results are called: `verify-NUMBER.jsonl`.
    """
    flags = [f"--network={prepared.network}", f"--minibatch={minibatch}"]
    args = build_parser().parse_args(
        ["verify", *flags, f"--registry={prepared.registry}", *prepared.names[:1]]
    )
    args.top = 0
    num_bits = prepared.decoder.fingerprint_size
    judge = make_judge(args, num_bits, prepared.hashes, LEVEL, quiet=True)
    reader = Reader(args, prepared.decoder, len(prepared.names))
    return partial(_run, args, prepared.folder, prepared.names, reader, judge, VERDICT_COLUMNS)


def _pictures(network: str, count: int, bits: np.ndarray) -> np.ndarray:
    """Pictures with a fingerprint, and as many of noise: uint8 [count,R,R,C]."""
    generator = load_networks(network, only="generator").fingerprinted
    ours = images_by_seed(generator, range(max(1, count // 2)), bits)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, [count - len(ours), *ours.shape[1:]], np.uint8)
    return np.concatenate([ours, noise])[:count]


def _save(folder: Path, images: np.ndarray) -> list[str]:
    folder.mkdir()
    names = [str(folder / f"{number:06d}.png") for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(name)
    return names


def _run(
    args: Any, folder: Path, names: list[str], reader: Reader, judge: Any, columns: Any, number: int
) -> None:
    """What the command does between starting and its summary."""
    args.out = str(folder / f"{args.command}-{number}.jsonl")
    work = bulk.Work(names, len(names))
    with open_results(args, {}, columns) as results:
        tally = bulk.run(work, results, partial(bulk.judge_all, work, reader, judge))
    assert tally.num_images == len(names), tally


def _in_turn(
    ways: dict[str, Callable[[int], object]], num_images: int, rounds: int
) -> dict[str, dict[str, float]]:
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way(number)
            sample = (time.perf_counter() - wall, time.process_time() - cpu)
            if number:  # the first round compiles
                samples[name].append(sample)
    first = next(iter(samples.values()))
    return {
        name: {
            "images_per_second": num_images / statistics.median(wall for wall, _ in found),
            "cpu_us": statistics.median(cpu for _, cpu in found) / num_images * 1e6,
            "ratio": statistics.median(a[0] / b[0] for a, b in zip(first, found, strict=True)),
        }
        for name, found in samples.items()
    }
