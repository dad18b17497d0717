"""The registry in SQLite and in PostgreSQL: what is kept, what is refused, what is stored."""

import csv
import dataclasses
import hashlib
import io
import json
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.bits import format_hex, pack_bits, unpack_bits
from fingerprints.entries import Model
from fingerprints.registry import database, drawing, tables
from fingerprints.registry.drawing import draw_fingerprints, least_distances
from fingerprints.registry.facade import Registry
from fingerprints.registry.listing import export_rows, export_text

MODEL = ("a" * 64, "b" * 64, 100, "cats")
KEY = bytes(range(64))


@pytest.fixture
def registry(place: str) -> Iterator[Registry]:
    with Registry.create(place) as registry:
        yield registry


@pytest.fixture
def model(registry: Registry) -> Model:
    return registry.add_model(*MODEL)


def distances(bits: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs, [N,N]; an independent reference."""
    return (bits[:, None] != bits[None]).sum(axis=2)


def stored(place: str) -> sa.Engine:
    """The database without the registry's code."""
    if "://" in place:
        return sa.create_engine(place.replace("postgresql:", "postgresql+psycopg:"))
    return sa.create_engine(sa.URL.create("sqlite", database=place))


# Opening.


def test_reopened_registry_is_the_same(place: str) -> None:
    with Registry.create(place) as created:
        model = created.add_model(*MODEL)
        made = created.reserve(model, [("acme", "Acme Ltd")], min_distance=25)
    with Registry.open(place) as opened:
        assert opened.id == created.id
        assert opened.models() == [model]
        found = opened.fingerprints()
    assert found == made
    np.testing.assert_array_equal(found[0].bits, made[0].bits)


def test_registries_have_different_ids(new_place: Callable[[], str]) -> None:
    assert Registry.create(new_place()).id != Registry.create(new_place()).id


def test_no_registry_is_made_twice(place: str) -> None:
    Registry.create(place).close()
    with pytest.raises(UserError, match="holds a registry already"):
        Registry.create(place)


@pytest.mark.parametrize("key", [None, KEY])
def test_existing_registry_is_opened_when_asked(place: str, key: bytes | None) -> None:
    with Registry.create(place, key, exist_ok=True) as registry:
        model = registry.add_model(*MODEL)
        assert registry.is_encrypted == (key is not None)
    with Registry.create(place, key, exist_ok=True) as again:
        assert (again.id, again.models()) == (registry.id, [model])
        assert again.is_encrypted == (key is not None)
    with pytest.raises(UserError, match="is (not )?encrypted; "):
        Registry.create(place, KEY if key is None else None, exist_ok=True)


def test_place_without_a_registry_is_refused(place: str) -> None:
    with pytest.raises(UserError, match="(there is|holds) no registry.*; check the path or create"):
        Registry.open(place)
    if "://" not in place:
        assert not Path(place).exists()


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    path.write_text("no database at all " * 100)
    for action in (Registry.open, Registry.create):
        with pytest.raises(UserError, match="registry .*file.db: file is not a database; check"):
            action(str(path))
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(UserError, match="other.db holds no registry"):
        Registry.open(str(tmp_path / "other.db"))
    with pytest.raises(UserError, match="cannot write .*absent/new.db: No such file"):
        Registry.create(str(tmp_path / "absent" / "new.db"))
    with pytest.raises(UserError, match="unable to open database file"):
        Registry.open(str(tmp_path))


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry.create(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_interrupted_creation_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "registry.db").touch()
    with Registry.create(f"sqlite:///{tmp_path}/registry.db") as registry:
        assert registry.audit().problems == []


def test_other_version_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FORMAT_VERSION", 2)
    Registry.create(place).close()
    monkeypatch.undo()
    with pytest.raises(UserError, match="has format version 2, this program reads 1"):
        Registry.open(place)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@host/db", "cannot be at a URL mysql://"),
        ("postgresql+asyncpg://me:secret@host/db", r"cannot be at a URL postgresql\+asyncpg://"),
        ("sqlite://", "cannot be at a URL sqlite://"),
        ("sqlite:///:memory:", "cannot be at a URL sqlite://"),
        ("postgresql://me:secret@host:port/db", "postgresql URL cannot be understood"),
        ("postgresql://me:secret@127.0.0.1:1/db", r"me:\*\*\*@127.0.0.1:1/db: connection failed"),
    ],
)
def test_impossible_url_is_one_line_without_its_password(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Registry.open(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match="needs the package psycopg.*pip install -r requirements/"):
        Registry.open("postgresql://host/db")


def test_busy_database_is_one_line(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry.create(place).close()
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 1)
    with (
        Registry.open(place) as one,
        Registry.open(place) as other,
        one._database.writing(),
        pytest.raises(UserError, match="others have been writing to it for 1 s; run the command"),
    ):
        other.add_model(*MODEL)


# Encryption.


def test_encrypted_registry_works_and_shows_no_bits(place: str) -> None:
    with Registry.create(place, KEY) as registry:
        model = registry.add_model(*MODEL)
        made = registry.reserve(model, [(f"l{i}", "") for i in range(20)], min_distance=20)
        assert registry.audit().problems == []
    with Registry.open(place, KEY) as registry:
        again = registry.reserve(model, [("l3", "")], min_distance=20)[0]
        np.testing.assert_array_equal(again.bits, made[3].bits)
        ((ids, words),) = registry.packed(model)
        np.testing.assert_array_equal(unpack_bits(words, 100), [f.bits for f in made])
    with stored(place).connect() as connection:
        for row in connection.execute(sa.text("SELECT bits, salt, digest FROM fingerprints")):
            # Even who finds salt and digest must not be able to try all bits of a short one.
            assert len(row.bits) == 16 + 16
            assert len(row.salt) == 16 + 32
    with pytest.raises(UserError, match="is encrypted; give its registry key"):
        Registry.open(place)
    with pytest.raises(UserError, match="is encrypted with another key"):
        Registry.open(place, bytes(64))


def test_plain_registry_takes_no_key(place: str) -> None:
    Registry.create(place).close()
    with pytest.raises(UserError, match="is not encrypted; open it without"):
        Registry.open(place, KEY)


@pytest.mark.parametrize("key", [None, KEY])
def test_bits_stand_in_no_other_table(place: str, key: bytes | None) -> None:
    with Registry.create(place, key) as registry:
        model = registry.add_model(*MODEL)
        made = registry.reserve(model, [("acme", "Acme")], min_distance=25)[0]
        registry.record_issue(made, "1" * 64, "pkl", "2" * 64)
        registry.save_calibration(model, b"data", 3)
        registry.add_model(MODEL[0], "e" * 64, *MODEL[2:])
        registry.revoke("acme", "why not")
    data = pack_bits(made.bits[None]).tobytes()[:13]  # 100 bits
    forms = [data, data.hex().encode(), format_hex(made.bits).encode()]
    with stored(place).connect() as connection:
        for table in tables.metadata.sorted_tables:
            rows = connection.execute(sa.select(table)).mappings().all()
            assert rows
            values = [v for row in rows for v in row.values()]
            octets = b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values)
            found = [form for form in forms if form in octets]
            assert found == ([data] if table.name == "fingerprints" and key is None else [])


