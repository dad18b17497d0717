"""The few elements that a report is made of, as HTML; what comes from outside is escaped."""

import html
from collections.abc import Iterable, Sequence
from typing import Any


class Markup(str):
    """Text that is HTML already."""


def escape(value: Any) -> Markup:
    """A value as text of a document; markup stays."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def paragraph(text: Any, kind: str = "") -> Markup:
    """A paragraph."""
    attribute = f' class="{kind}"' if kind else ""
    return Markup(f"<p{attribute}>{escape(text)}</p>")


def section(name: str, title: str, parts: Iterable[str]) -> Markup:
    """A chapter with a place that can be linked to."""
    return Markup(f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(parts)}</section>')


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]], text_columns: int = 1) -> Markup:
    """A table; the first columns are text, the others numbers."""

    def line(cells: Sequence[Any], tag: str) -> str:
        return "".join(
            f"<{tag}>{escape(cell)}</{tag}>"
            if number < text_columns
            else f'<{tag} class="number">{escape(cell)}</{tag}>'
            for number, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{line(titles, 'th')}</tr></thead>"
    return Markup(f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>')


def figure(content: str, caption: Any, kind: str = "") -> Markup:
    """Pictures or a drawing with words below."""
    attribute = f' class="{kind}"' if kind else ""
    return Markup(
        f"<figure{attribute}>{content}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def picture(png: str, words: str) -> Markup:
    """A PNG file in base64."""
    return Markup(
        f'<img alt="{html.escape(words)}" src="data:image/png;base64,{html.escape(png)}">'
    )


def judged(is_good: bool, good: str, bad: str) -> Markup:
    """One of two words, in the colour of it."""
    kind, word = ("good", good) if is_good else ("bad", bad)
    return Markup(f'<span class="{kind}">{escape(word)}</span>')
