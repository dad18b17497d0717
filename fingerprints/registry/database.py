"""The registry's database: a SQLite file or a PostgreSQL URL, and its transactions.

Only one process writes at a time, from the first statement of its transaction on: SQLite through
BEGIN IMMEDIATE, PostgreSQL through one advisory lock. So what is read there cannot be outdated when
the transaction writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from dnnlib.atomic import write_error
from dnnlib.errors import UserError

LOCK_TIMEOUT = 60  # seconds that a transaction waits for others
_ADVISORY_LOCK = 0x6661_6E67_6572_7072  # any number that no other program in the database uses


class Database:
    """Connections to a registry's database.

    Args:
        url_or_path: path of a SQLite file, or a URL: sqlite:///path, postgresql://...
    """

    def __init__(self, url_or_path: str) -> None:
        url = _parse_url(url_or_path)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        # Where it is, for messages: no password.
        self.name = str(url.database) if self.is_sqlite else url.render_as_string()
        self._engine = _make_engine(url)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def exists(self) -> bool:
        """Whether there is a file; a database server has to be asked."""
        return not self.is_sqlite or os.path.exists(self.name)

    def make_file(self) -> None:
        """Makes SQLite's file, empty and for its owner alone, unless there is one."""
        if not self.is_sqlite:
            return
        try:
            os.close(os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise write_error(self.name, error) from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database.

        Raises:
            UserError: the database cannot be reached or read.
        """
        options: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._plain_errors(), self._engine.execution_options(**options).begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction during which no other one writes; an exception takes all of it back.

        Raises:
            UserError: the database cannot be reached or written, or others are at it too long.
        """
        # READ COMMITTED: a statement sees all that was committed before it, so also what others
        # wrote while this transaction waited for the lock.
        options = (
            {"begin": "IMMEDIATE"} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}
        )
        engine = self._engine.execution_options(**options)
        with self._plain_errors(), engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'"))
                lock = sa.text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": _ADVISORY_LOCK})
            yield connection

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
            reason = lines[0]
            cure = "check that it is a registry and that you may use it"
            if "database is locked" in reason or "lock timeout" in reason:
                reason = f"others have been writing to it for {LOCK_TIMEOUT} s"
                cure = "run the command again"
            elif "disk is full" in reason or "No space left" in reason:
                reason = "its disk is full, and nothing of this step was entered"
                cure = "free some space, then run the command again"
            elif "disk I/O error" in reason:  # what SQLite says of quotas and limits, too
                reason = "its disk cannot be written, and nothing of this step was entered"
                cure = (
                    "check that it has room (also quotas and `ulimit -f`) and is sound, then run "
                    "the command again"
                )
            raise UserError(f"registry {self.name}: {reason}; {cure}") from error


def _parse_url(text: str) -> sa.URL:
    if "://" not in text:
        return sa.URL.create("sqlite", database=text)
    scheme = text.split(":", 1)[0]  # not the text itself, which may hold a password
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise UserError(
            f"the registry's {scheme} URL cannot be understood; write it as "
            "postgresql://user:password@host:port/database"
        ) from error
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if scheme == "sqlite" and url.database and url.database != ":memory:":
        return url
    raise UserError(
        f"a registry cannot be at a URL {scheme}://...; give the path of a file or "
        "postgresql://user:password@host:port/database"
    )


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url)
        except ModuleNotFoundError as error:
            raise UserError(
                "a registry in PostgreSQL needs the package psycopg, which is not installed; "
                "run: pip install -r requirements/postgresql.txt"
            ) from error

    engine = sa.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        # Python's sqlite3 would begin transactions late and not before reading, see
        # "Transactions with SQLite and the sqlite3 driver" in SQLAlchemy's documentation.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        kind = connection.get_execution_options().get("begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine
