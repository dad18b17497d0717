"""The registry: which licensee has which fingerprint of which model, and all that happened to it.

Every change adds rows and, in the same transaction, an event to the hash-chained log; nothing is
ever changed or removed. `audit` checks that rows and log agree. Here is the one face of it; the
work is done by role: `models`, `licensing`, `contents`, `log`, `calibrations`.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from dnnlib.errors import UserError
from fingerprints.entries import (
    Counts,
    DecoderEntry,
    Fingerprint,
    Instance,
    Licensee,
    Model,
)
from fingerprints.registry import tables
from fingerprints.registry.audit import AuditResult, audit
from fingerprints.registry.calibrations import Calibrations
from fingerprints.registry.contents import Contents, LicenseeReport
from fingerprints.registry.database import Database
from fingerprints.registry.encryption import AesSiv, CannotDecrypt, Cipher, Plain
from fingerprints.registry.event_log import Event, LogHead
from fingerprints.registry.licensing import Licensing
from fingerprints.registry.log import Events, Log
from fingerprints.registry.models import Models


class Registry:
    """An open registry; made by `create` or `open`, closed by `close` or at the end of `with`."""

    def __init__(self, database: Database, cipher: Cipher, registry_id: str) -> None:
        self.id = registry_id  # random, made with the database
        self.name = database.name  # where it is, without a password
        self._database = database
        self._cipher = cipher
        self._models = Models(database)
        self._licensing = Licensing(database, cipher)
        self._contents = Contents(database, cipher, registry_id)
        self._events = Events(database)
        self._calibrations = Calibrations(database)

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
                Log(connection).add(tables.settings, [row])
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

    def __exit__(self, *_: object) -> None:
        self.close()

    # Models.

    def add_model(self, model_hash: str, decoder_hash: str, num_bits: int, name: str) -> Model:
        """See `Models.add`."""
        return self._models.add(model_hash, decoder_hash, num_bits, name)

    def models(self) -> list[Model]:
        """See `Models.all`."""
        return self._models.all()

    def find_model(self, any_hash: str, decoder_hash: str | None = None) -> Model:
        """See `Models.find`."""
        return self._models.find(any_hash, decoder_hash)

    def decoders(self, model: Model) -> list[DecoderEntry]:
        """See `Models.decoders`."""
        return self._models.decoders(model)

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
        """See `Licensing.reserve`."""
        return self._licensing.reserve(
            model,
            licensees,
            min_distance=min_distance,
            is_favoured=is_favoured,
            replace_revoked=replace_revoked,
        )

    def record_issue(
        self, fingerprint: Fingerprint, instance_hash: str, file_format: str, manifest_hash: str
    ) -> None:
        """See `Licensing.record_issue`."""
        self._licensing.record_issue(fingerprint, instance_hash, file_format, manifest_hash)

    def revoke(
        self, licensee_id: str, reason: str, model: Model | None = None
    ) -> list[Fingerprint]:
        """See `Licensing.revoke`."""
        return self._licensing.revoke(licensee_id, reason, model)

    # Reading.

    def fingerprint(self, fingerprint_id: int) -> Fingerprint:
        """See `Contents.fingerprint`."""
        return self._contents.fingerprint(fingerprint_id)

    def fingerprints(
        self, model: Model | None = None, licensee_id: str | None = None
    ) -> list[Fingerprint]:
        """See `Contents.fingerprints`."""
        return self._contents.fingerprints(model, licensee_id)

    def licensee(self, licensee_id: str) -> Licensee:
        """See `Contents.licensee`."""
        return self._contents.licensee(licensee_id)

    def licensees(self) -> list[Licensee]:
        """See `Contents.licensees`."""
        return self._contents.licensees()

    def instances(self, licensee_id: str | None = None) -> list[Instance]:
        """See `Contents.instances`."""
        return self._contents.instances(licensee_id)

    def show(self, licensee_id: str) -> LicenseeReport:
        """See `Contents.show`."""
        return self._contents.show(licensee_id)

    def state(self, model: Model) -> str:
        """See `Contents.state`."""
        return self._contents.state(model)

    def counts(self, model: Model | None = None) -> Counts:
        """See `Contents.counts`."""
        return self._contents.counts(model)

    def packed(self, model: Model, after_id: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Contents.packed`."""
        return self._contents.packed(model, after_id)

    # The log.

    def events(self, after: int = 0) -> Iterator[Event]:
        """See `Events.read`."""
        return self._events.read(after)

    def head(self) -> str:
        """Hash of the last event."""
        return self.log_head().log_head

    def log_head(self) -> LogHead:
        """Where the log ends; to be kept elsewhere."""
        return LogHead(self.id, *self._events.end())

    def event_number(self, event_hash: str) -> int | None:
        """See `Events.number_of`."""
        return self._events.number_of(event_hash)

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
        self, model: Model, data: bytes, num_images: int, name: str | None = None
    ) -> None:
        """See `Calibrations.save`."""
        self._calibrations.save(model, data, num_images, name)

    def load_calibration(self, model: Model, name: str | None = None) -> bytes | None:
        """See `Calibrations.load`."""
        return self._calibrations.load(model, name)


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
