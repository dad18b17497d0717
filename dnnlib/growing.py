"""Tables of results that grow while long work goes on, and outlive its end at any moment.

A table is a JSON object a line, in one file, or a folder of Parquet files, which its readers
(pyarrow, pandas, DuckDB, Spark) take for one table. What a kill leaves is complete rows, in the
order in which they came; a line that a full disk or a power cut has cut off is taken away when
the work goes on.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from dnnlib.atomic import is_incomplete, open_atomic, write_error
from dnnlib.canonical_json import parse_json
from dnnlib.errors import UserError
from dnnlib.locks import try_lock, try_lock_folder
from dnnlib.optional import require

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".parquet")
_MISSING = "Parquet files need the package {name}; run: pip install -r requirements/parquet.txt"
_SYNC_SECONDS = 5  # what a power cut may cost of JSON lines; a kill costs none
# A part of a Parquet table: what a kill may cost at most. Many small files are slow to read.
_PART_ROWS = 50_000
_PART_SECONDS = 60
_PIECE = 2**16  # bytes


class Table(Protocol):
    """Rows on a disk. The process that has it open is the only one."""

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """The rows that are there already, in order; at least these columns, None if absent."""

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows."""

    def close(self) -> None:
        """Writes what still waits, and lets others open it."""


class JsonLines:
    """A file with a JSON object a line; each call of `add` is one write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens a file, or makes it.

        Raises:
            UserError: it cannot be written, or another process has it open.
        """
        self._path = Path(path)
        self._synced = time.monotonic()
        try:
            self._file: IO[bytes] = open(path, "ab", buffering=0)  # noqa: SIM115 - stays open
            if not try_lock(self._file):
                self._file.close()
                raise _busy(path)
            _cut_off_half_a_line(self._path)
        except OSError as error:
            raise write_error(path, error) from error

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """See `Table`.

        Raises:
            UserError: a line is no JSON object.
        """
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = parse_json(line)
                    if not isinstance(row, dict):
                        raise ValueError("no object")
                except ValueError as error:
                    raise UserError(
                        f"{self._path}, line {number}: no result of this command ({error}); "
                        "name another file"
                    ) from error
                yield {column: row.get(column) for column in columns}

    def add(self, rows: Sequence[Row]) -> None:
        """See `Table`.

        Raises:
            UserError: it cannot be written.
        """
        text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        try:
            while text:
                text = text[self._file.write(text) :]
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise write_error(self._path, error) from error

    def close(self) -> None:
        """See `Table`."""
        try:
            self._sync()
        except OSError as error:
            raise write_error(self._path, error) from error
        finally:
            self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _cut_off_half_a_line(path: Path) -> None:
    with open(path, "rb+") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _PIECE)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


class ParquetParts:
    """A folder of Parquet files, `part-00000.parquet` and so on."""

    def __init__(self, path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
        """Opens a folder, or makes it.

        Args:
            path: the folder.
            columns: name -> type, of every column that a row may have: `text`, `integer`, `number`,
                `boolean`, [type] for lists, a mapping for objects.

        Raises:
            UserError: pyarrow is missing, the folder cannot be written, or another process has it
                open.

        Numbers are written to a column of texts, too: as text, however large they are.
        """
        self._arrow = require("pyarrow", _MISSING)
        self._parquet = require("pyarrow.parquet", _MISSING)
        self._path = Path(path)
        self._schema = self._arrow.schema([(name, self._type(t)) for name, t in columns.items()])
        self._texts = {name for name, kind in columns.items() if kind == "text"}
        self._waiting: list[Row] = []
        self._since = time.monotonic()
        try:
            self._path.mkdir(exist_ok=True)
            lock = try_lock_folder(path)
            if lock is None:
                raise _busy(path)
            self._lock = lock
            for leftover in filter(is_incomplete, self._path.iterdir()):
                leftover.unlink()
        except OSError as error:
            raise write_error(path, error) from error
        parts = self._parts()
        self._next = int(parts[-1].stem.partition("-")[2]) + 1 if parts else 0

    def _type(self, kind: Any) -> Any:
        if isinstance(kind, list):
            return self._arrow.list_(self._type(kind[0]))
        if isinstance(kind, Mapping):
            return self._arrow.struct([(name, self._type(t)) for name, t in kind.items()])
        names = {"text": "string", "integer": "int64", "number": "float64", "boolean": "bool_"}
        return getattr(self._arrow, names[kind])()

    def _parts(self) -> list[Path]:
        return sorted(self._path.glob("part-*.parquet"), key=lambda path: (len(path.name), path))

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """See `Table`.

        Raises:
            UserError: a part is damaged.
        """
        wanted = [name for name in columns if name in self._schema.names]
        for part in self._parts():
            try:
                with self._parquet.ParquetFile(part) as file:
                    for batch in file.iter_batches(columns=wanted):
                        for row in batch.to_pylist():
                            yield {name: row.get(name) for name in columns}
            except (self._arrow.ArrowException, OSError) as error:
                raise UserError(
                    f"{part} cannot be read ({' '.join(str(error).split())}); delete it, and its "
                    "part is done anew"
                ) from error

    def add(self, rows: Sequence[Row]) -> None:
        """See `Table`; a part is written once there are many rows, or a minute has passed.

        Raises:
            UserError: it cannot be written.
        """
        self._waiting += map(self._as_written, rows)
        is_old = time.monotonic() - self._since > _PART_SECONDS
        if is_old or len(self._waiting) >= _PART_ROWS:
            self._write()

    def _as_written(self, row: Row) -> Row:
        if unknown := row.keys() - set(self._schema.names):
            raise ValueError(f"no column for {sorted(unknown)}")
        return {
            name: unicode(str(value)) if name in self._texts and value is not None else value
            for name, value in row.items()
        }

    def _write(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_pylist(self._waiting, schema=self._schema)
            with open_atomic(self._path / f"part-{self._next:05d}.parquet") as file:
                self._parquet.write_table(table, file)
            self._next += 1
            self._waiting = []
        self._since = time.monotonic()

    def close(self) -> None:
        """See `Table`."""
        try:
            self._write()
        finally:
            self._lock.close()


def unicode(text: str) -> str:
    """A text with what stands for bytes that are no UTF-8 written as `\\udcff`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _busy(path: str | os.PathLike[str]) -> UserError:
    return UserError(
        f"{os.fspath(path)} is being written by another command; wait for its end or name another"
    )
