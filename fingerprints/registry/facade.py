"""The registry: which licensee has which fingerprint of which model, and all that happened to it.

Every change adds rows and, in the same transaction, an event to the hash-chained log; nothing is
ever changed or removed. `fingerprints/registry/audit.py` checks that rows and log agree.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.registry import tables
from fingerprints.registry.audit import AuditResult, audit
from fingerprints.registry.database import Database
from fingerprints.registry.drawing import draw_fingerprints
from fingerprints.registry.encryption import AesSiv, CannotDecrypt, Cipher, Plain
from fingerprints.registry.entries import (
    BLOCK,
    LICENSEE_ID,
    Counts,
    Fingerprint,
    Instance,
    Licensee,
    LicenseeReport,
    Model,
    read_fingerprints,
    read_instances,
    read_licensee,
    read_models,
    read_words,
)
from fingerprints.registry.event_log import GENESIS, Event, next_event, utc_now

_SALT_BYTES = 32
_MAX_VARIABLES = 1_000  # in one IN (...): SQLite takes a limited number


class Registry:
    """An open registry; made by `create` or `open`, closed by `close` or at the end of `with`."""

    def __init__(self, database: Database, cipher: Cipher, registry_id: str) -> None:
        self.id = registry_id  # random, made with the database
        self.name = database.name  # where it is, without a password
        self._database = database
        self._cipher = cipher
        # By model id: the last id, and the words of all fingerprints up to it.
        self._known: dict[int, tuple[int, np.ndarray]] = {}

    @property
    def is_encrypted(self) -> bool:
        """Whether the bits are encrypted in the database."""
        return not isinstance(self._cipher, Plain)

    @classmethod
    def create(
        cls, url_or_path: str, key: bytes | None = None, *, exist_ok: bool = False
    ) -> "Registry":
        """Makes a new registry.

        Args:
            url_or_path: path of a SQLite file, or a URL of an existing PostgreSQL database:
                postgresql://user:password@host:port/database.
            key: 64 bytes that encrypt the bits (`keys.load_secret(path, "registry")`).
            exist_ok: one that exists already is opened.

        Raises:
            UserError: there is one already (unless `exist_ok`), or the place holds something else.
        """
        database = Database(url_or_path)
        cipher: Cipher = Plain() if key is None else AesSiv(key)
        registry_id = secrets.token_hex(16)
        database.make_file()
        with database.writing() as connection:
            present = set(sa.inspect(connection).get_table_names())
            taken = sorted(present & set(tables.metadata.tables))
            if taken and not exist_ok:
                raise UserError(
                    f"{database.name} holds a registry already, or at least a table {taken[0]!r}; "
                    "choose another file, database or schema"
                )
            if not taken:
                tables.create_tables(connection)
                row = {
                    "format_version": tables.FORMAT_VERSION,
                    "registry_id": registry_id,
                    "encryption": cipher.name,
                    "key_check": cipher.encrypt(registry_id.encode(), "key check").hex(),
                }
                _Log(connection).add(tables.settings, [row])
        database.close()
        return cls.open(url_or_path, key)

    @classmethod
    def open(cls, url_or_path: str, key: bytes | None = None) -> "Registry":
        """Opens a registry; see `create`.

        Raises:
            UserError: there is none, it is of another version, or the key is missing or wrong.
        """
        database = Database(url_or_path)
        if not database.exists():
            raise UserError(f"there is no registry {database.name}; check the path or create it")
        with database.reading() as connection:
            if not sa.inspect(connection).has_table("settings"):
                raise UserError(f"{database.name} holds no registry; check the path or create it")
            row = connection.execute(sa.select(tables.settings)).first()
        if row is None or row.format_version != tables.FORMAT_VERSION:
            version = None if row is None else row.format_version
            raise UserError(
                f"registry {database.name} has format version {version}, this program reads "
                f"{tables.FORMAT_VERSION}; use the program that made it"
            )
        return cls(database, _make_cipher(row, key, database.name), row.registry_id)

    def close(self) -> None:
        """Closes the connections."""
        self._database.close()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Models.

    def add_model(self, model_hash: str, decoder_hash: str, num_bits: int, name: str) -> Model:
        """Registers a model; one that is registered already is returned as it is.

        Raises:
            ValueError: it is registered with another decoder or number of bits.
        """
        _check_text("model name", name)
        with self._writing() as log:
            where = tables.models.c.model_hash == model_hash
            if not read_models(log.connection, where):
                row = {
                    "model_hash": model_hash,
                    "decoder_hash": decoder_hash,
                    "num_bits": num_bits,
                    "name": name,
                }
                log.add(tables.models, [row])
            model = read_models(log.connection, where)[0]
        if (model.decoder_hash, model.num_bits) != (decoder_hash, num_bits):
            raise ValueError(f"model {model_hash} is registered with another decoder or size")
        return model

    def models(self) -> list[Model]:
        """All models in the order in which they were added."""
        with self._database.reading() as connection:
            return read_models(connection)

    def find_model(self, any_hash: str) -> Model:
        """The model with this model hash or decoder hash.

        Raises:
            UserError: there is none, or several have this decoder.
        """
        columns = tables.models.c
        where = sa.or_(columns.model_hash == any_hash, columns.decoder_hash == any_hash)
        with self._database.reading() as connection:
            found = read_models(connection, where)
            all_models = read_models(connection)
        if not found:
            names = ", ".join(f"{m.name} ({m.model_hash[:12]})" for m in all_models) or "none"
            raise UserError(
                f"registry {self.name} does not know the model {any_hash[:12]}; it knows: {names}; "
                "check the registry and the network file"
            )
        if len(found) > 1:
            names = ", ".join(f"{m.name} ({m.model_hash[:12]})" for m in found)
            raise UserError(
                f"registry {self.name} has several models with the decoder {any_hash[:12]}: "
                f"{names}; choose one by its own hash"
            )
        return found[0]

    # Reserving, issuing, revoking.

    def reserve(
        self,
        model: Model,
        licensees: Sequence[tuple[str, str]],
        *,
        min_distance: int,
        is_favoured: Callable[[np.ndarray], np.ndarray] | None = None,
        replace_revoked: bool = False,
    ) -> list[Fingerprint]:
        """Gives licensees their fingerprints, in one transaction: all of them or none.

        A licensee who has an active fingerprint of the model gets that one again, so that what was
        interrupted can simply be repeated.

        Args:
            model: which model.
            licensees: ids and names; unknown ones are registered. An empty name is no name.
            min_distance: bits in which a new fingerprint differs from all ever registered.
            is_favoured: candidates uint8 [C,B] -> bool [C], those that may not be taken.
            replace_revoked: a new fingerprint for whom one was revoked.

        Returns:
            One fingerprint per licensee, in the order of `licensees`.

        Raises:
            UserError: a revoked licensee, an impossible id or name, or no room.
        """
        names = _check_licensees(licensees)
        with self._writing() as log:
            self._add_licensees(log, names)
            column = tables.fingerprints.c.licensee
            owned = [
                fingerprint
                for chunk in _chunks(list(names))
                for fingerprint in read_fingerprints(
                    log.connection, self._cipher, column.in_(chunk)
                )
            ]
            active = {f.licensee: f for f in owned if f.model_id == model.id and not f.revoked}
            if not replace_revoked:
                _refuse_revoked(owned, model, set(active))
            without = [licensee for licensee in names if licensee not in active]
            if without:
                known = self._sync_known(log.connection, model)
                bits = draw_fingerprints(
                    known,
                    model.num_bits,
                    len(without),
                    min_distance=min_distance,
                    is_favoured=is_favoured,
                )
                rows = [
                    self._fingerprint_row(model, licensee, row_bits, min_distance)
                    for licensee, row_bits in zip(without, bits, strict=True)
                ]
                for event, licensee, row_bits in zip(
                    log.add(tables.fingerprints, rows), without, bits, strict=True
                ):
                    active[licensee] = Fingerprint(
                        id=event.seq,
                        model_id=model.id,
                        model_hash=model.model_hash,
                        licensee=licensee,
                        min_distance=min_distance,
                        time=event.time,
                        bits=row_bits,
                    )
        return [active[licensee] for licensee in names]

    def record_issue(
        self, fingerprint: Fingerprint, instance_hash: str, file_format: str, manifest_hash: str
    ) -> None:
        """Records that an instance with this fingerprint is complete; a repeat changes nothing.

        Raises:
            UserError: the fingerprint was revoked meanwhile.
        """
        row = {
            "fingerprint": fingerprint.id,
            "instance_hash": instance_hash,
            "file_format": file_format,
            "manifest_hash": manifest_hash,
        }
        with self._writing() as log:
            columns = tables.revocations.c
            query = sa.select(columns.time).where(columns.fingerprint == fingerprint.id)
            if revoked := log.connection.execute(query).scalar():
                raise UserError(
                    f"the fingerprint of licensee {fingerprint.licensee} was revoked at {revoked}, "
                    "while its instance was made; delete the instance"
                )
            same = [tables.instances.c[name] == value for name, value in row.items()]
            if log.connection.execute(sa.select(tables.instances.c.seq).where(*same)).first():
                return
            log.add(tables.instances, [row])

    def revoke(
        self, licensee_id: str, reason: str, model: Model | None = None
    ) -> list[Fingerprint]:
        """Revokes a licensee's active fingerprints, of one model or of all.

        Returns:
            What was revoked; images are attributed to these fingerprints as before.

        Raises:
            UserError: no such licensee, or nothing to revoke.
        """
        _check_text("reason", reason)
        with self._writing() as log:
            read_licensee(log.connection, licensee_id)
            where = tables.fingerprints.c.licensee == licensee_id
            active = [
                f
                for f in read_fingerprints(log.connection, self._cipher, where)
                if not f.revoked and (model is None or f.model_id == model.id)
            ]
            if not active:
                of_model = "" if model is None else f" of model {model.name}"
                raise UserError(
                    f"licensee {licensee_id} has no active fingerprint{of_model}; nothing was "
                    "revoked"
                )
            rows = [{"fingerprint": f.id, "reason": reason} for f in active]
            log.add(tables.revocations, rows)
            ids = {f.id for f in active}
            return [
                f for f in read_fingerprints(log.connection, self._cipher, where) if f.id in ids
            ]

    # Reading.

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
                f"registry {self.name} has no fingerprint {fingerprint_id}; if the search index "
                "has, it belongs to another registry"
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

    def events(self, after: int = 0) -> Iterator[Event]:
        """The log in order, from the event after number `after` on."""
        columns = tables.events.c
        while True:
            query = sa.select(tables.events).where(columns.seq > after).order_by(columns.seq)
            with self._database.reading() as connection:
                rows = connection.execute(query.limit(BLOCK)).mappings().all()
            if not rows:
                return
            yield from (Event(**row) for row in rows)
            after = rows[-1]["seq"]

    def head(self) -> str:
        """Hash of the last event, which instance manifests keep."""
        with self._database.reading() as connection:
            return _Log(connection).head

    def audit(self, known_heads: Sequence[str] = ()) -> AuditResult:
        """Checks log, rows and fingerprints against each other.

        Args:
            known_heads: hashes of events from elsewhere, such as `log_head` of instance manifests.
        """
        with self._database.reading() as connection:
            later_checks, result = audit(connection, self._cipher, known_heads)
        # The comparison of fingerprints takes longest, and meanwhile others may write.
        return AuditResult([*result.problems, *later_checks()], result.num_events, result.head)

    # Calibrations.

    def save_calibration(
        self, model: Model, data: bytes, num_images: int, name: str = "default"
    ) -> None:
        """Keeps a model's calibration, which counts from now on instead of the one before it."""
        _check_text("calibration name", name)
        row = {
            "model": model.id,
            "name": name,
            "num_images": num_images,
            "digest": hashlib.sha256(data).hexdigest(),
            "data": data,
        }
        with self._writing() as log:
            log.add(tables.calibrations, [row])

    def load_calibration(self, model: Model, name: str = "default") -> bytes | None:
        """The calibration that was saved last, or None.

        Raises:
            UserError: it was changed since.
        """
        columns = tables.calibrations.c
        query = sa.select(columns.data, columns.digest).where(
            columns.model == model.id, columns.name == name
        )
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(columns.seq.desc()).limit(1)).first()
        if row is None:
            return None
        if hashlib.sha256(row.data).hexdigest() != row.digest:
            raise UserError(
                f"registry {self.name}: the calibration of model {model.name} was changed; "
                "calibrate again"
            )
        return row.data

    # Inner parts.

    @contextmanager
    def _writing(self) -> Iterator["_Log"]:
        with self._database.writing() as connection:
            yield _Log(connection)

    def _add_licensees(self, log: "_Log", names: dict[str, str]) -> None:
        known = {}
        for chunk in _chunks(list(names)):
            query = sa.select(tables.licensees).where(tables.licensees.c.id.in_(chunk))
            known.update({row.id: row.name for row in log.connection.execute(query)})
        for licensee, name in names.items():
            if licensee in known and name not in ("", known[licensee]):
                raise UserError(
                    f"licensee {licensee} is registered as {known[licensee]!r}, not {name!r}; use "
                    "that name or another id"
                )
        rows = [
            {"id": licensee, "name": name or licensee}
            for licensee, name in names.items()
            if licensee not in known
        ]
        log.add(tables.licensees, rows)

    def _fingerprint_row(
        self, model: Model, licensee: str, bits: np.ndarray, min_distance: int
    ) -> dict[str, Any]:
        data = pack_bits(bits[None]).tobytes()
        salt = secrets.token_bytes(_SALT_BYTES)
        return {
            "model": model.id,
            "licensee": licensee,
            "min_distance": min_distance,
            "digest": hashlib.sha256(salt + data).hexdigest(),
            "bits": self._cipher.encrypt(data, "bits", model.model_hash),
            "salt": self._cipher.encrypt(salt, "salt", model.model_hash),
        }

    def _sync_known(self, connection: sa.Connection, model: Model) -> np.ndarray:
        """Words of all fingerprints of the model; only the new ones are read."""
        last_id, known = self._known.get(
            model.id, (0, np.zeros([0, -(-model.num_bits // 64)], dtype="<u8"))
        )
        blocks = [known]
        while True:
            ids, words = read_words(connection, self._cipher, model, last_id)
            if not len(ids):
                break
            blocks.append(words)
            last_id = int(ids[-1])
        known = np.concatenate(blocks)
        self._known[model.id] = last_id, known
        return known


class _Log:
    """Adds rows together with their events, at the end of the chain.

    Args:
        connection: of a writing transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        columns = tables.events.c
        query = sa.select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)
        last = connection.execute(query).first()
        self._seq: int = 0 if last is None else last.seq
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
            self._seq += 1
            kind = tables.EVENT_KINDS[table]
            added.append(next_event(self._seq, self.head, time, kind, content))
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


def _make_cipher(settings: Any, key: bytes | None, name: str) -> Cipher:
    """What the registry's bits are encrypted with, or `Plain`."""
    if settings.encryption == Plain.name:
        if key is not None:
            raise UserError(f"registry {name} is not encrypted; open it without a registry key")
        return Plain()
    if key is None:
        raise UserError(f"registry {name} is encrypted; give its registry key")
    cipher = AesSiv(key)
    try:
        cipher.decrypt(bytes.fromhex(settings.key_check), "key check")
    except (CannotDecrypt, ValueError) as error:
        raise UserError(
            f"registry {name} is encrypted with another key; give the one that it was created with"
        ) from error
    return cipher


def _check_licensees(licensees: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names by id."""
    names: dict[str, str] = {}
    for licensee, name in licensees:
        if not LICENSEE_ID.fullmatch(licensee):
            raise UserError(
                f"licensee id {licensee!r}: expected 1 to 100 letters, digits and . _ @ + -, a "
                "letter or digit first; the name may be any text"
            )
        _check_text(f"name of licensee {licensee}", name)
        if licensee in names:
            raise UserError(f"licensee {licensee} is named twice; remove one of them")
        names[licensee] = name
    return names


def _check_text(what: str, text: str) -> None:
    """Refuses what would break lines of a listing, or a database."""
    if not text.isprintable():
        raise UserError(f"{what} {text!r}: line breaks and control characters are not allowed")


def _refuse_revoked(owned: list[Fingerprint], model: Model, active: set[str]) -> None:
    """Raises for a licensee who has no active fingerprint of the model, but a revoked one.

    Or who has none of this model and none that is active of any other.
    """
    active_anywhere = {f.licensee for f in owned if not f.revoked}
    for f in owned:
        if f.licensee in active or not f.revoked:
            continue
        if f.model_id == model.id or f.licensee not in active_anywhere:
            raise UserError(
                f"licensee {f.licensee} was revoked at {f.revoked} ({f.reason}); leave it out, or "
                "give it a new fingerprint with --replace-revoked"
            )


def _chunks(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _MAX_VARIABLES):
        yield values[start : start + _MAX_VARIABLES]
