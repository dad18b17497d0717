"""Whether a registry is as its log says: chain, rows, bits, and the rules of fingerprints."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from fingerprints.registry import tables
from fingerprints.registry.drawing import least_distances
from fingerprints.registry.encryption import CannotDecrypt, Cipher
from fingerprints.registry.event_log import ChainCheck, Event, canonical_json

ALL_PAIRS = 200_000_000  # compared at most, all of 20,000 fingerprints; of more, random ones

# Of one model: ids, words [N,W] and demanded distances [N], in the order of their ids.
_Group = tuple[list[int], np.ndarray, np.ndarray]


@dataclass(frozen=True)
class AuditResult:
    """What `Registry.audit` found."""

    problems: list[str]  # one line each, naming the event or row; empty: all is well
    num_events: int
    head: str  # hash of the last event


def audit(
    connection: sa.Connection, cipher: Cipher, known_heads: Iterable[str]
) -> tuple[Callable[[], list[str]], AuditResult]:
    """Checks a registry.

    Args:
        connection: of a transaction that sees one state of it.
        cipher: of the registry.
        known_heads: hashes of events known from elsewhere.

    Returns:
        What remains to be checked and no longer needs the transaction: a function that returns
        further problems; and the result so far.
    """
    chain = ChainCheck(known_heads)
    problems = [
        f"table {name}: the triggers that refuse changes are missing"
        for name in tables.unprotected_tables(connection)
    ]
    kinds = set(tables.EVENT_KINDS.values())
    query = sa.select(tables.events).order_by(tables.events.c.seq)
    for row in _stream(connection, query):
        problems += chain.add(Event(**row._mapping))
        if row.kind not in kinds:
            problems.append(f"event {row.seq}: unknown kind {row.kind!r}")
    problems += chain.finish()
    for table in tables.EVENT_KINDS:
        if table is tables.decoders and not tables.has_decoders(connection):
            problems += _told_of(connection, table)
        else:
            problems += _compare_with_log(connection, table)
    problems += _check_active(connection)
    problems += _check_calibrations(connection)
    groups, unreadable = _read_fingerprints(connection, cipher)
    problems += unreadable

    def later_checks() -> list[str]:
        return [text for group in groups for text in _check_distances(*group)]

    return later_checks, AuditResult(problems, chain.num_events, chain.head)


def _stream(connection: sa.Connection, query: sa.Select) -> Iterator[sa.Row]:
    return iter(connection.execution_options(yield_per=1000).execute(query))


def _compare_with_log(connection: sa.Connection, table: sa.Table) -> list[str]:
    """Differences between a table's rows and the events that tell of them."""
    kind, events = tables.EVENT_KINDS[table], tables.events.c
    columns = tables.logged_columns(table)
    problems = []
    query = (
        sa.select(
            table.c.seq,
            table.c.time,
            events.kind.label("event_kind"),
            events.time.label("event_time"),
            events.payload.label("event_payload"),
            *columns,
        )
        .outerjoin(tables.events, events.seq == table.c.seq)
        .order_by(table.c.seq)
    )
    for row in _stream(connection, query):
        if row.event_kind != kind:
            problems.append(f"{table.name} row {row.seq}: no event tells of it")
            continue
        content = {column.name: row._mapping[column] for column in columns}
        if row.time != row.event_time or canonical_json(content) != row.event_payload:
            problems.append(f"{table.name} row {row.seq}: differs from event {row.seq}")
    has_row = sa.exists().where(table.c.seq == events.seq)
    return problems + _told_of(connection, table, ~has_row)


def _told_of(
    connection: sa.Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]
) -> list[str]:
    """Rows that events tell of and that are missing: those of all events that fit conditions."""
    kind, events = tables.EVENT_KINDS[table], tables.events.c
    query = sa.select(events.seq).where(events.kind == kind, *conditions).order_by(events.seq)
    return [
        f"{table.name} row {seq}: is missing, event {seq} ({kind}) tells of it"
        for seq in connection.execute(query).scalars()
    ]