# Models.


def test_model_is_found_by_either_hash(registry: Registry, model: Model) -> None:
    assert registry.find_model("a" * 64) == registry.find_model("b" * 64) == model
    assert registry.add_model(*MODEL) == model
    assert registry.add_model(*MODEL[:3], "another name") == model
    assert len(registry.models()) == 1
    with pytest.raises(UserError, match=r"does not know the model cccccccccccc; .*: cats \(aaaaa"):
        registry.find_model("c" * 64)
    registry.add_model("d" * 64, "b" * 64, 100, "dogs")
    with pytest.raises(UserError, match=r"several models with the decoder b+: cats \(a+\), dogs"):
        registry.find_model("b" * 64)
    with pytest.raises(ValueError, match="is registered with 100 bits"):
        registry.add_model("a" * 64, "b" * 64, 101, "cats")
    with pytest.raises(UserError, match="model name 'a.nb': line breaks"):
        registry.add_model("e" * 64, "f" * 64, 10, "a\nb")


def test_empty_registry_knows_no_model(registry: Registry) -> None:
    with pytest.raises(UserError, match="it knows: none;"):
        registry.find_model("c" * 64)


def test_decoders_of_a_model(registry: Registry, model: Model) -> None:
    """The model stays one; what is asked for with a decoder is of that decoder."""
    retuned = registry.add_model(MODEL[0], "e" * 64, 100, "cats-retuned.pkl")
    assert retuned == replace(model, decoder_hash="e" * 64)
    assert registry.add_model(MODEL[0], "e" * 64, 100, "again") == retuned
    assert registry.models() == [model]
    assert registry.find_model(MODEL[0]) == model
    assert registry.find_model("e" * 64) == registry.find_model(MODEL[0], "e" * 64) == retuned
    assert registry.find_model(MODEL[0], "9" * 64).decoder_hash == "9" * 64  # not entered yet

    registry.save_calibration(model, b"first", 10)
    assert registry.load_calibration(retuned) is None
    registry.save_calibration(retuned, b"second", 10)
    assert registry.load_calibration(model) == b"first"
    assert registry.load_calibration(retuned) == b"second"
    unknown = registry.find_model(MODEL[0], "9" * 64)
    assert registry.load_calibration(unknown) is None

    first, second = registry.decoders(model)
    assert (first.model, first.name, first.is_newest) == (model, "cats", False)
    assert (second.model, second.name, second.is_newest) == (retuned, "cats-retuned.pkl", True)
    assert first.calibrated is not None
    assert second.calibrated is not None
    assert registry.audit().problems == []


