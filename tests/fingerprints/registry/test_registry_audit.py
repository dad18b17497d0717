"""What `audit` finds: whatever is changed behind the registry's back is named."""

import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.registry import audit as audit_module
from fingerprints.registry.event_log import (
    GENESIS,
    ChainCheck,
    Event,
    canonical_json,
    event_hash,
    next_event,
)
from fingerprints.registry.facade import Registry, tables

KEY = bytes(range(64))


class Victim:
    """A registry with two models and all kinds of rows, and a way into its database."""

    def __init__(self, place: str, key: bytes | None) -> None:
        self.registry = Registry.create(place, key)
        cats = self.registry.add_model("a" * 64, "b" * 64, 64, "cats")
        dogs = self.registry.add_model("c" * 64, "d" * 64, 64, "dogs")
        self.made = self.registry.reserve(cats, [(f"l{i}", "") for i in range(4)], min_distance=16)
        self.made += self.registry.reserve(dogs, [("l0", "")], min_distance=16)
        self.registry.record_issue(self.made[0], "1" * 64, "pkl", "2" * 64)
        self.registry.save_calibration(cats, b"calibration", 5)
        self.registry.add_model("a" * 64, "e" * 64, 64, "cats, retuned")
        self.registry.revoke("l1", "late payment")
        url = place.replace("postgresql:", "postgresql+psycopg:")
        self.engine = sa.create_engine(
            url if "://" in place else sa.URL.create("sqlite", database=place)
        )
        self.drop_triggers()

    def drop_triggers(self) -> None:
        with self.engine.begin() as connection:
            for table in tables.metadata.sorted_tables:
                if self.engine.dialect.name == "sqlite":
                    for action in ("update", "delete"):
                        connection.execute(sa.text(f"DROP TRIGGER {table.name}_no_{action}"))
                else:
                    connection.execute(
                        sa.text(f"DROP TRIGGER {table.name}_append_only ON {table.name}")
                    )

    def sql(self, *statements: sa.Executable) -> None:
        """Executes statements with no regard for references between tables."""
        with self.engine.begin() as connection:
            if self.engine.dialect.name != "sqlite":
                connection.execute(sa.text("SET session_replication_role = replica"))
            for statement in statements:
                connection.execute(statement)

    def problems(self, *heads: str) -> list[str]:
        """What `audit` finds beside the missing triggers."""
        found = self.registry.audit(heads).problems
        return [text for text in found if "triggers" not in text]

    def close(self) -> None:
        self.engine.dispose()
        self.registry.close()


@pytest.fixture
def victim(place: str) -> Iterator[Victim]:
    victim = Victim(place, None)
    yield victim
    victim.close()


def seq_of(victim: Victim, kind: str) -> int:
    return next(e.seq for e in victim.registry.events() if e.kind == kind)


def test_sound_registry_has_no_problems(victim: Victim) -> None:
    assert victim.problems() == []
    result = victim.registry.audit()
    events = list(victim.registry.events())
    assert (result.num_events, result.head) == (len(events), events[-1].hash)
    assert victim.registry.head() == result.head
    assert victim.problems(GENESIS, *(event.hash for event in events)) == []
    kinds = {event.kind for event in events}
    assert kinds == set(tables.EVENT_KINDS.values())


def test_tables_refuse_changes(place: str) -> None:
    with Registry.create(place) as registry:
        model = registry.add_model("a" * 64, "b" * 64, 64, "cats")
        registry.reserve(model, [("acme", "")], min_distance=16)
        registry.save_calibration(model, b"", 1)
        registry.add_model("a" * 64, "e" * 64, 64, "cats, retuned")
        engine = registry._database._engine
        for table in tables.metadata.sorted_tables:
            actions = [sa.update(table).values(time="now"), sa.delete(table)]
            if table in (tables.revocations, tables.instances):
                continue  # empty: SQLite's triggers are for rows
            for action in actions:
                with (
                    pytest.raises(sa.exc.DBAPIError, match=f"{table.name} is append-only"),
                    engine.begin() as connection,
                ):
                    connection.execute(action)
        assert registry.audit().problems == []


def test_missing_triggers_are_named(victim: Victim) -> None:
    found = victim.registry.audit().problems
    assert found == [
        f"table {table.name}: the triggers that refuse changes are missing"
        for table in tables.metadata.sorted_tables
    ]


@pytest.mark.parametrize("table", tables.EVENT_KINDS, ids=str)
def test_change_of_any_logged_column_is_named(victim: Victim, table: sa.Table) -> None:
    seq = seq_of(victim, tables.EVENT_KINDS[table])
    for column in [*tables.logged_columns(table), table.c.time]:
        with victim.engine.connect() as connection:
            old = connection.execute(sa.select(column).where(table.c.seq == seq)).scalar_one()
        new = old + 1 if isinstance(old, int) else old + "x"
        change = sa.update(table).where(table.c.seq == seq)
        victim.sql(change.values({column.name: new}))
        assert f"{table.name} row {seq}: differs from event {seq}" in victim.problems(), column
        victim.sql(change.values({column.name: old}))
    assert victim.problems() == []


