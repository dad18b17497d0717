"""How many images per second do generate-images and decode make, against their floor?

Two figures each: the network alone, as the commands call it, whose floor is its multiply-adds at
the speed of a matrix product measured between the rounds; and with what the commands do around it,
drawing by seed and writing PNG files, or reading them. The start-up, apart: the real commands with
one image, from the shell's command to its end, cold (files out of the page cache, where the system
lets us, and an empty cache folder) and warm; of the first setting alone.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import floor, report
from benchmarks.settings import SETTINGS, Setting
from dnnlib import cli
from dnnlib.cache import CACHE_VARIABLE
from dnnlib.errors import UserError
from dnnlib.tflib.start import quiet_tensorflow

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = {"128x128": 3, "32x32": 7}
MINIBATCHES = (1, 16)
SAMPLE_SECONDS = 0.3  # short calls are repeated for as long, and their mean is one sample
COMMANDS = ("generate-images", "decode")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--setting", choices=SETTINGS, help="measure this one alone (default: all)")
    parser.add_argument("--rounds", type=cli.positive_int, metavar="N", help="calls of each kind")
    parser.add_argument(
        "--starts",
        type=int,
        default=2,
        metavar="N",
        help="warm starts of each command; 0: none, cold ones neither (default: 2)",
    )
    return parser


def save_model(setting: Setting, path: Path) -> None:
    """A snapshot with random weights: average and decoder."""
    quiet_tensorflow(verbose=False)
    from training.models.snapshot import save_snapshot
    from training.setup import make_networks

    networks = make_networks(setting.make_config())
    save_snapshot(path, E=networks.E, Gs=networks.Gs)


def measure(model: Path, rounds: int) -> dict[str, Any]:
    """Times the networks of a snapshot.

    Returns:
        `peak_flops` (FLOP/s); `gflop_per_image` and, by minibatch, `images_per_second`,
        `floor` (images/s), `fraction` and `with_files` (images/s), all by command.
    """
    quiet_tensorflow(verbose=False)
    from dnnlib.image_grid import save_png
    from dnnlib.tflib.machine import resolve_execution
    from fingerprints.image_files import read_image
    from training.models.functions import make_decoder, make_generator
    from training.models.seeds import sample_by_seed
    from training.models.snapshot import load_networks

    found = load_networks(model)
    generator, decoder = found.generator, found.decoder
    calls: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"seed{seed:04d}.png" for seed in range(max(MINIBATCHES))]
        execution = resolve_execution()
        generate = make_generator(generator, execution=execution)

        def draw(count: int) -> Any:
            return next(
                sample_by_seed(
                    range(count),
                    latent_size=generator.latent_size,
                    fingerprint_size=generator.fingerprint_size,
                    noise_shapes=generator.noise_shapes,
                    minibatch=count,
                )
            )

        def generate_files(count: int) -> None:
            for image, path in zip(generate(draw(count)), paths, strict=False):
                save_png(image, path)

        def decode_files(count: int, decode: Callable[[np.ndarray], np.ndarray]) -> None:
            size, channels = decoder.resolution, decoder.num_channels
            images = [read_image(path, size, channels, resize=False) for path in paths[:count]]
            decode(np.stack(images))

        for count in sorted(MINIBATCHES, reverse=True):  # the largest writes all files
            inputs, decode = draw(count), make_decoder(decoder, count, execution)
            images = generate(inputs)
            calls |= {
                f"generate-images {count}": partial(generate, inputs),
                f"generate-images {count} files": partial(generate_files, count),
                f"decode {count}": partial(decode, images),
                f"decode {count} files": partial(decode_files, count, decode),
            }
        repeats = {name: _repeats(call) for name, call in calls.items()}
        repeated = {name: partial(_repeat, call, repeats[name]) for name, call in calls.items()}
        peaks: list[float] = []
        medians = report.paired_medians(
            repeated, rounds, lambda: peaks.append(floor.measure_peak())
        )
    peak = statistics.median(peaks)
    figures: dict[str, Any] = {"peak_flops": peak}
    for command, network in zip(COMMANDS, (generator, decoder), strict=True):
        flops = floor.network_flops(network)
        figures[command] = {"gflop_per_image": flops / 1e9}
        for count in MINIBATCHES:
            name = f"{command} {count}"
            rate, files = (count * repeats[key] / medians[key] for key in (name, f"{name} files"))
            figures[command][str(count)] = {
                "images_per_second": rate,
                "floor": peak / flops,
                "fraction": rate / (peak / flops),
                "with_files": files,
            }
    return figures


def _repeat(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def _repeats(call: Callable[[], Any]) -> int:
    call()
    return max(1, round(SAMPLE_SECONDS / report.seconds(call)))


def measure_starts(model: Path, starts: int) -> dict[str, dict[str, float]]:
    """Seconds that each command takes for one image: one cold start, median of `starts` warm ones.

    Raises:
        UserError: a command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        results, cache = Path(folder) / "results", Path(folder) / "cache"
        environment = os.environ | {CACHE_VARIABLE: str(cache)}
        image = results / "00000-generate-images" / "seed0000.png"
        lines = {
            "generate-images": [
                "run_generator.py",
                "generate-images",
                f"--network={model}",
                "--seeds=0",
                f"--result-dir={results}",
            ],
            "decode": ["run_fingerprints.py", "decode", f"--network={model}", str(image)],
        }
        figures = {}
        for name, (script, *flags) in lines.items():
            command = [sys.executable, str(ROOT / script), *flags]
            forget_files([Path(sys.prefix), model.parent, ROOT / "training"])
            start = partial(_run, command, environment)
            times = [report.seconds(start) for _ in range(starts + 1)]
            figures[name] = {"cold": times[0], "warm": statistics.median(times[1:])}
        return figures


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise UserError(f"{Path(command[1]).name} failed: {run.stderr.strip()}")


def forget_files(folders: Sequence[Path]) -> None:
    """Asks the system to drop what it has cached of these folders' files, used ones aside."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                file = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(file)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    chosen = {args.setting: SETTINGS[args.setting]} if args.setting else SETTINGS
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, setting in chosen.items():
            model = Path(folder) / f"{name}.pkl"
            report.in_process(save_model, setting, model)
            found = report.in_process(measure, model, args.rounds or ROUNDS[name])
            if args.starts > 0 and not figures:  # the first alone: most of it is TensorFlow's own
                found["start"] = measure_starts(model, args.starts)
            figures[name] = found
    report.publish("generation", describe(figures), figures, args.out)


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows, starts = [], []
    for name, found in figures.items():
        for command in COMMANDS:
            for count in MINIBATCHES:
                f = found[command][str(count)]
                rows.append(
                    [
                        command,
                        name,
                        count,
                        f"{f['images_per_second']:.3g}",
                        f"{f['floor']:.3g}",
                        f"{f['fraction']:.0%}",
                        f"{f['with_files']:.3g}",
                    ]
                )
            if "start" in found:
                times = found["start"][command]
                starts.append([command, name, f"{times['cold']:.1f}", f"{times['warm']:.1f}"])
    head = ["command", "size", "minibatch", "images/s", "floor", "of the floor", "with files"]
    text = report.table(head, rows)
    if starts:
        head = ["start-up with one image", "size", "cold, s", "warm, s"]
        text += f"\n\n{report.table(head, starts)}"
    return text


if __name__ == "__main__":
    cli.run(main)
