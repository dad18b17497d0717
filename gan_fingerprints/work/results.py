"""Where the results of `verify`, `attribute` and `decode` go: printed, or a file that goes on.

Beside a file of results lies a record of the command that began it. The same command goes on with
what is missing; any other is refused, so that a file never holds verdicts of two kinds.
"""

import argparse
import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.files import is_file, read_text
from dnnlib.format import printable
from dnnlib.growing import JsonLines, ParquetParts, Row, Table, unicode
from gan_fingerprints.work.output import Line

# Flags that do not change what a result says of a picture.
_PASSING = frozenset(
    ("function", "needs_tensorflow", "command", "images", "list", "recursive", "network")
    + ("registry", "registry_key", "payload_key", "ops", "minibatch", "json", "out", "verbose")
    + (
        "report",
        "report_key",
        "ray",
        "ray_actors",
        "fpr",
        "fwer",
    )  # in place of the last two: the level
)
# What the summaries are made of.
TALLIED = ("file", "error", "images", "verdict", "wrong_name_rate", "match", "num_bits")

_CANDIDATE = {"licensee": "text", "matches": "integer", "score": "number"}
# Column -> type, see `ParquetParts`. Every key that a result can have is one of them; payloads may
# exceed 64 bits, so they are texts.
VERDICT_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("file", "error", "verdict", "licensee", "name", "indication"), "text"),
    **dict.fromkeys(("decision", "edit", "payload", "registry_id", "log_head"), "text"),
    **dict.fromkeys(("handle", "c2pa", "c2pa_manifest", "c2pa_issuer"), "text"),
    **dict.fromkeys(("revoked", "calibrated", "extrapolated", "c2pa_trusted"), "boolean"),
    **dict.fromkeys(("images", "distinct", "matches", "num_bits", "num_keys"), "integer"),
    **dict.fromkeys(("margin", "corrected", "views", "log_events"), "integer"),
    **dict.fromkeys(("pvalue", "exact_pvalue", "calibrated_pvalue"), "number"),
    **dict.fromkeys(("margin_pvalue", "confidence", "level", "wrong_name_rate"), "number"),
    "candidates": [_CANDIDATE],
}
DECODE_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("file", "error", "fingerprint", "expected"), "text"),
    **dict.fromkeys(("num_bits", "match"), "integer"),
    "confidence": ["number"],
    "pvalue": "number",
}


class Results(Protocol):
    """Where results go."""

    def lacks(self, name: str) -> bool:
        """Whether there is no result yet for what is called so."""

    def old_rows(self) -> Iterator[Row]:
        """The results that an earlier call left; of each what is in `TALLIED`."""

    def add(self, lines: list[Line]) -> None:
        """Takes results."""


class Printed:
    """Results on stdout: JSON with `--json`, else text, and errors on stderr."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def lacks(self, name: str) -> bool:
        """See `Results`."""
        return True

    def old_rows(self) -> Iterator[Row]:
        """See `Results`."""
        return iter(())

    def add(self, lines: list[Line]) -> None:
        """See `Results`."""
        for line in lines:
            line.print(self._args)


class Kept:
    """Results in a file, or a folder of Parquet files, that goes on where it was left."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._done: set[str] = set()

    def lacks(self, name: str) -> bool:
        """See `Results`; what `old_rows` has not been asked for yet is lacking."""
        return unicode(name) not in self._done

    def old_rows(self) -> Iterator[Row]:
        """See `Results`."""
        for row in self._table.rows(TALLIED):
            self._done.add(unicode(str(row["file"])))
            yield row

    def add(self, lines: list[Line]) -> None:
        """See `Results`."""
        self._table.add([line.values for line in lines])


@contextmanager
def open_results(
    args: argparse.Namespace, about: Mapping[str, Any], columns: Mapping[str, Any]
) -> Iterator[Results]:
    """The results that `--out` names; what they held goes on. Without it they are printed.

    Args:
        args: the flags.
        about: what results follow from, beside the flags: name -> JSON value.
        columns: `VERDICT_COLUMNS` or `DECODE_COLUMNS`.

    Raises:
        UserError: there are results of another command or of none, another process writes them, or
            they cannot be written.
    """
    if args.out is None:
        yield Printed(args)
        return
    path = Path(args.out)
    table: Table
    if path.suffix == ".parquet":
        if is_file(path):
            raise UserError(f"--out={path} is a file; Parquet results are a folder: name another")
        table, record = ParquetParts(path, columns), path / "_command.json"
        is_new = not any(path.glob("*.parquet"))
    else:
        table, record = JsonLines(path), path.with_name(f"{path.name}.command.json")
        is_new = path.stat().st_size == 0
    with contextlib.closing(table):
        _check_command(path, record, is_new, _command(args, about))
        yield Kept(table)


def _command(args: argparse.Namespace, about: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what a result says."""
    flags = {
        f"--{name.replace('_', '-')}": value
        for name, value in sorted(vars(args).items())
        if name not in _PASSING
    }
    return json.loads(json.dumps({**about, **flags}))  # tuples are lists in the record


def _check_command(path: Path, record: Path, is_new: bool, command: dict[str, Any]) -> None:
    """Refuses another command than that of the record; writes the record of new results."""
    if is_new:
        with open_atomic(record, "w", encoding="utf-8") as file:
            json.dump(command, file, indent=2)
        return
    if not is_file(record):
        raise UserError(
            f"--out={path} is there already, and {record.name}, which says what began it, is not; "
            "name another"
        )
    try:
        before = json.loads(read_text(record, "the record"))
    except ValueError as error:
        raise UserError(f"{record} is damaged ({error}); name another --out") from error
    for name in dict.fromkeys([*before, *command]):
        old, new = before.get(name), command.get(name)
        if old != new:
            raise UserError(
                f"--out={path} was begun with {name} {_short(old)}, and this is {_short(new)}; "
                "give the same command again, or name another --out"
            )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return printable(text if len(text) <= 40 else f"{text[:12]}...")