@pytest.mark.parametrize("table", tables.EVENT_KINDS, ids=str)
def test_removed_row_is_named(victim: Victim, table: sa.Table) -> None:
    kind = tables.EVENT_KINDS[table]
    seq = seq_of(victim, kind)
    victim.sql(sa.delete(table).where(table.c.seq == seq))
    expected = f"{table.name} row {seq}: is missing, event {seq} ({kind}) tells of it"
    assert expected in victim.problems()


def test_added_row_is_named(victim: Victim) -> None:
    row = {"seq": 999, "time": "now", "fingerprint": victim.made[0].id, "reason": "envy"}
    victim.sql(sa.insert(tables.revocations).values(row))
    assert victim.problems() == ["revocations row 999: no event tells of it"]


@pytest.mark.parametrize("column", ["time", "kind", "payload", "previous", "hash"])
def test_change_of_an_event_is_named(victim: Victim, column: str) -> None:
    seq = victim.made[1].id
    changed = sa.update(tables.events).where(tables.events.c.seq == seq)
    victim.sql(changed.values({column: tables.events.c[column] + "x"}))
    found = victim.problems()
    assert f"event {seq}: its content does not fit its hash" in found
    if column == "previous":
        assert f"event {seq}: its previous hash is not the hash of event {seq - 1}" in found
    if column == "hash":
        assert f"event {seq + 1}: its previous hash is not the hash of event {seq}" in found
    if column == "kind":
        assert f"event {seq}: unknown kind 'reservedx'" in found


def test_removed_event_is_named(victim: Victim) -> None:
    seq = victim.made[1].id
    victim.sql(sa.delete(tables.events).where(tables.events.c.seq == seq))
    assert victim.problems() == [
        f"event {seq + 1}: follows event {seq - 1}, some are missing",
        f"fingerprints row {seq}: no event tells of it",
    ]


def test_event_hashed_anew_breaks_the_chain(victim: Victim) -> None:
    seq = victim.made[1].id
    event = list(victim.registry.events())[seq - 1]
    payload = canonical_json({**json.loads(event.payload), "licensee": "l0"})
    fields = (event.seq, event.time, event.kind, payload, event.previous)
    victim.sql(
        sa.update(tables.events)
        .where(tables.events.c.seq == seq)
        .values(payload=payload, hash=event_hash(*fields)),
        sa.update(tables.fingerprints)
        .where(tables.fingerprints.c.seq == seq)
        .values(licensee="l0"),
    )
    assert f"event {seq + 1}: its previous hash is not the hash of event {seq}" in victim.problems()


def test_end_cut_off_is_noticed_by_who_knows_a_head(victim: Victim) -> None:
    head = victim.registry.head()
    seq = seq_of(victim, "revoked")
    victim.sql(
        sa.delete(tables.revocations).where(tables.revocations.c.seq == seq),
        sa.delete(tables.events).where(tables.events.c.seq == seq),
    )
    assert victim.problems() == []
    assert victim.problems(head, "not a hash") == [
        f"log head {h} is no event's hash: the end of the log was cut off, or the log was written "
        "anew"
        for h in sorted([head, "not a hash"])
    ]


def test_everything_removed_is_noticed(victim: Victim) -> None:
    everything = reversed(tables.metadata.sorted_tables)
    victim.sql(*(sa.delete(table) for table in everything))
    assert victim.problems() == ["the log is empty"]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_changed_bits_are_named(place: str, key: bytes | None) -> None:
    victim = Victim(place, key)
    first, second = (f.id for f in victim.made[:2])
    columns = tables.fingerprints.c
    with victim.engine.connect() as connection:
        query = sa.select(columns.bits, columns.salt).where(columns.seq.in_([first, second]))
        (bits, salt), (other_bits, other_salt) = connection.execute(query.order_by(columns.seq))

    def change(seq: int, **values: bytes) -> sa.Update:
        return sa.update(tables.fingerprints).where(columns.seq == seq).values(values)

    problem = f"fingerprints row {first}: the bits do not fit their digest"
    if key is not None:
        problem = f"fingerprints row {first}: the bits or their salt cannot be decrypted, they "
        problem += "changed"
    for values in (
        {"bits": bytes([bits[0] ^ 1]) + bits[1:]},
        {"bits": bits[:-1]},
        {"bits": b""},
        {"salt": salt[:-1] + bytes([salt[-1] ^ 1])},
    ):
        victim.sql(change(first, **values))
        assert victim.problems() == [problem]
        victim.sql(change(first, bits=bits, salt=salt))
    # What was given to one licensee becomes the other's.
    victim.sql(
        change(first, bits=b"for a moment"),
        change(second, bits=bits, salt=salt),
        change(first, bits=other_bits, salt=other_salt),
    )
    assert victim.problems() == [
        f"fingerprints row {seq}: the bits do not fit their digest" for seq in (first, second)
    ]
    victim.close()


