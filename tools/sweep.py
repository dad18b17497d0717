"""Trains a model for every value of something, and compares them: the paper's sweeps.

capacity: bits of a fingerprint. scalability: distinct fingerprints that training sees; accuracy is
on others. ablation: without a term of the loss. range: resolutions that are modulated. Every value
has a folder with its training and its metrics; the same command goes on where it was stopped, and
ends with sweep.md, sweep.json and sweep.png. What is behind -- goes to every training.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.format import markdown
from dnnlib.plots import import_pyplot
from dnnlib.run_dir import FINISHED
from tools.demo import run_command

ACCURACY, VISIBILITY = "watermark_accuracy_1k", "fingerprint_visibility1k"
FIGURES = {
    "bit accuracy": f"{ACCURACY}_watermark_bit_accuracy",
    "PSNR between fingerprints, dB": f"{VISIBILITY}_psnr",
    "PSNR between latents, dB": f"{VISIBILITY}_latents_psnr",
}
_WITHOUT = {
    "all terms": [],
    "without decouple": ["--decoupleL2-weight=0"],
    "without latent": ["--latentsRecL2-weight=0"],
    "without bits": ["--watermarkCls-weight=0"],
}


def _flags(flag: str, values: Sequence[str]) -> dict[str, list[str]]:
    return {value: [f"--{flag}={value}"] for value in values}


# Sweep -> name of a value -> its flags.
SWEEPS: dict[str, dict[str, list[str]]] = {
    "capacity": _flags("watermark-size", ["16", "32", "64", "128", "256", "512"]),
    "scalability": _flags("distinct-fingerprints", ["10", "100", "1000", "10000", "100000"]),
    "ablation": _WITHOUT,
    "range": _flags("res-modulated-range", ["4-4", "4-8", "8-16", "16-32", "4-32"]),
}

# What the values of a sweep are, for the table and the plot.
AXES = {
    "capacity": "bits",
    "scalability": "fingerprints in training",
    "ablation": "loss",
    "range": "modulated resolutions",
}


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.sweep", description=__doc__)
    add = parser.add_argument
    add("sweep", choices=SWEEPS)
    add("--dataset", required=True, metavar="NAME", help="below --data-dir")
    add("--data-dir", default="datasets", metavar="DIR", help="folder of data sets")
    add("--out", required=True, metavar="DIR", help="where all goes")
    add("--values", metavar="LIST", help="only these, separated by commas")
    return parser


def chosen(sweep: str, values: str | None) -> dict[str, list[str]]:
    """The values that are trained, with their flags.

    Raises:
        UserError: there is no such value.
    """
    known = SWEEPS[sweep]
    if values is None:
        return known
    names = [name.strip() for name in values.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--values: {sweep} has no {unknown[0]!r}; it has {', '.join(known)}")
    return {name: known[name] for name in names}


def measure(folder: Path, flags: Sequence[str], data: Sequence[str]) -> dict[str, float]:
    """Trains and measures in a folder what is not there yet; figures by the name of the metric.

    Args:
        folder: of one value.
        flags: of its training.
        data: the flags that name the data set.
    """
    if not list(folder.glob(f"training/*/{FINISHED}")):
        run_command("run_training.py", *data, *flags, f"--result-dir={folder / 'training'}")
    (network,) = folder.glob("training/*/network-final.pkl")
    if not list(folder.glob(f"metrics/*/{FINISHED}")):
        metrics = f"--metrics={ACCURACY},{VISIBILITY}"
        out = f"--result-dir={folder / 'metrics'}"
        run_command("run_metrics.py", metrics, f"--network={network}", out)
    (done,) = folder.glob(f"metrics/*/{FINISHED}")
    found: dict[str, float] = {}
    for path in sorted(done.parent.glob("metric-*.jsonl")):
        found |= json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["values"]
    return found


def report(out: Path, sweep: str, found: dict[str, dict[str, float]]) -> str:
    """Writes sweep.md, sweep.json and sweep.png; returns the table."""
    titles = [AXES[sweep], *FIGURES]
    rows = [[name, *(f"{v[key]:.4f}" for key in FIGURES.values())] for name, v in found.items()]
    text = "\n".join(markdown(titles, rows))
    contents: dict[str, Any] = {"sweep.md": text + "\n", "sweep.json": json.dumps(found, indent=1)}
    for name, content in contents.items():
        with open_atomic(out / name, "w", encoding="utf-8") as file:
            file.write(content)
    pyplot = import_pyplot()
    figure, panels = pyplot.subplots(1, len(FIGURES), figsize=(11, 3), constrained_layout=True)
    for panel, (title, key) in zip(panels, FIGURES.items(), strict=True):
        panel.plot(list(found), [values[key] for values in found.values()], "o-")
        panel.set(title=title, xlabel=AXES[sweep])
        panel.tick_params("x", rotation=30)
        panel.grid(alpha=0.3)
    with open_atomic(out / "sweep.png") as file:
        figure.savefig(file, format="png", dpi=100)
    pyplot.close(figure)
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    given = list(sys.argv[1:] if argv is None else argv)
    middle = given.index("--") if "--" in given else len(given)
    args, training = build_parser().parse_args(given[:middle]), given[middle + 1 :]
    values, out = chosen(args.sweep, args.values), Path(args.out)
    import_pyplot()  # what is missing is said before hours of training
    data = [f"--data-dir={args.data_dir}", f"--dataset={args.dataset}"]
    found = {}
    for name, flags in values.items():
        folder = out / args.sweep / name.replace(" ", "-")
        found[name] = measure(folder, [*training, *flags], data)
    print(report(out / args.sweep, args.sweep, found))


if __name__ == "__main__":
    cli.run(main)
