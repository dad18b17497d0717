"""The models of a registry."""

import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.entries import Model
from fingerprints.registry import tables
from fingerprints.registry.checks import check_text
from fingerprints.registry.database import Database
from fingerprints.registry.log import writing
from fingerprints.registry.queries import read_models


class Models:
    """Which models there are, by the hashes of their networks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model_hash: str, decoder_hash: str, num_bits: int, name: str) -> Model:
        """Registers a model; one that is registered already is returned as it is.

        Raises:
            ValueError: it is registered with another decoder or number of bits.
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
        if (model.decoder_hash, model.num_bits) != (decoder_hash, num_bits):
            raise ValueError(f"model {model_hash} is registered with another decoder or size")
        return model

    def all(self) -> list[Model]:
        """All models in the order in which they were added."""
        with self._database.reading() as connection:
            return read_models(connection)

    def find(self, any_hash: str) -> Model:
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
                f"registry {self._database.name} does not know the model {any_hash[:12]}; it "
                f"knows: {names}; check the registry and the network file"
            )
        if len(found) > 1:
            names = ", ".join(f"{m.name} ({m.model_hash[:12]})" for m in found)
            raise UserError(
                f"registry {self._database.name} has several models with the decoder "
                f"{any_hash[:12]}: {names}; choose one by its own hash"
            )
        return found[0]
