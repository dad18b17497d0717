"""The messages of docs/troubleshooting.md: each has to be produced by a test."""

import re

from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "troubleshooting.md"

PLACEHOLDERS = {
    "ADDRESS": r"\S+:\d+", "DIR": r"\S+", "FILE": r"\S+", "RUN": r"\S+",
    "NAME": r"[\w/.-]+", "N": r"[\d.]+", "NUMBERS": r"[\d, .]+", "TEXT": r".+",
}  # fmt: skip

produced: set[str] = set()


def documented() -> dict[str, str]:
    """Every line of the page's ```text blocks, and the pattern that it stands for."""
    blocks = re.findall(r"^```text\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    names = "|".join(PLACEHOLDERS)
    return {
        line: re.sub(rf"\b({names})\b", lambda match: PLACEHOLDERS[match[0]], re.escape(line))
        for line in lines
    }


def check(message: str) -> None:
    """The page must have this message, once."""
    found = [line for line, pattern in documented().items() if re.fullmatch(pattern, message)]
    assert len(found) == 1, f"{DOCS.name} has {message!r} as {found}"
    produced.add(found[0])
