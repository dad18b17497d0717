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
    """What was measured on foreign images; the newest of a model and name counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, model: Model, data: bytes, num_images: int, name: str = "default") -> None:
        """Keeps a model's calibration, which counts from now on instead of the one before it."""
        check_text("calibration name", name)
        row = {
            "model": model.id,
            "name": name,
            "num_images": num_images,
            "digest": hashlib.sha256(data).hexdigest(),
            "data": data,
        }
        with writing(self._database) as log:
            log.add(tables.calibrations, [row])

    def load(self, model: Model, name: str = "default") -> bytes | None:
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
                f"registry {self._database.name}: the calibration of model {model.name} was "
                "changed; calibrate again"
            )
        return row.data