def test_fingerprints_are_those_of_the_model_whatever_decodes(
    registry: Registry, model: Model
) -> None:
    registry.reserve(model, [("acme", "")], min_distance=25)
    state = registry.state(model)
    retuned = registry.add_model(MODEL[0], "e" * 64, 100, "cats")
    assert registry.state(retuned) == state
    assert [f.licensee for f in registry.fingerprints(retuned)] == ["acme"]
    assert registry.reserve(retuned, [("acme", "")], min_distance=25)[0].licensee == "acme"
    assert registry.counts(retuned).fingerprints == 1


def test_a_registry_without_the_table_of_decoders(place: str) -> None:
    """As the version before made it: it gets the table with its first row, append-only."""
    with Registry.create(place) as registry:
        model = registry.add_model(*MODEL)
        with stored(place).begin() as connection:
            connection.execute(sa.text("DROP TABLE decoders"))
        assert registry.audit().problems == []
        assert [entry.model for entry in registry.decoders(model)] == [model]
        assert registry.find_model("b" * 64) == model
        with pytest.raises(UserError, match="does not know"):
            registry.find_model("e" * 64)
        registry.add_model(MODEL[0], "e" * 64, 100, "cats")
        assert len(registry.decoders(model)) == 2
        assert registry.audit().problems == []
        with stored(place).begin() as connection:
            connection.execute(sa.text("DROP TABLE decoders"))
        assert registry.audit().problems == [
            "decoders row 3: is missing, event 3 (decoder added) tells of it"
        ]


# Reserving.


def test_fingerprints_keep_their_distance_in_one_and_many_transactions(
    registry: Registry, model: Model
) -> None:
    made = registry.reserve(model, [(f"a{i}", "") for i in range(60)], min_distance=30)
    for i in range(10):
        made += registry.reserve(model, [(f"b{i}", "")], min_distance=35)
    bits = np.array([f.bits for f in made])
    assert bits.shape == (70, 100)
    assert bits.dtype == np.uint8
    apart = distances(bits) + 100 * np.eye(70, dtype=int)
    assert apart[:60, :60].min() >= 30
    assert apart[60:].min() >= 35
    assert [f.licensee for f in made] == [f"a{i}" for i in range(60)] + [f"b{i}" for i in range(10)]
    assert [f.id for f in made] == sorted({f.id for f in made})
    assert registry.audit().problems == []


