"""The chapters of a report: pictures, curves, tables, of one model or of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.html import Markup, escape, figure, judged, paragraph, picture, table
from evaluation.report.plots import bars, curve
from evaluation.report.verdict import BORNE, Values, borne
from evaluation.subject.readings import WAYS
from fingerprints.detection.views import SEARCHES

Models = Mapping[str, Values]  # by the name of the model


def interval(found: Mapping[str, Any], percent: bool = True) -> str:
    """A figure with its interval, short."""
    factor, unit = (100, " %") if percent else (1, "")
    digits = 1 if percent else 4
    value, low, high = (factor * found[part] for part in ("value", "low", "high"))
    return f"{value:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"


def pictures(models: Models) -> list[Markup]:
    """Grids, and one latent under two fingerprints with the difference enlarged."""
    parts = []
    for model, values in models.items():
        shown = values["visibility"]["pictures"]
        if len(models) > 1:
            parts.append(Markup(f"<h3>{escape(model)}</h3>"))
        rows = "".join(
            picture(shown[name], words)
            for name, words in (
                ("first", "with one fingerprint"),
                ("second", "with another"),
                ("difference", "ten times the difference"),
            )
        )
        grid = picture(shown["grid"], "many latents, many fingerprints")
        same = picture(shown["fingerprints"], "one latent, many fingerprints")
        parts.append(
            figure(rows, "The same latents under two fingerprints, and ten times the absolute "
                   "difference.", "pair")
        )  # fmt: skip
        parts.append(
            Markup(
                '<div class="grids">'
                + figure(grid, "Many latents, each with a fingerprint of its own.")
                + figure(same, "One latent, a fingerprint of its own in each picture.")
                + "</div>"
            )
        )
    return parts


def visibility(models: Models) -> list[Markup]:
    """Whether the fingerprint shows, in numbers."""
    rows = []
    for model, values in models.items():
        found = values["visibility"]
        rows.append(
            [
                model,
                f"{found['pooled_psnr']:.2f} dB",
                f"{found['ssim']['value']:.4f}" if "ssim" in found else "",
                f"{found['largest']['value']:.1f}",
                f"{found['latents_psnr']:.2f} dB",
                f"{found['num_pairs']:,}",
            ]
        )
    titles = ["model", "PSNR", "SSIM", "largest difference, of 255", "other latent", "pairs"]
    return [
        Markup("<h3>What a fingerprint changes</h3>"),
        table(titles, rows),
        paragraph("PSNR of the error over all pairs; means of the others."),
    ]


def saved(models: Models) -> list[Markup]:
    """What is read of pictures as they are saved."""
    rows = []
    for model, values in models.items():
        found = values["unperturbed"]
        for way, named in found["named"].items():
            rows.append(
                [
                    model,
                    way,
                    interval(found["bit_accuracy"], percent=False),
                    interval(named),
                    interval(found["ours"][way]),
                    found["wrong"][way],
                ]
            )
    titles = ["model", "verdict by", "bit accuracy", "named", "called ours", "named wrongly"]
    return [table(titles, rows, text_columns=2)]


def out_of_reach(bits: Mapping[str, int], settings: Mapping[str, Any]) -> list[Markup]:
    """By which ways no picture can be named, since a fingerprint is too short.

    Args:
        bits: of a fingerprint, by model.
        settings: `num_keys` and `fpr` of the suite.
    """
    parts = []
    for model, number in bits.items():
        for way, (_, search) in WAYS.items():
            views = len(SEARCHES[search])
            tried = f", in one of {views} views," if views > 1 else ""
            chance = views * settings["num_keys"] * 0.5**number
            if chance > settings["fpr"]:
                parts.append(
                    paragraph(
                        f"{model}: {number} bits are too few for a name by {way}, however well "
                        f"they are read. All bits of one of {settings['num_keys']:,} fingerprints "
                        f"agree by chance{tried} with {chance:.1g} of foreign pictures, and "
                        f"{settings['fpr']:g} is asked for."
                    )
                )
    return parts


def curves(models: Models) -> list[Markup]:
    """Tables of what is borne, a drawing per perturbation, and the paper's figures beside."""
    names = [n for n in next(iter(models.values())) if n.startswith("robustness-")]
    named = [n for n in names if all(n in values for values in models.values())]
    if not named:
        return []
    ways = ("soft", "soft, light")
    titles = ["perturbation", "strength is"]
    titles += [
        f"{model + ': ' if len(models) > 1 else ''}{way}" for model in models for way in ways
    ]
    rows = []
    for name in named:
        some = next(iter(models.values()))[name]
        row = [some["title"], some["axis"]]
        for values in models.values():
            for way in ways:
                hardest = borne(values[name]["points"], way)
                row.append("none" if hardest is None else f"{hardest:g}")
        rows.append(row)
    parts = [
        paragraph(
            f"The hardest strength up to which {BORNE:.0%} of the pictures are named at every "
            "strength; soft: bits count by how clearly they are read; light: ten edits are tried "
            "on each picture, on a quarter of the pictures."
        ),
        table(titles, rows, text_columns=2),
    ]
    if against := paper(models, named):
        parts += against
    for name in named:
        some = next(iter(models.values()))[name]
        if len(some["points"]) == 1:
            continue  # the table says it all
        wrong = sum(
            sum(point["wrong"].values())
            for values in models.values()
            for point in values[name]["points"]
        )
        words = f"{some['title']}. {some['note']} " + (
            f"{wrong} verdicts gave a wrong name."
            if wrong
            else "No picture was given a wrong name."
        )
        drawn = curve({m: values[name] for m, values in models.items()})
        strips = "".join(
            picture(values[name]["pictures"]["strip"], "the first picture at every strength")
            for values in models.values()
        )
        parts.append(figure(drawn + strips, words))
    return parts


