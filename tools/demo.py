"""`make demo`: the whole way from images to fingerprints that are read back from PNG files.

Every step is a command that the reader could have typed; it is shown before it runs. What the
commands say goes to stderr, the closing tables to stdout and to summary.txt beside the results.
pair.png there shows what a fingerprint changes: two licensees' pictures and their difference.
"""

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import columns, format_time
from dnnlib.image_grid import save_png
from dnnlib.images import read_picture
from dnnlib.run_dir import create_run_dir
from fingerprints.bits import format_hex
from metrics.image_difference import IDENTICAL_PSNR, PairDifferences
from tools.pair_picture import pair_picture

ARCHIVES = Path("datasets")
DATASET = "portraits-32"
METRIC_IMAGES = "3k"
PAIR_IMAGES = "1k"
QUALITY = f"swd{METRIC_IMAGES}"
ACCURACY = f"watermark_accuracy_{METRIC_IMAGES}"
VISIBILITY = f"fingerprint_visibility{PAIR_IMAGES}"
LICENSEES = ("alice", "bob", "carol")
LICENSEE_SEEDS = "0-15"  # the same latents for every licensee
RANDOM_SEEDS = "1000-1255"  # images that each have a fingerprint of their own
PAIRS = 6  # shown in pair.png


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the training")
    parser.add_argument(
        "--dataset", default=DATASET, metavar="NAME", help=f"a .zip in {ARCHIVES}/ ({DATASET})"
    )
    parser.add_argument("--config", default="config-tiny", help="of run_training.py")
    parser.add_argument("--total-kimg", metavar="KIMG", help="shorter or longer training")
    parser.add_argument("--result-dir", default="demo", metavar="DIR", help="where all goes")
    return parser


def run_command(*arguments: str, capture: bool = False) -> str:
    """Shows a command of this repository and runs it.

    Args:
        arguments: script and arguments.
        capture: return what it prints instead of showing it on stderr.

    Raises:
        UserError: it failed; its own message is on stderr already.
        KeyboardInterrupt: Ctrl-C, passed on to the command once, which may end in peace.
    """
    python = os.path.relpath(sys.executable) if sys.prefix != sys.base_prefix else "python3"
    print(f"\n$ {shlex.join([python, *arguments])}", file=sys.stderr, flush=True)
    # A session of its own keeps the terminal's Ctrl-C from reaching it a second time.
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else sys.stderr,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.kill()
            process.wait()
        raise
    if process.returncode:
        raise UserError(f"{arguments[0]} ended with status {process.returncode}, see above")
    return output or ""


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Announces a step and records the seconds that it took."""
    print(f"\n== {name}", file=sys.stderr, flush=True)
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def make_dataset(data_dir: Path, name: str) -> None:
    """Makes the TFRecord files of an archive, unless an earlier demo has."""
    folder = data_dir / name
    if folder.exists():
        # It appears complete or not at all, so an interrupted demo cannot have left half of it.
        print(f"{folder} is there already", file=sys.stderr)
        return
    run_command("dataset_tool.py", "create_from_images", str(folder), f"{ARCHIVES / name}.zip")


def generate(
    network: Path, folder: Path, seeds: str, fingerprint: str | None = None
) -> tuple[Path, list[dict[str, Any]]]:
    """Writes PNG files; returns their folder and the lines of their manifest."""
    arguments = [f"--network={network}", f"--result-dir={folder}", f"--seeds={seeds}", "--grid"]
    if fingerprint is not None:
        arguments.append(f"--fingerprint={fingerprint}")
    output = run_command("run_generator.py", "generate-images", *arguments, capture=True)
    images = Path(output.strip())
    lines = (images / "fingerprints.jsonl").read_text(encoding="utf-8").splitlines()
    return images, [json.loads(line) for line in lines]


def read_metrics(folder: Path) -> dict[str, float]:
    """All values of the metrics below a result folder."""
    values: dict[str, float] = {}
    for path in sorted(folder.glob("*/metric-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            values.update(json.loads(line)["values"])
    return values


def table(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Lines of the table of what was read from the files.

    Args:
        groups: heading of a row -> `run_fingerprints.py decode --json` of its files.
    """
    rows = [("", "fingerprint", "files", "bit accuracy", "all bits right", "worst file")]
    everything = [line for lines in groups.values() for line in lines]
    for name, lines in {**groups, "all files": everything}.items():
        num_bits = lines[0]["num_bits"]
        matches = [line["match"] for line in lines]
        expected = {line["expected"] for line in lines}
        rows.append((
            name,
            expected.pop() if len(expected) == 1 else "various",
            f"{len(lines)}",
            f"{sum(matches) / (num_bits * len(lines)):.4f}",
            f"{sum(match == num_bits for match in matches)}",
            f"{min(matches)}/{num_bits} bits",
        ))  # fmt: skip
    return columns(rows)


def read_images(folder: Path) -> np.ndarray:
    """The pictures of a folder in the order of their seeds, as the files hold them: [N,H,W,3]."""
    return np.stack([np.asarray(read_picture(path)) for path in sorted(folder.glob("seed*.png"))])


