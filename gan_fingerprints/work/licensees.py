"""Who gets an instance: one licensee, or those of a CSV file."""

import csv
import io

from dnnlib.errors import UserError
from dnnlib.files import read_text
from fingerprints.entries import LICENSEE_ID


def read_licensees(path: str) -> list[tuple[str, str]]:
    """Ids and names from a CSV file with a header.

    Raises:
        UserError: it cannot be read, has no column `licensee`, or a row without one; names the row.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, "--csv"), newline=""))
        if "licensee" not in (reader.fieldnames or ()):
            raise UserError(f"--csv={path}: the first line must name a column `licensee`")
        found: dict[str, str] = {}
        for row in reader:
            licensee = check_licensee(row["licensee"], f"--csv={path}, line {reader.line_num}")
            if licensee in found:
                raise UserError(f"--csv={path}, line {reader.line_num}: {licensee} is listed twice")
            found[licensee] = row.get("name") or ""
    except csv.Error as error:
        raise UserError(f"cannot read --csv={path}: {error}") from error
    if not found:
        raise UserError(f"--csv={path} lists no licensees")
    return list(found.items())


def check_licensee(text: str | None, where: str) -> str:
    """A licensee's id, which is also a file's name.

    Raises:
        UserError: it cannot be one.
    """
    if not LICENSEE_ID.fullmatch(text or ""):
        raise UserError(
            f"{where}: {text!r} cannot be a licensee's id; use up to 100 letters, digits and "
            "._@+-, beginning with a letter or digit (the name may be anything)"
        )
    assert text is not None
    return text
