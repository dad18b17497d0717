"""Curves as SVG whose colours follow the page: light, dark, or printed."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from dnnlib.plots import import_pyplot

# What is drawn in one of these colours takes that of the page; alone, the file has the second.
_COLOURS = {
    "#010101": ("--ink", "#222222"),
    "#020202": ("--rule", "#bbbbbb"),
    "#030301": ("--c1", "#0b63ce"),
    "#030302": ("--c2", "#c2410c"),
    "#030303": ("--c3", "#15803d"),
    "#030304": ("--c4", "#7e22ce"),
    "#030305": ("--c5", "#6b7280"),
}
_INK, _RULE, *_SERIES = _COLOURS
_PAPER = _SERIES[-1]
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 9,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_WAYS = {"bits": _SERIES[2], "soft": _SERIES[0], "soft, light": _SERIES[1]}


def curve(of_models: Mapping[str, Mapping[str, Any]]) -> str:
    """Bit accuracy and share of pictures named against strength, with the paper's points.

    Args:
        of_models: by name of the model, what `studies.robustness` returned.

    Returns:
        An SVG element.
    """
    pyplot = import_pyplot()
    some = next(iter(of_models.values()))
    with pyplot.rc_context(_STYLE):
        figure, (bits, named) = pyplot.subplots(1, 2, figsize=(8.6, 2.7), constrained_layout=True)
        for colour, (model, found) in zip(_SERIES * 9, of_models.items(), strict=False):
            label = model if len(of_models) > 1 else "bits read rightly"
            _line(bits, found["points"], lambda p: p["bit_accuracy"], colour, label)
            # Of several models the usual way alone: more lines could not be told apart.
            ways = _WAYS if len(of_models) == 1 else {"soft": colour}
            for way, of_way in ways.items():
                name = way if len(of_models) == 1 else model
                own = [p for p in found["points"] if way in p["named"]]
                _line(named, own, lambda p, w=way: p["named"][w], of_way, name)
        for kind, face in (("original", "none"), ("immunized", _PAPER)):
            if points := some["paper"]:
                x = [point["strength"] for point in points]
                bits.plot(
                    *(x, [point[kind] for point in points], "s"),
                    color=_PAPER,
                    markerfacecolor=face,
                    markersize=5,
                    label=f"paper, {kind}",
                )
        bits.set(ylim=(0.38, 1.02), ylabel="bit accuracy", xlabel=some["axis"])
        named.set(ylim=(-0.03, 1.03), ylabel="licensee named", xlabel=some["axis"])
        bits.axhline(0.5, color=_RULE, linewidth=1)
        strengths = [point["strength"] for point in some["points"]]
        for panel in (bits, named):
            panel.grid(alpha=0.5, linewidth=0.5)
            if strengths[0] > strengths[-1]:
                panel.invert_xaxis()  # mild on the left, always
            panel.legend(loc="best")
        return _svg(figure, pyplot)


def bars(names: Sequence[str], of_models: Mapping[str, Sequence[float]], axis: str) -> str:
    """Horizontal bars from 0 to 1, a group per name.

    Args:
        names: from top to bottom.
        of_models: by model, a value per name.
        axis: what a value is.

    Returns:
        An SVG element.
    """
    pyplot = import_pyplot()
    with pyplot.rc_context(_STYLE):
        height = 0.7 + 0.26 * len(names) * max(1, 0.6 * len(of_models))
        figure, panel = pyplot.subplots(figsize=(8.6, height), constrained_layout=True)
        thickness = 0.8 / len(of_models)
        for number, (colour, (model, values)) in enumerate(
            zip(_SERIES * 9, of_models.items(), strict=False)
        ):
            places = [place + number * thickness for place in range(len(names))]
            panel.barh(places, values, thickness * 0.9, color=colour, label=model)
        middle = (len(of_models) - 1) / 2 * thickness
        panel.set_yticks([place + middle for place in range(len(names))], names)
        panel.invert_yaxis()
        panel.set(xlim=(0, 1), xlabel=axis)
        panel.grid(axis="x", alpha=0.5, linewidth=0.5)
        if len(of_models) > 1:
            panel.legend(loc="lower right")
        return _svg(figure, pyplot)


def _line(panel: Any, points: Any, figure_of: Any, colour: str, label: str) -> None:
    """Values with their intervals."""
    x = [point["strength"] for point in points]
    values, low, high = (
        [figure_of(point)[part] for point in points] for part in ("value", "low", "high")
    )
    panel.plot(x, values, color=colour, linewidth=1.6, label=label)
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _svg(figure: Any, pyplot: Any) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = file.getvalue()
    for drawn, (variable, alone) in _COLOURS.items():
        text = text.replace(drawn, f"var({variable}, {alone})")
    return text[text.index("<svg") :]
