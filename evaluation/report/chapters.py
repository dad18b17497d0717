"""The chapters of a report: pictures, curves, tables, of one model or of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.html import Markup, escape, figure, judged, paragraph, picture, table
from evaluation.report.plots import bars, curve
from evaluation.report.verdict import BORNE, Values, borne

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
        parts.append(figure(curve({m: values[name] for m, values in models.items()}), words))
    return parts


def paper(models: Models, named: Sequence[str]) -> list[Markup]:
    """Bit accuracy at the paper's strengths beside the paper's."""
    rows = []
    for name in named:
        some = next(iter(models.values()))[name]
        for point in some["paper"]:
            row = [some["title"], point["label"], point["original"], point["immunized"]]
            for values in models.values():
                found = min(
                    values[name]["points"],
                    key=lambda p, at=point["strength"]: abs(p["strength"] - at),
                )
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


def attribution(models: Models) -> list[Markup]:
    """Detection and attribution by the number of generators."""
    rows = []
    for model, values in models.items():
        for row in values.get("attribution", {}).get("rows", []):
            rows.append(
                [
                    model,
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
    titles = ["model", "generators", "detection", "closed world", "open world", "called ours",
              "real called ours", "named wrongly"]  # fmt: skip
    return [
        paragraph(
            "Detection: our pictures and as many real ones, ours or not. Closed world: our "
            "pictures to the nearest of the fingerprints. Open world: our pictures have to be "
            "named, those of as many unregistered generators must not be."
        ),
        table(titles, rows),
    ]


def attacks(models: Models) -> list[Markup]:
    """A row per attack: what it costs, what is left, and whether the bar was passed."""
    found = [
        (model, row)
        for model, values in models.items()
        for name, v in values.items()
        if name.startswith("attack-")
        for row in v["rows"]
    ]
    if not found:
        return []
    rows = [
        [
            *([model] if len(models) > 1 else []),
            row["name"],
            row["needs"],
            f"{row['cost']}" + (f"; {row['psnr']:.1f} dB" if row["psnr"] is not None else ""),
            row["bar"],
            judged(row["passed"], "withstood", "beaten"),
            f"{row['bit_accuracy']['value']:.3f}",
            interval(row["named"]),
            row["wrong"],
        ]
        for model, row in found
    ]
    titles = ["attack", "needs", "cost; pictures against those before", "bar", "", "bits", "named",
              "others named"]  # fmt: skip
    if len(models) > 1:
        titles = ["model", *titles]
    names = [row["name"] for model, row in found if model == found[0][0]]
    left = {m: [row["named"]["value"] for model, row in found if model == m] for m in models}
    parts = [
        paragraph(
            "Bits and names are those of the fingerprint that the attack is about: of the owner "
            "where it is to be removed, of the victim where it is to be forged. The bar says which "
            "way is good."
        ),
        table(titles, rows, text_columns=6 if len(models) > 1 else 5),
    ]
    if all(len(values) == len(names) for values in left.values()):
        parts.append(
            figure(bars(names, left, "share of pictures named"), "Named after each attack.")
        )
    return parts


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