def test_distance_is_kept_from_revoked_ones_and_from_other_processes(
    registry: Registry,
    place: str,
) -> None:
    # Of 3 bits there are 8 words; with distance 1 each is given once, ever.
    model = registry.add_model("c" * 64, "d" * 64, 3, "tiny")
    with Registry.open(place) as other:
        for i in range(4):
            registry.reserve(model, [(f"a{i}", "")], min_distance=1)
            other.reserve(model, [(f"b{i}", "")], min_distance=1)
    registry.revoke("a0", "late payment")
    all_bits = {tuple(f.bits) for f in registry.fingerprints(model)}
    assert len(all_bits) == 8
    for licensees in ([("a0", "")], [("new", "")]):
        with pytest.raises(UserError, match="no room for another fingerprint: 10000 random .* 8 o"):
            registry.reserve(model, licensees, min_distance=1, replace_revoked=True)
    assert registry.counts().fingerprints == 8
    assert "new" not in {licensee.id for licensee in registry.licensees()}  # all or nothing


def test_repeated_reserve_gives_the_same_and_adds_no_event(
    registry: Registry, model: Model
) -> None:
    first = registry.reserve(model, [("acme", "Acme"), ("bee", "")], min_distance=25)
    events = list(registry.events())
    again = registry.reserve(model, [("bee", ""), ("acme", "Acme")], min_distance=25)
    assert again == first[::-1]
    assert list(registry.events()) == events
    more = registry.reserve(model, [("acme", ""), ("cee", "")], min_distance=25)
    assert more[0] == first[0]
    assert [(e.kind, e.seq) for e in registry.events(after=events[-1].seq)] == [
        ("licensee added", more[1].id - 1),
        ("reserved", more[1].id),
    ]


def test_every_model_has_its_own_fingerprints(registry: Registry, model: Model) -> None:
    other = registry.add_model("c" * 64, "d" * 64, 64, "dogs")
    made = [registry.reserve(m, [("acme", "Acme")], min_distance=16)[0] for m in (model, other)]
    assert [len(f.bits) for f in made] == [100, 64]
    assert registry.fingerprints(other) == [made[1]]
    assert registry.fingerprints(licensee_id="acme") == made
    assert [f.model_hash for f in made] == ["a" * 64, "c" * 64]


def test_revoked_licensee_is_refused_unless_replaced(registry: Registry, model: Model) -> None:
    other = registry.add_model("c" * 64, "d" * 64, 64, "dogs")
    old = registry.reserve(model, [("acme", "Acme"), ("bee", "")], min_distance=25)[0]
    revoked = registry.revoke("acme", "late payment")
    assert [(f.id, f.reason) for f in revoked] == [(old.id, "late payment")]
    assert revoked[0].revoked
    for m in (model, other):  # the licensee has nothing active anywhere
        with pytest.raises(
            UserError, match=r"licensee acme was revoked at .* \(late payment\); .*"
        ):
            registry.reserve(m, [("bee", ""), ("acme", "")], min_distance=16)
    assert registry.counts(other).fingerprints == 0
    new = registry.reserve(model, [("acme", "")], min_distance=25, replace_revoked=True)[0]
    assert new.id > old.id
    assert (new.bits != old.bits).sum() >= 25
    assert registry.reserve(model, [("acme", "")], min_distance=25) == [new]
    assert registry.fingerprint(old.id).revoked == revoked[0].revoked
    assert registry.fingerprint(new.id).revoked is None
    assert registry.audit().problems == []


def test_revoking_one_model_leaves_the_others(registry: Registry, model: Model) -> None:
    other = registry.add_model("c" * 64, "d" * 64, 64, "dogs")
    third = registry.add_model("e" * 64, "f" * 64, 64, "birds")
    for m in (model, other):
        registry.reserve(m, [("acme", "")], min_distance=16)
    registry.revoke("acme", "", model=other)
    assert [f.revoked is None for f in registry.fingerprints()] == [True, False]
    registry.reserve(model, [("acme", "")], min_distance=16)
    registry.reserve(third, [("acme", "")], min_distance=16)
    with pytest.raises(UserError, match="licensee acme was revoked"):
        registry.reserve(other, [("acme", "")], min_distance=16)
    with pytest.raises(UserError, match="licensee acme has no active fingerprint of model dogs"):
        registry.revoke("acme", "again", model=other)
    assert len(registry.revoke("acme", "all")) == 2
    with pytest.raises(UserError, match="licensee acme has no active fingerprint; nothing"):
        registry.revoke("acme", "again")
    with pytest.raises(UserError, match="the registry has no licensee 'zed'"):
        registry.revoke("zed", "why")
    with pytest.raises(UserError, match=r"reason 'a.nb': line breaks"):
        registry.revoke("acme", "a\nb")


