"""What a model can promise, in three sentences with numbers, from the results of a suite."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.subject.figures import Figure

BORNE = 0.95  # share of pictures that have to be named for a strength to count as borne
_HIDDEN, _FAINT = 36.0, 30.0  # dB between two fingerprints of one latent
Values = Mapping[str, Mapping[str, Any]]  # study -> values


def values_of(results: Mapping[str, Mapping[str, Any]]) -> Values:
    """The values of the studies that were made."""
    return {name: result["values"] for name, result in results.items() if "values" in result}


def verdict(values: Values, settings: Mapping[str, Any], num_bits: int) -> list[str]:
    """Three sentences: the saved picture, what it bears or who attacks it, whether it shows."""
    sentences = [_saved(values["unperturbed"], settings, num_bits)]
    if curves := [v for name, v in values.items() if name.startswith("robustness-")]:
        sentences.append(_borne(curves))
    if attacks := [v for name, v in values.items() if name.startswith("attack-")]:
        sentences.append(_attacked(attacks))
    sentences.append(_shown(values["visibility"]))
    if len(sentences) < 3:
        sentences.append(_looks(values.get("quality", {})))
    return sentences


def borne(points: Sequence[Mapping[str, Any]], way: str) -> float | None:
    """The hardest strength up to which all have `BORNE` of the pictures named; None: not one."""
    last = None
    for point in points:
        if way not in point["named"] or point["named"][way]["value"] < BORNE:
            break
        last = point["strength"]
    return last


def _saved(found: Mapping[str, Any], settings: Mapping[str, Any], num_bits: int) -> str:
    named, bits = Figure(**found["named"]["soft"]), Figure(**found["bit_accuracy"])
    wrong = found["wrong"]["soft"]
    return (
        f"Of {found['num_images']:,} pictures as they are saved, {named.percent} are given the "
        f"name of their licensee among {settings['num_keys']:,}, at a rate of "
        f"{settings['fpr']:g} of foreign pictures called ours; "
        f"{'not one is' if not wrong else f'{wrong} are'} given a wrong name, and "
        f"{100 * bits.value:.1f} % of the {num_bits} bits are read rightly."
    )


def _borne(curves: Sequence[Mapping[str, Any]]) -> str:
    kept, tried_only, lost = [], [], []
    for found in curves:
        points, words = found["points"], found["words"]
        hardest, tried = borne(points, "soft"), borne(points, "soft, light")
        if hardest is not None:
            kept.append(words.format(f"{hardest:g}"))
        elif tried is not None:
            tried_only.append(words.format(f"{tried:g}"))
        else:
            lost.append(words.format(f"{points[0]['strength']:g}"))
    parts = [f"{BORNE:.0%} of the pictures are still named behind {', '.join(kept) or 'nothing'}"]
    if tried_only:
        parts.append(f"if edits are tried, behind {', '.join(tried_only)}")
    if lost:
        parts.append(f"not behind {', '.join(lost)}")
    return "; ".join(parts) + "."


def _attacked(attacks: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for found in attacks for row in found["rows"]]
    held = [row for row in rows if row["passed"]]
    lost = [row["name"] for row in rows if not row["passed"]]
    sentence = f"Of {len(rows)} attacks it withstands {len(held)}"
    return f"{sentence}, and is beaten by: {'; '.join(lost)}." if lost else f"{sentence}."


def _shown(found: Mapping[str, Any]) -> str:
    decibels = found["pooled_psnr"]
    if decibels >= _HIDDEN:
        how = "does not show"
    elif decibels >= _FAINT:
        how = "shows faintly"
    else:
        how = "shows: it changes the picture"
    ssim = (
        f" and a structural similarity of {found['ssim']['value']:.3f}" if "ssim" in found else ""
    )
    return (
        f"The fingerprint {how}; two pictures that differ in it alone have {decibels:.1f} dB PSNR"
        f"{ssim}, two that differ in their latent {found['latents_psnr']:.1f} dB."
    )


def _looks(found: Mapping[str, Any]) -> str:
    figures = [
        f"{name} {value:.4g}"
        for metric in found.get("metrics", [])
        for name, value in metric["values"].items()
        if name == metric["metric"]
    ]
    if not figures:
        return "Quality was not compared with real pictures, for want of a data set."
    return f"Against the real pictures: {', '.join(figures)}."