def visibility_table(images: dict[str, np.ndarray]) -> list[str]:
    """Lines of the table of how much licensees' pictures of the same seeds differ.

    Args:
        images: name of a licensee -> uint8 [N,H,W,3], equally many for all.
    """
    rows = [("same seeds, other fingerprint", "files", "PSNR", "SSIM", "largest difference")]
    for first, second in itertools.combinations(images, 2):
        differences = PairDifferences()
        differences.add(images[first], images[second])
        rows.append((
            f"{first} and {second}",
            f"{differences.count} each",
            decibels(differences.psnr),
            f"{differences.ssim:.4f}",
            f"{differences.largest:.1f} of 255",
        ))  # fmt: skip
    return columns(rows)


def decibels(psnr: float) -> str:
    """A PSNR as text."""
    return "identical" if psnr == IDENTICAL_PSNR else f"{psnr:.2f} dB"


def figures(values: dict[str, float]) -> list[str]:
    """Lines of quality and visibility, of what the metrics gave."""
    psnr, ssim, latents = (values[VISIBILITY + s] for s in ("_psnr", "_ssim", "_latents_psnr"))
    return [
        f"quality     SWD {values[f'{QUALITY}_avg']:.2f} over {METRIC_IMAGES} images"
        " (smaller is better)",
        f"visibility  other fingerprint {decibels(psnr)}, SSIM {ssim:.4f} (larger is better); "
        f"other latent {decibels(latents)}; over {PAIR_IMAGES} images",
    ]


def decode(network: Path, folders: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """What is read from the files of each folder, under the folder's heading."""
    output = run_command(
        "run_fingerprints.py", "decode", f"--network={network}", "--json",
        *map(str, folders.values()), capture=True,
    )  # fmt: skip
    decoded = [line for line in map(json.loads, output.splitlines()) if "file" in line]
    return {
        name: [line for line in decoded if Path(line["file"]).parent == folder]
        for name, folder in folders.items()
    }


def run_demo(args: Any) -> None:
    """All steps, in a fresh numbered folder."""
    result_dir = Path(args.result_dir)
    run_dir = create_run_dir(result_dir, f"seed{args.seed}")
    seconds: dict[str, float] = {}

    with timed(seconds, "data set"):
        make_dataset(result_dir / "datasets", args.dataset)

    training = run_dir / "training"
    data = [f"--data-dir={result_dir / 'datasets'}", f"--dataset={args.dataset}"]
    with timed(seconds, "training"):
        flags = [f"--config={args.config}", f"--seed={args.seed}", f"--result-dir={training}"]
        if args.total_kimg:
            flags.append(f"--total-kimg={args.total_kimg}")
        run_command("run_training.py", *data, *flags)
    (network,) = training.glob("*/network-final.pkl")

    with timed(seconds, "evaluation"):
        metrics = ",".join((QUALITY, ACCURACY, VISIBILITY))
        flags = [f"--metrics={metrics}", f"--network={network}", f"--result-dir={run_dir / 'eval'}"]
        run_command("run_metrics.py", *data, *flags)

    with timed(seconds, "pictures"):
        folders: dict[str, Path] = {}
        random, manifest = generate(network, run_dir / "random", RANDOM_SEEDS)
        rnd = np.random.RandomState(args.seed)
        for name in LICENSEES:
            fingerprint = format_hex(rnd.randint(0, 2, manifest[0]["num_bits"]))
            folders[name], _ = generate(network, run_dir / name, LICENSEE_SEEDS, fingerprint)
        images = {name: read_images(folder) for name, folder in folders.items()}
        alice, bob = LICENSEES[:2]
        pairs = pair_picture(images[alice][:PAIRS], images[bob][:PAIRS], (alice, bob))
        save_png(pairs, run_dir / "pair.png")
        folders["random fingerprints"] = random

    with timed(seconds, "decoding"):
        groups = decode(network, folders)

    summary = [
        *table(groups),
        "",
        *visibility_table(images),
        "",
        *figures(read_metrics(run_dir / "eval")),
        f"time        {format_time(sum(seconds.values()))}, "
        f"{format_time(seconds['training'])} of it training",
        *(f"pictures    {folder / 'grid.png'}" for folder in folders.values()),
        f"pairs       {run_dir / 'pair.png'}",
        f"model       {network}",
    ]
    with open_atomic(run_dir / "summary.txt", "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in summary)
    print("\n== fingerprints read back from the PNG files", file=sys.stderr, flush=True)
    print("\n".join(summary))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the demo."""
    args = build_parser().parse_args(argv)
    if args.seed < 0:
        raise UserError(f"--seed={args.seed}: expected a number of at least 0")
    # `kill` and a closed terminal end the running command, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        run_demo(args)
    except KeyboardInterrupt:
        print("interrupted; the data set is kept, `make demo` starts a fresh run", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    cli.run(main)