def test_favoured_candidates_are_not_taken(registry: Registry, model: Model) -> None:
    shapes = []

    def is_favoured(bits: np.ndarray) -> np.ndarray:
        shapes.append((bits.shape[1], bits.dtype))
        return bits[:, :3].any(axis=1)

    made = registry.reserve(
        model, [(f"l{i}", "") for i in range(20)], min_distance=20, is_favoured=is_favoured
    )
    assert not any(f.bits[:3].any() for f in made)
    assert set(shapes) == {(100, np.dtype("uint8"))}
    with pytest.raises(UserError, match="or favoured by foreign images; register fewer licensees"):
        registry.reserve(
            model,
            [("none", "")],
            min_distance=20,
            is_favoured=lambda bits: np.ones(len(bits), dtype=bool),
        )


@pytest.mark.parametrize(
    ("licensees", "message"),
    [
        ([("", "")], "licensee id '': expected 1 to 100 letters"),
        ([("../up", "")], "licensee id '../up': expected"),
        ([("a b", "")], "licensee id 'a b': expected"),
        ([("a\n", "")], r"licensee id 'a.n': expected"),
        ([("x" * 101, "")], "licensee id 'x+': expected"),
        ([("a", "b\x00")], "name of licensee a '.*': line breaks"),
        ([("a", "\udcff")], "name of licensee a '.*': line breaks"),
        ([("a", ""), ("a", "")], "licensee a is named twice; remove one of them"),
        ([("acme", "Other")], "licensee acme is registered as 'Acme', not 'Other'; use that name"),
    ],
)
def test_impossible_licensee_is_refused(
    registry: Registry, model: Model, licensees: list[tuple[str, str]], message: str
) -> None:
    registry.reserve(model, [("acme", "Acme")], min_distance=25)
    head = registry.head()
    with pytest.raises(UserError, match=message):
        registry.reserve(model, licensees, min_distance=25)
    assert registry.head() == head


def test_more_licensees_than_a_query_takes(registry: Registry, model: Model) -> None:
    licensees = [(f"l{i}", "") for i in range(2500)]
    made = registry.reserve(model, licensees, min_distance=15)
    assert registry.reserve(model, licensees, min_distance=15) == made
    assert [f.licensee for f in made] == [name for name, _ in licensees]
    assert len({tuple(f.bits) for f in made}) == 2500


