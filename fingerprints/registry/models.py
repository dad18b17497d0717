"""The models of a registry, and the decoders of each."""

from dataclasses import replace

import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.entries import DecoderEntry, Model
from fingerprints.registry import tables
from fingerprints.registry.calibrations import last_calibration
from fingerprints.registry.checks import check_text
from fingerprints.registry.database import Database
from fingerprints.registry.log import writing
from fingerprints.registry.queries import read_models


class Models:
    """Which models there are, by the hashes of their networks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model_hash: str, decoder_hash: str, num_bits: int, name: str) -> Model:
        """Registers a model, or another decoder of one; what is registered already stays.

        Returns:
            The model with this decoder in use.

        Raises:
            ValueError: it is registered with another number of bits.
        """
        check_text("model name", name)
        with writing(self._database) as log:
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
            if model.num_bits != num_bits:
                raise ValueError(f"model {model_hash} is registered with {model.num_bits} bits")
            if decoder_hash not in _decoders_of(log.connection, model):
                tables.create_decoders(log.connection)
                row = {"model": model.id, "decoder_hash": decoder_hash, "name": name}
                log.add(tables.decoders, [row])
        return replace(model, decoder_hash=decoder_hash)

    def all(self) -> list[Model]:
        """All models in the order in which they were added, each with its first decoder."""
        with self._database.reading() as connection:
            return read_models(connection)

    def find(self, any_hash: str, decoder_hash: str | None = None) -> Model:
        """The model with this model hash, or the hash of one of its decoders.

        Args:
            any_hash: of either.
            decoder_hash: of the decoder in use, which need not be registered; None: the one that
                was found, or else the first.

        Raises:
            UserError: there is none, or several have this decoder.
        """
        with self._database.reading() as connection:
            all_models = read_models(connection)
            decoders = {m.id: _decoders_of(connection, m) for m in all_models}
        found = [m for m in all_models if any_hash in (m.model_hash, *decoders[m.id])]
        if not found:
            names = ", ".join(f"{m.name} ({m.model_hash[:12]})" for m in all_models) or "none"
            raise UserError(
                f"registry {self._database.name} does not know the model {any_hash[:12]}; it "
                f"knows: {names}; check the registry and the network file"
            )
        if len(found) > 1:
            names = ", ".join(f"{m.name} ({m.model_hash[:12]})" for m in found)
            raise UserError(
                f"registry {self._database.name} has several models with the decoder "
                f"{any_hash[:12]}: {names}; choose one by its own hash"
            )
        model = found[0]
        if decoder_hash is None and any_hash != model.model_hash:
            decoder_hash = any_hash
        return model if decoder_hash is None else replace(model, decoder_hash=decoder_hash)

    def decoders(self, model: Model) -> list[DecoderEntry]:
        """Those of a model, in the order in which they were added."""
        with self._database.reading() as connection:
            rows = _decoders_of(connection, model)
            first = next(iter(rows))
            calibrated = {
                decoder: last_calibration(connection, model.id, decoder == first, decoder)
                for decoder in rows
            }
        newest = list(rows)[-1]
        return [
            DecoderEntry(
                replace(model, decoder_hash=decoder),
                name,
                time,
                None if (row := calibrated[decoder]) is None else row.time,
                decoder == newest,
            )
            for decoder, (name, time) in rows.items()
        ]


def _decoders_of(connection: sa.Connection, model: Model) -> dict[str, tuple[str, str]]:
    """Hashes of a model's decoders, the first one first, with name and time of each."""
    columns = tables.models.c
    query = sa.select(columns.decoder_hash, columns.name, columns.time)
    rows = list(connection.execute(query.where(columns.seq == model.id)))
    if tables.has_decoders(connection):
        columns = tables.decoders.c
        query = sa.select(columns.decoder_hash, columns.name, columns.time)
        query = query.where(columns.model == model.id).order_by(columns.seq)
        rows += connection.execute(query)
    return {row.decoder_hash: (row.name, row.time) for row in rows}
