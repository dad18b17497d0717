"""The report without its pictures, as Markdown: to quote from, and to read in a terminal."""

from html.parser import HTMLParser

_TEXT = ("h1", "h2", "h3", "p", "th", "td")  # elements whose text is kept
_MARKS = {"h1": "# ", "h2": "## ", "h3": "### ", "p": ""}
_BOLD = "bad"  # class of words that must not be overlooked


def markdown_of(document: str) -> str:
    """Headings, paragraphs and tables of a report.

    Args:
        document: HTML made of the elements of `evaluation.report.html`.
    """
    reader = _Reader()
    reader.feed(document)
    reader.close()
    return "\n\n".join(reader.blocks) + "\n"


class _Reader(HTMLParser):
    """Collects blocks of text; drawings, captions and links to chapters are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._text: list[str] | None = None  # of the element that is read; None: of none
        self._row: list[str] = []
        self._lines: list[str] = []  # of the table that is read
        self._marks: list[str] = []  # of cells of its head, `---` or `--:`
        self._is_bold = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins a text, a row or a table."""
        kind = dict(attrs).get("class")
        if tag in _TEXT:
            self._text = []
        if tag == "th":
            self._marks.append("--:" if kind == "number" else "---")
        elif tag == "table":
            self._lines, self._marks = [], []
        elif tag == "tr":
            self._row = []
        elif tag == "span":
            self._is_bold = kind == _BOLD

    def handle_data(self, data: str) -> None:
        """Takes text of the elements that are kept."""
        if self._text is not None and data:
            self._text.append(f"**{data}**" if self._is_bold else data)

    def handle_endtag(self, tag: str) -> None:
        """Ends what was begun."""
        if tag in _TEXT and self._text is not None:
            text, self._text = " ".join("".join(self._text).split()).replace("<", "&lt;"), None
            if tag in _MARKS:
                self.blocks.append(_MARKS[tag] + text)
            else:
                self._row.append(text.replace("|", "\\|"))
        elif tag == "tr":
            self._lines.append(f"| {' | '.join(self._row)} |")
        elif tag == "thead":
            self._lines.append(f"|{'|'.join(self._marks)}|")
        elif tag == "table":
            self.blocks.append("\n".join(self._lines))
        elif tag == "span":
            self._is_bold = False