def paper(models: Models, named: Sequence[str]) -> list[Markup]:
    """Bit accuracy at the paper's strengths beside the paper's."""
    rows = []
    for name in named:
        some = next(iter(models.values()))[name]
        for point in some["paper"]:
            row = [some["title"], point["label"], point["original"], point["immunized"]]
            for values in models.values():
                found = _nearest(values[name]["points"], point["strength"])
                row.append(f"{found['bit_accuracy']['value']:.3f} at {found['strength']:g}")
            rows.append(row)
    titles = ["perturbation", "paper's strength", "paper", "paper, immunized", *models]
    return [
        Markup("<h3>Bit accuracy beside the paper's</h3>"),
        paragraph(
            "The paper: CelebA, 128x128, 128 bits, training on 30,000 photographs (Yu et al., "
            "arXiv 2012.08726). Other pictures, sizes and numbers of bits are not alike; the "
            "nearest strength that was measured stands beside each."
        ),
        table(titles, rows, text_columns=2),
    ]


def _nearest(points: Sequence[Mapping[str, Any]], strength: float) -> Mapping[str, Any]:
    """The point of a curve whose strength is nearest."""
    return min(points, key=lambda point: abs(point["strength"] - strength))


def attribution(models: Models) -> list[Markup]:
    """Detection and attribution by the number of generators."""
    rows, several = [], len(models) > 1
    for model, values in models.items():
        for row in values.get("attribution", {}).get("rows", []):
            rows.append(
                [
                    *([model] if several else []),
                    row["generators"],
                    interval(row["detection"]) if "detection" in row else "no data set",
                    interval(row["closed_world"]),
                    interval(row["open_world"]),
                    interval(row["ours"]),
                    row.get("real_called_ours", ""),
                    row["wrong"],
                ]
            )
    if not rows:
        return []
    titles = ["generators", "detection", "closed world", "open world", "called ours",
              "real called ours", "named wrongly"]  # fmt: skip
    return [
        paragraph(
            "Detection: our pictures and as many real ones, ours or not. Closed world: our "
            "pictures to the nearest of the fingerprints. Open world: our pictures have to be "
            "named, those of as many unregistered generators must not be."
        ),
        table(["model", *titles] if several else titles, rows),
    ]


