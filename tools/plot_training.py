"""Draws the curves of one or more training runs from their TensorBoard files: one PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from dnnlib import cli
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.plots import import_pyplot
from dnnlib.tflib.start import quiet_tensorflow

# Panel title -> statistics drawn in it.
PANELS = {
    "bit accuracy of the batch": ["Progress/bit_accuracy", "Progress/bit_accuracy_edited"],
    "PSNR between fingerprints (-), latents (:)": [
        "Progress/psnr_fingerprints",
        "Progress/psnr_latents",
    ],
    "bit loss times its weight": ["Loss/loss_E_watermarks"],
    "latent loss times its weight": ["Loss/loss_E_latents"],
    "difference by fingerprint times its weight": ["Loss/loss_decouple"],
    "scores of reals and fakes": ["Loss/scores/real", "Loss/scores/fake"],
}


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = cli.ArgumentParser(prog="python3 -m tools.plot_training", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="folders of training runs")
    parser.add_argument("--out", default="training.png", metavar="PNG", help="file to write")
    parser.add_verbose()
    return parser


def read_scalars(run_dir: Path) -> dict[str, tuple[list[float], list[float]]]:
    """TensorBoard scalars of a run: name -> kimg, values.

    Raises:
        UserError: the folder holds no event file.
    """
    if not list(run_dir.glob("events.out.tfevents.*")):
        raise UserError(f"{run_dir} holds no events.out.tfevents.*; name the folder of a run")
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = {}
    # As runs of earlier versions wrote them; a run that one of them began may have both.
    for tag in events.Tags()["tensors"]:
        series = events.Tensors(tag)
        kimg = [event.step / 1000 for event in series]
        found[tag] = (kimg, [float(make_ndarray(event.tensor_proto)) for event in series])
    for tag in events.Tags()["scalars"]:
        scalars = events.Scalars(tag)
        found[tag] = ([event.step / 1000 for event in scalars], [e.value for e in scalars])
    return found


def draw(runs: dict[str, dict[str, tuple[list[float], list[float]]]]) -> Any:
    """One panel per statistic, one line per run; returns the matplotlib figure."""
    pyplot = import_pyplot()
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), constrained_layout=True)
    colours = pyplot.rcParams["axes.prop_cycle"].by_key()["color"]
    for panel, (title, tags) in zip(axes.flat, PANELS.items(), strict=True):
        for colour, (name, scalars) in zip(colours, runs.items(), strict=False):
            for style, tag in zip(("-", ":"), tags, strict=False):
                if tag in scalars:
                    panel.plot(*scalars[tag], style, color=colour, linewidth=1.2, label=name)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("kimg", fontsize=8)
        panel.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=7)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    figure = draw({Path(name).name: read_scalars(Path(name)) for name in args.runs})
    with open_atomic(args.out) as file:
        figure.savefig(file, format="png", dpi=90)
    print(args.out)


if __name__ == "__main__":
    cli.run(main)
