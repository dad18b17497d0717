"""The queries that read the registry's rows as plain objects."""

from typing import Any

import numpy as np
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.bits import unpack_bits
from fingerprints.entries import Fingerprint, Instance, Licensee, Model
from fingerprints.registry import tables
from fingerprints.registry.encryption import CannotDecrypt, Cipher

BLOCK = 65_536  # rows read at a time


def read_models(connection: sa.Connection, where: Any = None) -> list[Model]:
    """Models that a condition holds for, in the order in which they were added."""
    columns = tables.models.c
    query = sa.select(tables.models).where(sa.true() if where is None else where)
    return [
        Model(row.seq, row.model_hash, row.decoder_hash, row.num_bits, row.name, row.time)
        for row in connection.execute(query.order_by(columns.seq))
    ]


def read_licensee(connection: sa.Connection, licensee_id: str) -> Licensee:
    """The licensee with this id.

    Raises:
        UserError: there is none.
    """
    query = sa.select(tables.licensees).where(tables.licensees.c.id == licensee_id)
    row = connection.execute(query).first()
    if row is None:
        raise UserError(f"the registry has no licensee {licensee_id!r}; list shows all")
    return Licensee(row.id, row.name, row.time)


def read_instances(connection: sa.Connection, licensee_id: str | None = None) -> list[Instance]:
    """Instances of a licensee, or all, the oldest first."""
    columns = tables.instances.c
    query = sa.select(tables.instances).order_by(columns.seq)
    if licensee_id is not None:
        owned = sa.select(tables.fingerprints.c.seq).where(
            tables.fingerprints.c.licensee == licensee_id
        )
        query = query.where(columns.fingerprint.in_(owned))
    return [
        Instance(r.seq, r.fingerprint, r.instance_hash, r.file_format, r.manifest_hash, r.time)
        for r in connection.execute(query)
    ]


def read_fingerprints(connection: sa.Connection, cipher: Cipher, where: Any) -> list[Fingerprint]:
    """Fingerprints that a condition on their table holds for, the oldest first.

    Raises:
        UserError: the bits of one were changed.
    """
    columns, models = tables.fingerprints.c, tables.models.c
    revoked = tables.revocations.c
    query = (
        sa.select(
            *(columns[name] for name in ("seq", "licensee", "min_distance", "time", "bits")),
            models.seq.label("model_id"),
            models.model_hash,
            models.num_bits,
            revoked.time.label("revoked"),
            revoked.reason,
        )
        .join(tables.models, models.seq == columns.model)
        .outerjoin(tables.revocations, revoked.fingerprint == columns.seq)
        .where(where)
        .order_by(columns.seq)
    )
    return [
        Fingerprint(
            id=row.seq,
            model_id=row.model_id,
            model_hash=row.model_hash,
            licensee=row.licensee,
            min_distance=row.min_distance,
            time=row.time,
            bits=_bits_of(row, cipher),
            revoked=row.revoked,
            reason=row.reason,
        )
        for row in connection.execute(query)
    ]


def read_words(
    connection: sa.Connection, cipher: Cipher, model: Model, after_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `BLOCK` fingerprints of a model with ids larger than `after_id`, the oldest first.

    Returns:
        ids int64 [n] and words uint64 [n,ceil(B/64)]; n = 0: there are no more.

    Raises:
        UserError: the bits of one were changed.
    """
    columns = tables.fingerprints.c
    query = (
        sa.select(columns.seq, columns.bits)
        .where(columns.model == model.id, columns.seq > after_id)
        .order_by(columns.seq)
        .limit(BLOCK)
    )
    rows = connection.execute(query).all()
    ids = np.array([row.seq for row in rows], dtype=np.int64)
    return ids, _to_words(rows, cipher, model.model_hash, model.num_bits)


def _to_words(rows: Any, cipher: Cipher, model_hash: str, num_bits: int) -> np.ndarray:
    """Words [n,W] of rows that have `seq` and `bits`."""
    num_words = -(-num_bits // 64)
    found = []
    for row in rows:
        try:
            data = cipher.decrypt(row.bits, "bits", model_hash)
        except CannotDecrypt:
            data = b""
        if len(data) != 8 * num_words:
            raise UserError(
                f"the bits of fingerprint {row.seq} in the registry were changed; run audit, and "
                "restore the database from a backup"
            )
        found.append(data)
    return np.frombuffer(b"".join(found), dtype="<u8").reshape(-1, num_words)


def _bits_of(row: Any, cipher: Cipher) -> np.ndarray:
    """uint8 [B] of a row with `seq`, `bits`, `model_hash` and `num_bits`."""
    words = _to_words([row], cipher, row.model_hash, row.num_bits)
    return unpack_bits(words, row.num_bits)[0]