def test_changed_bits_are_refused_in_use(place: str) -> None:
    victim = Victim(place, KEY)
    seq = victim.made[0].id
    victim.sql(sa.update(tables.fingerprints).values(bits=tables.fingerprints.c.salt))
    message = f"the bits of fingerprint {seq} in the registry were changed; run audit"
    for action in (
        lambda: victim.registry.fingerprint(seq),
        lambda: list(victim.registry.packed(victim.registry.models()[0])),
    ):
        with pytest.raises(UserError, match=message):
            action()
    victim.close()


def test_changed_calibration_is_named_and_refused(victim: Victim) -> None:
    seq = seq_of(victim, "calibrated")
    victim.sql(sa.update(tables.calibrations).values(data=b"another"))
    assert victim.problems() == [f"calibrations row {seq}: the data does not fit its digest"]
    with pytest.raises(UserError, match="the calibration of model cats was changed; cal"):
        victim.registry.load_calibration(victim.registry.models()[0])


def forged(victim: Victim, table: sa.Table, row: dict[str, object]) -> list[sa.Executable]:
    """A row with an event that fits, as who can compute hashes adds it."""
    logged = {c.name: row[c.name] for c in tables.logged_columns(table)}
    last = list(victim.registry.events())[-1]
    event = next_event(last.seq + 1, last.hash, "now", tables.EVENT_KINDS[table], logged)
    return [
        sa.insert(tables.events).values(vars(event)),
        sa.insert(table).values({**row, "seq": event.seq, "time": "now"}),
    ]


def test_rules_of_fingerprints_are_checked(victim: Victim) -> None:
    old = victim.made[0]
    data = np.packbits(old.bits).tobytes()
    near = bytes([data[0] ^ 0b11]) + data[1:]
    salt = bytes(32)
    row = {
        "model": old.model_id,
        "licensee": "l0",
        "min_distance": 16,
        "digest": hashlib.sha256(salt + near).hexdigest(),
        "bits": near,
        "salt": salt,
    }
    victim.sql(*forged(victim, tables.fingerprints, row))
    seq = victim.registry.fingerprints()[-1].id
    assert victim.problems() == [
        f"licensee l0: has 2 active fingerprints of model {old.model_id}",
        f"fingerprints row {seq}: only 2 bits from an earlier one, 16 were demanded",
    ]


def test_equal_fingerprints_are_all_found_and_near_ones_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The database itself refuses equal bits, so the check stands alone here.
    words = np.arange(1, 41, dtype="<u8")[:, None] * 0x0101_0101_0101_0101
    words[30] = words[7]
    ids = list(range(100, 140))
    assert audit_module._check_distances(ids, words, np.ones(40, dtype=int)) == [
        "fingerprints row 130: has the same bits as row 107"
    ]
    # 17 is 16 with one bit more, in each of the 8 bytes.
    demanded = np.ones(40, dtype=int)
    demanded[16] = 9
    assert audit_module._check_distances(ids, words, demanded)[1:] == [
        "fingerprints row 116: only 8 bits from an earlier one, 9 were demanded"
    ]
    # With fewer pairs allowed only a part is checked: about one row of four here.
    monkeypatch.setattr(audit_module, "ALL_PAIRS", 200)
    demanded[:] = 65
    found = audit_module._check_distances(ids, words, demanded)
    assert 9 <= len(found) <= 11


# The chain by itself.


def make_chain(length: int) -> list[Event]:
    events: list[Event] = []
    for seq in range(1, length + 1):
        previous = events[-1].hash if events else GENESIS
        events.append(next_event(seq, previous, "now", "kind", {"é": seq, "a": None}))
    return events


def test_hash_is_that_of_the_canonical_json() -> None:
    first, second = make_chain(2)
    assert first.payload == '{"a":null,"é":1}'
    text = f'[1,"now","kind","{{\\"a\\":null,\\"é\\":1}}","{"0" * 64}"]'
    assert first.hash == hashlib.sha256(text.encode()).hexdigest()
    assert second.previous == first.hash


def check(events: list[Event]) -> list[str]:
    chain = ChainCheck()
    return [problem for event in events for problem in chain.add(event)] + chain.finish()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda e: e, []),
        (lambda e: e[:2], []),
        (lambda e: e[1:], ["event 2: follows event 0, some are missing"]),
        (lambda e: e[:1] + e[2:], ["event 3: follows event 1, some are missing"]),
        (lambda e: [*e, e[-1]], ["event 3: follows event 3, some are missing"]),
        (
            lambda e: [next_event(1, "f" * 64, "now", "kind", {})],
            ["event 1: its previous hash is not the first event's mark"],
        ),
        (lambda e: [], ["the log is empty"]),
    ],
)
def test_broken_chain_is_named(
    change: Callable[[list[Event]], list[Event]], expected: list[str]
) -> None:
    assert check(change(make_chain(3))) == expected
