"""What is registered: fingerprints, licensees and instances, to read."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from dnnlib.canonical_json import canonical_bytes
from dnnlib.errors import UserError
from fingerprints.entries import Counts, Fingerprint, Instance, Licensee, Model
from fingerprints.registry import tables
from fingerprints.registry.database import Database
from fingerprints.registry.encryption import Cipher
from fingerprints.registry.event_log import Event
from fingerprints.registry.queries import (
    read_fingerprints,
    read_instances,
    read_licensee,
    read_words,
)


@dataclass(frozen=True)
class LicenseeReport:
    """All that is known about a licensee."""

    licensee: Licensee
    fingerprints: list[Fingerprint]
    instances: list[Instance]
    events: list[Event]


class Contents:
    """Reads what licensees have."""

    def __init__(self, database: Database, cipher: Cipher, registry_id: str) -> None:
        self._database = database
        self._cipher = cipher
        self._registry_id = registry_id

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        """The fingerprint with this id.

        Raises:
            UserError: there is none.
        """
        with self._database.reading() as connection:
            where = tables.fingerprints.c.seq == fingerprint_id
            found = read_fingerprints(connection, self._cipher, where)
        if not found:
            raise UserError(
                f"registry {self._database.name} has no fingerprint {fingerprint_id}; if the "
                "search index has, it belongs to another registry"
            )
        return found[0]

    def fingerprints(
        self, model: Model | None = None, licensee_id: str | None = None
    ) -> list[Fingerprint]:
        """Fingerprints of a model and a licensee, or of all; revoked ones too, the oldest first."""
        columns = tables.fingerprints.c
        wanted: list[sa.ColumnElement[bool]] = [sa.true()]
        if model is not None:
            wanted.append(columns.model == model.id)
        if licensee_id is not None:
            wanted.append(columns.licensee == licensee_id)
        with self._database.reading() as connection:
            return read_fingerprints(connection, self._cipher, sa.and_(*wanted))

    def licensee(self, licensee_id: str) -> Licensee:
        """The licensee with this id.

        Raises:
            UserError: there is none.
        """
        with self._database.reading() as connection:
            return read_licensee(connection, licensee_id)

    def licensees(self) -> list[Licensee]:
        """All licensees in the order in which they were registered."""
        query = sa.select(tables.licensees).order_by(tables.licensees.c.seq)
        with self._database.reading() as connection:
            return [Licensee(r.id, r.name, r.time) for r in connection.execute(query)]

    def instances(self, licensee_id: str | None = None) -> list[Instance]:
        """Issued instances of one licensee or of all, the oldest first."""
        with self._database.reading() as connection:
            return read_instances(connection, licensee_id)

    def show(self, licensee_id: str) -> LicenseeReport:
        """All that is known about a licensee.

        Raises:
            UserError: there is no such licensee.
        """
        with self._database.reading() as connection:
            licensee = read_licensee(connection, licensee_id)
            columns = tables.fingerprints.c
            owned = read_fingerprints(connection, self._cipher, columns.licensee == licensee_id)
            own_ids = sa.select(columns.seq).where(columns.licensee == licensee_id)
            numbers = sa.union_all(
                sa.select(tables.licensees.c.seq).where(tables.licensees.c.id == licensee_id),
                own_ids,
                *(
                    sa.select(table.c.seq).where(table.c.fingerprint.in_(own_ids))
                    for table in (tables.instances, tables.revocations)
                ),
            )
            query = sa.select(tables.events).where(tables.events.c.seq.in_(numbers))
            rows = connection.execute(query.order_by(tables.events.c.seq))
            happened = [Event(**row) for row in rows.mappings()]
            return LicenseeReport(
                licensee, owned, read_instances(connection, licensee_id), happened
            )

    def state(self, model: Model) -> str:
        """SHA-256 in hex of what no other set of fingerprints has; see `FingerprintStore.state`.

        Of the registry's id, the model, the number of its fingerprints, and the log's head when the
        newest of them was registered: that hash covers every event before it, and with them the
        digests of all bits. Copies of a registry that went on apart differ in it.
        """
        columns, events = tables.fingerprints.c, tables.events.c
        with self._database.reading() as connection:
            where = columns.model == model.id
            count, last = connection.execute(
                sa.select(sa.func.count(), sa.func.max(columns.seq)).where(where)
            ).one()
            head = connection.execute(sa.select(events.hash).where(events.seq == last)).scalar()
        content = [self._registry_id, model.model_hash, count, last, head]
        return hashlib.sha256(canonical_bytes(content)).hexdigest()

    def counts(self, model: Model | None = None) -> Counts:
        """How much is registered of a model, or of all."""
        columns = tables.fingerprints.c
        where = sa.true() if model is None else columns.model == model.id
        query = sa.select(sa.func.count(), sa.func.count(columns.licensee.distinct())).where(where)
        with self._database.reading() as connection:
            num_all, num_licensees = connection.execute(query).one()
            num_revoked, num_instances = (
                connection.execute(
                    sa.select(sa.func.count())
                    .select_from(
                        table.join(tables.fingerprints, table.c.fingerprint == columns.seq)
                    )
                    .where(where)
                ).scalar_one()
                for table in (tables.revocations, tables.instances)
            )
        return Counts(num_all, num_all - num_revoked, num_revoked, num_licensees, num_instances)

    def packed(self, model: Model, after_id: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All fingerprints ever registered of a model, revoked ones too, in blocks.

        Args:
            model: which model.
            after_id: only those with a larger id, so those registered later.

        Yields:
            ids int64 [n], ascending, and words uint64 [n,ceil(B/64)] of `pack_bits`.
        """
        while True:
            with self._database.reading() as connection:
                ids, words = read_words(connection, self._cipher, model, after_id)
            if not len(ids):
                return
            yield ids, words
            after_id = int(ids[-1])
