"""What texts and ids a registry takes."""

from collections.abc import Sequence

from dnnlib.errors import UserError
from fingerprints.entries import LICENSEE_ID


def check_licensees(licensees: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names by id."""
    names: dict[str, str] = {}
    for licensee, name in licensees:
        if not LICENSEE_ID.fullmatch(licensee):
            raise UserError(
                f"licensee id {licensee!r}: expected 1 to 100 letters, digits and . _ @ + -, a "
                "letter or digit first; the name may be any text"
            )
        check_text(f"name of licensee {licensee}", name)
        if licensee in names:
            raise UserError(f"licensee {licensee} is named twice; remove one of them")
        names[licensee] = name
    return names


def check_text(what: str, text: str) -> None:
    """Refuses what would break lines of a listing, or a database."""
    if not text.isprintable():
        raise UserError(f"{what} {text!r}: line breaks and control characters are not allowed")
