"""Licensees get fingerprints, instances are recorded, fingerprints are revoked."""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.bits import pack_bits
from fingerprints.entries import Fingerprint, Model
from fingerprints.registry import tables
from fingerprints.registry.checks import check_licensees, check_text
from fingerprints.registry.database import Database
from fingerprints.registry.drawing import draw_fingerprints
from fingerprints.registry.encryption import Cipher
from fingerprints.registry.log import Log, writing
from fingerprints.registry.queries import read_fingerprints, read_licensee, read_words

_SALT_BYTES = 32
_MAX_VARIABLES = 1_000  # in one IN (...): SQLite takes a limited number


@dataclass(frozen=True)
class _Known:
    """Fingerprints of a model that need not be read again."""

    last_id: int
    head: str | None  # hash of the event with this number; None: there is none
    words: np.ndarray  # uint64 [N,W] of all up to it


class Licensing:
    """Writes what licensees have."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._cipher = cipher
        self._known: dict[int, _Known] = {}  # by model id

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
        names = check_licensees(licensees)
        with writing(self._database) as log:
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
        with writing(self._database) as log:
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
        check_text("reason", reason)
        with writing(self._database) as log:
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

    def _add_licensees(self, log: Log, names: dict[str, str]) -> None:
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
        nothing = _Known(0, None, np.zeros([0, -(-model.num_bits // 64)], dtype="<u8"))
        known = self._known.get(model.id, nothing)
        if known.head != _event_hash_at(connection, known.last_id):
            known = nothing  # the database went back to a backup, and on from there
        blocks, last_id = [known.words], known.last_id
        while True:
            ids, words = read_words(connection, self._cipher, model, last_id)
            if not len(ids):
                break
            blocks.append(words)
            last_id = int(ids[-1])
        head = _event_hash_at(connection, last_id)
        self._known[model.id] = _Known(last_id, head, np.concatenate(blocks))
        return self._known[model.id].words


def _event_hash_at(connection: sa.Connection, seq: int) -> str | None:
    columns = tables.events.c
    return connection.execute(sa.select(columns.hash).where(columns.seq == seq)).scalar()


def _refuse_revoked(owned: list[Fingerprint], model: Model, active: set[str]) -> None:
    """Raises for a licensee who has no active fingerprint of the model, but a revoked one.

    Or who has none of this model and none that is active of any other.
    """
    active_anywhere = {f.licensee for f in owned if not f.revoked}
    for f in owned:
        if f.licensee in active or not f.revoked:
            continue
        if f.model_id == model.id or f.licensee not in active_anywhere:
            reason = f" ({f.reason})" if f.reason else ""
            raise UserError(
                f"licensee {f.licensee} was revoked at {f.revoked}{reason}; leave it out, or give "
                "it a new fingerprint with --replace-revoked"
            )


def _chunks(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _MAX_VARIABLES):
        yield values[start : start + _MAX_VARIABLES]