def secrecy(models: Models) -> list[Markup]:
    """Whether a network tells pictures with fingerprints from those without."""
    rows = [
        [model, interval(found["accuracy"]), found["steps"], f"{found['learning']:,} of each"]
        for model, values in models.items()
        if (found := values.get("secrecy"))
    ]
    titles = ["model", "told rightly; 50 % is chance", "steps", "pictures learnt from"]
    return [Markup("<h3>Secrecy</h3>"), table(titles, rows)] if rows else []


_AIMS = {"remove": "To remove", "forge": "To forge", "collude": "By colluders"}


def attacks(models: Models) -> list[Markup]:
    """A table per aim: what each attack costs, what is left, and whether the bar was passed."""
    found = [
        (model, row)
        for model, values in models.items()
        for name, v in values.items()
        if name.startswith("attack-")
        for row in v["rows"]
    ]
    if not found:
        return []
    parts = [
        paragraph(
            "Bits and names are those of the fingerprint that the attack is about: the owner's, "
            "the victim's, the colluders'. PSNR is of the pictures against those before: what the "
            "attack costs in quality. Others that are named behind a forgery are earlier owners."
        )
    ]
    for aim, title in _AIMS.items():
        if rows := [(model, row) for model, row in found if row["kind"] == aim]:
            parts += [Markup(f"<h3>{title}</h3>"), *_bars(rows), _attack_table(models, rows)]
    names = [row["name"] for model, row in found if model == found[0][0]]
    left = {m: [row["named"]["value"] for model, row in found if model == m] for m in models}
    if all(len(values) == len(names) for values in left.values()):
        drawn = bars(names, left, "share of pictures named")
        parts.append(figure(drawn, "Named after each attack."))
    return parts


def _bars(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Markup]:
    """What attacks of one aim are judged by: the first one's bar, then those that have another."""
    names: dict[str, dict[str, None]] = {}
    for _, row in found:
        names.setdefault(row["bar"], {})[row["name"]] = None
    usual, *others = names
    return [
        paragraph(f"The model withstands it if: {usual}."),
        *(paragraph(f"{', '.join(names[bar])}: {bar}.") for bar in others),
    ]


def _attack_table(models: Models, found: Sequence[tuple[str, Mapping[str, Any]]]) -> Markup:
    """Of one aim; with a column for the model if there are several."""
    several = len(models) > 1
    titles = ["attack", "needs", "cost", "", "PSNR", "bits", "named", "others named"]
    rows = [
        [
            *([model] if several else []),
            row["name"],
            row["needs"],
            row["cost"],
            judged(row["passed"], "withstood", "beaten"),
            f"{row['psnr']:.1f} dB",
            f"{row['bit_accuracy']['value']:.3f}",
            interval(row["named"]),
            row["wrong"],
        ]
        for model, row in found
    ]
    return table(["model", *titles] if several else titles, rows, 5 if several else 4)


def quality(models: Models) -> list[Markup]:
    """Figures of quality with their floors."""
    rows = []
    missing: list[str] = []
    for model, values in models.items():
        found = values.get("quality")
        if found is None:
            continue
        missing += [text for text in found["missing"] if text not in missing]
        for metric in found["metrics"]:
            for name, value in metric["values"].items():
                if name.endswith("_floor"):
                    continue
                floor = metric["values"].get(f"{name}_floor")
                way = "larger" if metric["larger_is_better"][name] else "smaller"
                rows.append(
                    [model, name, way, f"{value:.4g}", "" if floor is None else f"{floor:.4g}"]
                )
    parts = []
    if rows:
        titles = ["model", "metric", "better", "value", "floor: real against real"]
        parts.append(table(titles, rows, text_columns=3))
    return parts + [paragraph(f"Left out: {text}.") for text in missing]


def skipped(results: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Studies that could not be made, with the reason."""
    rows = [[name, found["skipped"]] for name, found in results.items() if "skipped" in found]
    return [table(["left out", "why"], rows, text_columns=2)] if rows else []
