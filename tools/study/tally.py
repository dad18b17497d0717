"""Counts of verdicts, and the tables and the picture that show them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib.format import markdown
from dnnlib.plots import import_pyplot
from fingerprints.detection.tails import upper_rate


@dataclass
class Tally:
    """Verdicts on the pictures of one group."""

    num_images: int = 0
    sources: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)  # right, wrong, unattributed, not-ours
    num_match: int = 0
    num_bits: int = 0
    matches: Counter[int] = field(default_factory=Counter)  # with the nearest fingerprint

    @property
    def most_matches(self) -> int:
        """Of any image, with its nearest fingerprint."""
        return max(self.matches, default=0)


def total(tallies: Iterable[Tally]) -> Tally:
    """All images of several groups, as one."""
    found = Tally()
    for part in tallies:
        found.num_images += part.num_images
        found.sources |= part.sources
        found.kinds += part.kinds
        found.matches += part.matches
    return found


def own_table(tallies: dict[str, Tally], title: str = "saved as") -> list[str]:
    """Lines of the table of the instances' pictures."""
    titles = (title, "images", "bit accuracy", "right licensee", "ours, unattributed", "not-ours")

    def row(way: str, found: Tally) -> list[object]:
        kinds, n = found.kinds, found.num_images
        right = f"{kinds['right']} ({kinds['right'] / n:.2%})"
        others = (kinds["unattributed"], kinds["not-ours"], f"**{kinds['wrong']}**")
        return [way, n, f"{found.num_match / found.num_bits:.4f}", right, *others]

    return markdown([*titles, "**wrong licensee**"], (row(*item) for item in tallies.items()))


def collusion_table(tallies: dict[int, Tally]) -> list[str]:
    """Lines of the table of averaged pictures."""
    titles = (
        *("colluders", "images", "bits of the nearest fingerprint", "one of them named"),
        *("ours, unattributed", "not-ours", "**somebody else named**"),
    )

    def row(number: int, found: Tally) -> list[object]:
        kinds = found.kinds
        bits = f"{found.num_match / found.num_bits:.4f}"
        others = (kinds["unattributed"], kinds["not-ours"], f"**{kinds['wrong']}**")
        return [number, found.num_images, bits, kinds["right"], *others]

    return markdown(titles, (row(*item) for item in tallies.items()))


def foreign_table(tallies: dict[str, Tally]) -> list[str]:
    """Lines of the table of foreign images; the limit counts independent pictures."""
    titles = ("source", "images", "independent", "most matches", "called ours")

    def row(source: str, found: Tally) -> list[object]:
        ours = found.num_images - found.kinds["not-ours"]
        n = len(found.sources)
        # Images of one picture may fail together: the limit is that of none in n pictures.
        limit = f"{upper_rate(0, n):.1e}" if ours == 0 else "does not apply"
        return [source, found.num_images, n, found.most_matches, ours, limit]

    everything = {**tallies, "all": total(tallies.values())}
    rows = (row(*item) for item in everything.items())
    return markdown([*titles, "95 % upper limit of the rate"], rows)


def draw(tallies: dict[str, Tally], num_bits: int, needed: int) -> Any:
    """Shares of images by their matches with the nearest fingerprint; a matplotlib figure.

    Args:
        tallies: by what the legend says.
        num_bits: B.
        needed: matches from which on an image is called ours.
    """
    pyplot = import_pyplot()
    figure, panel = pyplot.subplots(figsize=(8, 3.2), constrained_layout=True)
    for name, found in tallies.items():
        counts = [found.matches[matches] for matches in range(num_bits + 1)]
        shares = 100 * np.array(counts) / max(found.num_images, 1)
        edges = np.arange(num_bits + 2) - 0.5
        panel.stairs(shares, edges, linewidth=1.5, label=f"{name} ({found.num_images:,})")
    panel.axvline(needed - 0.5, color="black", linestyle="--", linewidth=1)
    panel.text(needed - 1, panel.get_ylim()[1] * 0.97, f"{needed} needed ", ha="right", va="top")
    panel.set_xlim(num_bits // 2, num_bits + 1)
    panel.set_xlabel(f"matching bits of {num_bits}, with the nearest fingerprint of the registry")
    panel.set_ylabel("% of images")
    panel.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(tallies))
    panel.grid(alpha=0.3)
    return figure
