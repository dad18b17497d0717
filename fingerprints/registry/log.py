"""The log while it is written: rows go in together with the events that tell of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from fingerprints.registry import queries, tables
from fingerprints.registry.database import Database
from fingerprints.registry.event_log import GENESIS, Event, next_event, utc_now


class Log:
    """Adds rows together with their events, at the end of the chain.

    Args:
        connection: of a writing transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        columns = tables.events.c
        query = sa.select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)
        last = connection.execute(query).first()
        self.num_events: int = 0 if last is None else last.seq
        self.head: str = GENESIS if last is None else last.hash

    def add(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> list[Event]:
        """Adds rows to a table; each has all columns but `seq` and `time`."""
        if not rows:
            return []
        logged = [column.name for column in tables.logged_columns(table)]
        time = utc_now()
        added = []
        for row in rows:
            content = {name: row[name] for name in logged}
            self.num_events += 1
            kind = tables.EVENT_KINDS[table]
            added.append(next_event(self.num_events, self.head, time, kind, content))
            self.head = added[-1].hash
        self.connection.execute(sa.insert(tables.events), [vars(event) for event in added])
        self.connection.execute(
            sa.insert(table),
            [
                {**row, "seq": event.seq, "time": time}
                for row, event in zip(rows, added, strict=True)
            ],
        )
        return added


@contextmanager
def writing(database: Database) -> Iterator[Log]:
    """A writing transaction with its log.

    Raises:
        UserError: as `Database.writing`.
    """
    with database.writing() as connection:
        yield Log(connection)


class Events:
    """The log of a registry, to read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, after: int = 0) -> Iterator[Event]:
        """The log in order, from the event after number `after` on."""
        columns = tables.events.c
        while True:
            query = sa.select(tables.events).where(columns.seq > after).order_by(columns.seq)
            with self._database.reading() as connection:
                rows = connection.execute(query.limit(queries.BLOCK)).mappings().all()
            if not rows:
                return
            yield from (Event(**row) for row in rows)
            after = rows[-1]["seq"]

    def end(self) -> tuple[int, str]:
        """Number and hash of the last event, which instance manifests keep."""
        with self._database.reading() as connection:
            log = Log(connection)
            return log.num_events, log.head

    def number_of(self, event_hash: str) -> int | None:
        """Number of the event with this hash; None: there is none."""
        columns = tables.events.c
        with self._database.reading() as connection:
            query = sa.select(columns.seq).where(columns.hash == event_hash)
            return connection.execute(query).scalar()