def _check_active(connection: sa.Connection) -> list[str]:
    """Licensees with more than one active fingerprint of a model."""
    columns = tables.fingerprints.c
    is_revoked = sa.exists().where(tables.revocations.c.fingerprint == columns.seq)
    query = (
        sa.select(columns.licensee, columns.model, sa.func.count().label("number"))
        .where(~is_revoked)
        .group_by(columns.licensee, columns.model)
        .having(sa.func.count() > 1)
        .order_by(columns.licensee, columns.model)
    )
    return [
        f"licensee {row.licensee}: has {row.number} active fingerprints of model {row.model}"
        for row in connection.execute(query)
    ]


def _check_calibrations(connection: sa.Connection) -> list[str]:
    """Calibrations that do not fit their digest."""
    columns = tables.calibrations.c
    query = sa.select(columns.seq, columns.data, columns.digest).order_by(columns.seq)
    return [
        f"calibrations row {row.seq}: the data does not fit its digest"
        for row in connection.execute(query)
        if hashlib.sha256(row.data).hexdigest() != row.digest
    ]


def _read_fingerprints(connection: sa.Connection, cipher: Cipher) -> tuple[list[_Group], list[str]]:
    """The fingerprints of each model, and what is wrong with single ones."""
    columns, models = tables.fingerprints.c, tables.models.c
    query = (
        sa.select(
            *(columns[name] for name in ("seq", "model", "min_distance", "digest", "bits", "salt")),
            models.model_hash,
            models.num_bits,
        )
        .join(tables.models, models.seq == columns.model)
        .order_by(columns.seq)
    )
    found: dict[int, list[tuple[int, bytes, int]]] = {}
    problems = []
    for row in _stream(connection, query):
        where = f"fingerprints row {row.seq}"
        try:
            bits = cipher.decrypt(row.bits, "bits", row.model_hash)
            salt = cipher.decrypt(row.salt, "salt", row.model_hash)
        except CannotDecrypt:
            problems.append(f"{where}: the bits or their salt cannot be decrypted, they changed")
            continue
        if hashlib.sha256(salt + bits).hexdigest() != row.digest:
            problems.append(f"{where}: the bits do not fit their digest")
        elif len(bits) != 8 * -(-row.num_bits // 64):
            problems.append(f"{where}: has {8 * len(bits)} bits, its model {row.num_bits}")
        else:
            found.setdefault(row.model, []).append((row.seq, bits, row.min_distance))
    groups = []
    for rows in found.values():
        words = np.frombuffer(b"".join(bits for _, bits, _ in rows), dtype="<u8")
        distances = np.array([distance for _, _, distance in rows])
        groups.append(([seq for seq, _, _ in rows], words.reshape(len(rows), -1), distances))
    return groups, problems


def _check_distances(ids: list[int], words: np.ndarray, min_distances: np.ndarray) -> list[str]:
    """Fingerprints that equal an earlier one, or are nearer to it than they were to be.

    Equal ones are all found; distances of more than 20,000 are checked for a random part.
    """
    problems = []
    first: dict[bytes, int] = {}
    for seq, row in zip(ids, words, strict=True):
        if (earlier := first.setdefault(row.tobytes(), seq)) != seq:
            problems.append(f"fingerprints row {seq}: has the same bits as row {earlier}")
    num = len(ids)
    chosen = np.arange(1, num)
    if num * num // 2 > ALL_PAIRS:
        # Rows are compared with half of the others on average.
        chosen = np.sort(
            np.random.default_rng().choice(chosen, 2 * ALL_PAIRS // num, replace=False)
        )
    for index in chosen:
        distance = least_distances(words[index : index + 1], words[:index])[0]
        if 0 < distance < min_distances[index]:
            problems.append(
                f"fingerprints row {ids[index]}: only {distance} bits from an earlier one, "
                f"{min_distances[index]} were demanded"
            )
    return problems