def test_error_in_the_middle_takes_everything_back(
    registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = registry.head()

    def fail(bits: np.ndarray) -> np.ndarray:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        registry.reserve(model, [("acme", "")], min_distance=25, is_favoured=fail)
    assert registry.head() == head
    assert registry.licensees() == []
    registry.reserve(model, [("acme", "")], min_distance=25)
    assert registry.audit().problems == []


# Drawing.


def test_least_distance_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for num_bits in (1, 7, 64, 65, 200):
        bits = rng.integers(0, 2, [50, num_bits], dtype=np.uint8)
        others = rng.integers(0, 2, [9000, num_bits], dtype=np.uint8)
        expected = (bits[:, None] != others[None]).sum(axis=2).min(axis=1)
        np.testing.assert_array_equal(least_distances(pack_bits(bits), pack_bits(others)), expected)
        assert (least_distances(pack_bits(bits), pack_bits(others[:0])) > num_bits).all()


def test_drawn_bits_are_fair_and_fill_the_space() -> None:
    empty = np.zeros([0, 2], dtype="<u8")
    bits = draw_fingerprints(empty, 100, 2000, min_distance=1)
    # Standard deviation of a column's mean: 0.5 / sqrt(2000) = 0.011.
    np.testing.assert_allclose(bits.mean(axis=0), 0.5, atol=0.06)
    all_words = draw_fingerprints(empty[:, :1], 6, 64, min_distance=1)
    assert len({tuple(row) for row in all_words}) == 64
    # The perfect code of 3 bits and distance 3: two words.
    apart = draw_fingerprints(empty[:, :1], 3, 2, min_distance=3)
    assert (apart[0] != apart[1]).all()


def test_drawing_uses_the_secure_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing.secrets, "token_bytes", lambda n: b"\xa5" * n)
    bits = draw_fingerprints(np.zeros([0, 1], dtype="<u8"), 8, 1, min_distance=1)
    assert bits.tolist() == [[1, 0, 1, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize("min_distance", [0, 65])
def test_impossible_distance_is_the_callers_mistake(min_distance: int) -> None:
    with pytest.raises(ValueError, match=r"min_distance must be in 1..64"):
        draw_fingerprints(np.zeros([0, 1], dtype="<u8"), 64, 1, min_distance=min_distance)


# Issuing and reading.


def test_issued_instances_are_recorded_once(registry: Registry, model: Model) -> None:
    made = registry.reserve(model, [("acme", "Acme")], min_distance=25)[0]
    for _ in range(2):
        registry.record_issue(made, "1" * 64, "pkl", "2" * 64)
    registry.record_issue(made, "3" * 64, "onnx", "4" * 64)
    found = registry.instances("acme")
    assert [(i.fingerprint_id, i.instance_hash, i.file_format, i.manifest_hash) for i in found] == [
        (made.id, "1" * 64, "pkl", "2" * 64),
        (made.id, "3" * 64, "onnx", "4" * 64),
    ]
    assert registry.instances() == found
    with pytest.raises(UserError, match=r"(?i)registry .*: .*foreign key constraint"):
        registry.record_issue(dataclasses.replace(made, id=999), "1", "pkl", "2")
    registry.revoke("acme", "late payment")
    with pytest.raises(UserError, match="of licensee acme was revoked at .*; delete the instance"):
        registry.record_issue(made, "5" * 64, "pkl", "6" * 64)


def test_show_tells_all_of_one_licensee(registry: Registry, model: Model) -> None:
    made = registry.reserve(model, [("acme", "Acme"), ("bee", "")], min_distance=25)
    for fingerprint in made:
        registry.record_issue(fingerprint, f"instance of {fingerprint.id}", "pkl", "2" * 64)
    registry.revoke("acme", "late payment")
    report = registry.show("acme")
    assert (report.licensee.id, report.licensee.name) == ("acme", "Acme")
    assert [f.id for f in report.fingerprints] == [made[0].id]
    assert [i.instance_hash for i in report.instances] == [f"instance of {made[0].id}"]
    kinds = ["licensee added", "reserved", "issued", "revoked"]
    assert [e.kind for e in report.events] == kinds
    assert json.loads(report.events[-1].payload) == {
        "fingerprint": made[0].id,
        "reason": "late payment",
    }
    assert registry.licensee("bee").name == "bee"
    assert [licensee.id for licensee in registry.licensees()] == ["acme", "bee"]
    for ask in (registry.show, registry.licensee):
        with pytest.raises(UserError, match="the registry has no licensee 'zed'; list shows all"):
            ask("zed")
    with pytest.raises(UserError, match="has no fingerprint 999; if the search index has"):
        registry.fingerprint(999)


def test_counts_are_of_one_model_or_all(registry: Registry, model: Model) -> None:
    other = registry.add_model("c" * 64, "d" * 64, 64, "dogs")
    made = registry.reserve(model, [("acme", ""), ("bee", "")], min_distance=25)
    registry.reserve(other, [("acme", "")], min_distance=16)
    registry.record_issue(made[0], "1", "pkl", "2")
    registry.revoke("bee", "")
    registry.reserve(model, [("bee", "")], min_distance=25, replace_revoked=True)
    found = [vars(registry.counts(m)) for m in (model, other, None)]
    names = ("fingerprints", "active", "revoked", "licensees", "instances")
    assert [[row[name] for name in names] for row in found] == [
        [3, 2, 1, 2, 1],
        [1, 1, 0, 1, 0],
        [4, 3, 1, 2, 1],
    ]


def test_packed_comes_in_blocks_and_from_an_id_on(
    registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(registry.packed(model)) == []
    made = registry.reserve(model, [(f"l{i}", "") for i in range(10)], min_distance=20)
    other = registry.add_model("c" * 64, "d" * 64, 100, "dogs")
    registry.reserve(other, [("l0", "")], min_distance=20)
    registry.revoke("l4", "")
    monkeypatch.setattr("fingerprints.registry.queries.BLOCK", 4)
    blocks = list(registry.packed(model))
    assert [len(ids) for ids, _ in blocks] == [4, 4, 2]
    ids = np.concatenate([ids for ids, _ in blocks])
    words = np.concatenate([words for _, words in blocks])
    assert (ids.dtype, words.dtype) == (np.int64, np.uint64)
    assert ids.tolist() == [f.id for f in made]
    np.testing.assert_array_equal(unpack_bits(words, 100), [f.bits for f in made])
    assert [ids.tolist() for ids, _ in registry.packed(model, after_id=made[7].id)] == [
        [made[8].id, made[9].id]
    ]


def test_events_come_in_blocks_and_from_a_number_on(
    registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.reserve(model, [(f"l{i}", "") for i in range(4)], min_distance=20)
    events = list(registry.events())
    assert [event.seq for event in events] == list(range(1, 11))
    queries = []

    @sa.event.listens_for(registry._database._engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *others: object) -> None:
        queries.append("FROM events" in statement)

    monkeypatch.setattr("fingerprints.registry.queries.BLOCK", 4)
    assert list(registry.events()) == events
    assert sum(queries) == 4  # 4, 4, 2 and no more
    queries.clear()
    assert list(registry.events(after=7)) == events[7:]
    assert sum(queries) == 2


def test_calibration_saved_last_counts(registry: Registry, model: Model) -> None:
    assert registry.load_calibration(model) is None
    registry.save_calibration(model, b"first\x00", 10)
    registry.save_calibration(model, b"second", 20)
    registry.save_calibration(model, b"other", 30, name="faces")
    assert registry.load_calibration(model) == b"second"
    assert registry.load_calibration(model, "faces") == b"other"
    payload = json.loads(list(registry.events())[-2].payload)
    assert payload == {
        "digest": hashlib.sha256(b"second").hexdigest(),
        "model": model.id,
        "name": "default",
        "num_images": 20,
    }


def test_export_has_bits_only_when_asked(registry: Registry, model: Model) -> None:
    assert export_text(export_rows(registry), "csv") == ""
    other = registry.add_model("c" * 64, "d" * 64, 64, "dogs")
    made = registry.reserve(model, [("acme", 'Acme, "Ltd"'), ("bee", "")], min_distance=25)
    registry.reserve(other, [("bee", "")], min_distance=16)
    registry.record_issue(made[0], "1" * 64, "pkl", "2" * 64)
    registry.record_issue(made[0], "3" * 64, "onnx", "4" * 64)
    registry.revoke("bee", "late payment", model=model)

    rows = export_rows(registry, model)
    assert json.loads(export_text(rows, "json")) == rows
    assert [row["licensee"] for row in rows] == ["acme", "bee"]
    assert [row["licensee"] for row in export_rows(registry)] == ["acme", "bee", "bee"]
    assert rows[0]["instances"] == ["1" * 64, "3" * 64]
    assert rows[0]["revoked"] is None
    assert rows[1]["reason"] == "late payment"
    assert not any("fingerprint" in row for row in rows)

    rows = export_rows(registry, include_bits=True)
    assert [row["fingerprint"] for row in rows[:2]] == [format_hex(f.bits) for f in made]
    table = list(csv.DictReader(io.StringIO(export_text(rows, "csv"))))
    assert [row["fingerprint"] for row in table[:2]] == [format_hex(f.bits) for f in made]
    assert table[0]["licensee_name"] == 'Acme, "Ltd"'
    assert table[0]["instances"] == f"{'1' * 64} {'3' * 64}"
    assert table[0]["revoked"] == ""
    with pytest.raises(ValueError, match="expected a format"):
        export_text(rows, "xml")
