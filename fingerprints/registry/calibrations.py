"""The calibrations of a registry, as blobs."""

import hashlib

import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.entries import Model
from fingerprints.registry import tables
from fingerprints.registry.checks import check_text
from fingerprints.registry.database import Database
from fingerprints.registry.log import writing


class Calibrations:
    """What was measured on foreign images; the newest of a decoder counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, model: Model, data: bytes, num_images: int, name: str | None = None) -> None:
        """Keeps a calibration, which counts from now on instead of the one before it.

        Args:
            model: with the decoder that was calibrated.
            data: the calibration.
            num_images: how many foreign images it is of.
            name: None: it is the one of this decoder.
        """
        with writing(self._database) as log:
            name = name or _name_of(log.connection, model)
            check_text("calibration name", name)
            row = {
                "model": model.id,
                "name": name,
                "num_images": num_images,
                "digest": hashlib.sha256(data).hexdigest(),
                "data": data,
            }
            log.add(tables.calibrations, [row])

    def load(self, model: Model, name: str | None = None) -> bytes | None:
        """The calibration that was saved last, or None.

        Args:
            model: with the decoder in use.
            name: None: the one of this decoder.

        Raises:
            UserError: it was changed since.
        """
        with self._database.reading() as connection:
            row = _last(connection, model.id, name or _name_of(connection, model))
        if row is None:
            return None
        if hashlib.sha256(row.data).hexdigest() != row.digest:
            raise UserError(
                f"registry {self._database.name}: the calibration of model {model.name} was "
                "changed; calibrate again"
            )
        return row.data


_OF_FIRST = "default"  # name of the calibrations of the decoder that a model was registered with


def _name_of(connection: sa.Connection, model: Model) -> str:
    """Name of the calibrations of a model's decoder in use."""
    columns = tables.models.c
    first = connection.execute(
        sa.select(columns.decoder_hash).where(columns.seq == model.id)
    ).scalar()
    return _OF_FIRST if model.decoder_hash == first else model.decoder_hash


def last_calibration(
    connection: sa.Connection, model_id: int, is_first: bool, decoder_hash: str
) -> sa.Row | None:
    """The row of the newest calibration of a decoder; None if there is none.

    Args:
        connection: of a transaction.
        model_id: of the decoder's model.
        is_first: whether the model was registered with it.
        decoder_hash: of the decoder.
    """
    return _last(connection, model_id, _OF_FIRST if is_first else decoder_hash)


def _last(connection: sa.Connection, model_id: int, name: str) -> sa.Row | None:
    columns = tables.calibrations.c
    query = sa.select(columns.time, columns.data, columns.digest)
    query = query.where(columns.model == model_id, columns.name == name)
    return connection.execute(query.order_by(columns.seq.desc()).limit(1)).first()
