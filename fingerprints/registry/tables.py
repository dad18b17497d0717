"""The registry's tables, and the triggers that make every one of them append-only.

A row's `seq` is the number of the event that tells of it; the event's content is the row without
its binary columns, for which a digest stands in the row. Revoking adds a row as well.
"""

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)

FORMAT_VERSION = 1

metadata = MetaData()


def _table(name: str, *items: Column | Index | UniqueConstraint) -> Table:
    """A table whose rows are told of in the log."""
    seq = Column("seq", Integer, ForeignKey("events.seq"), primary_key=True, autoincrement=False)
    return Table(name, metadata, seq, Column("time", Text, nullable=False), *items)


def _text(name: str, *, unique: bool = False) -> Column:
    return Column(name, Text, nullable=False, unique=unique)


def _number(name: str, refers_to: str | None = None, *, unique: bool = False) -> Column:
    keys = [ForeignKey(refers_to)] if refers_to else []
    return Column(name, Integer, *keys, nullable=False, unique=unique)


events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _text("time"),
    _text("kind"),
    _text("payload"),
    _text("previous", unique=True),
    _text("hash", unique=True),
)
settings = _table(
    "settings",
    _number("format_version", unique=True),  # unique: there is one row
    _text("registry_id"),
    _text("encryption"),  # name of the cipher
    _text("key_check"),  # hex: the registry's id, encrypted
)
models = _table(
    "models",
    _text("model_hash", unique=True),
    Column("decoder_hash", Text, nullable=False, index=True),
    _number("num_bits"),
    _text("name"),
)
licensees = _table("licensees", _text("id", unique=True), _text("name"))
fingerprints = _table(
    "fingerprints",
    _number("model", "models.seq"),
    Column("licensee", Text, ForeignKey("licensees.id"), nullable=False, index=True),
    _number("min_distance"),  # to every fingerprint of the model before it
    _text("digest"),  # SHA-256 of salt and bits, neither encrypted; commits to bits it hides
    Column("bits", LargeBinary, nullable=False),  # words of pack_bits, little-endian, encrypted
    Column("salt", LargeBinary, nullable=False),  # encrypted: few bits could be found with it
    UniqueConstraint("model", "bits"),
)
revocations = _table(
    "revocations", _number("fingerprint", "fingerprints.seq", unique=True), _text("reason")
)
instances = _table(
    "instances",
    Column("fingerprint", Integer, ForeignKey("fingerprints.seq"), nullable=False, index=True),
    _text("instance_hash"),
    _text("file_format"),
    _text("manifest_hash"),
)
calibrations = _table(
    "calibrations",
    Column("model", Integer, ForeignKey("models.seq"), nullable=False, index=True),
    _text("name"),  # the last row of a model and name counts
    _number("num_images"),
    _text("digest"),  # SHA-256 of the data
    Column("data", LargeBinary, nullable=False),
)
# Decoders that read a model's pictures beside the one that it was registered with. Registries that
# were made before there was such a table get it with its first row.
decoders = _table(
    "decoders",
    _number("model", "models.seq"),
    Column("decoder_hash", Text, nullable=False, index=True),
    _text("name"),
    UniqueConstraint("model", "decoder_hash"),
)

# What happened when a row of the table was added.
EVENT_KINDS = {
    settings: "created",
    models: "model added",
    licensees: "licensee added",
    fingerprints: "reserved",
    revocations: "revoked",
    instances: "issued",
    calibrations: "calibrated",
    decoders: "decoder added",
}


def logged_columns(table: Table) -> list[Column]:
    """The columns that an event's content repeats."""
    return [
        column
        for column in table.columns
        if column.name not in ("seq", "time") and not isinstance(column.type, LargeBinary)
    ]


def create_tables(connection: Connection) -> None:
    """Makes all tables and triggers in an empty database, SQLite or PostgreSQL."""
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name != "sqlite":
        connection.execute(
            text(
                "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
            )
        )
    for table in metadata.sorted_tables:
        _protect(connection, table)


def has_decoders(connection: Connection) -> bool:
    """Whether the table of decoders is there already."""
    return inspect(connection).has_table(decoders.name)


def create_decoders(connection: Connection) -> None:
    """Makes the table of decoders where it is not there yet, in a writing transaction."""
    if not has_decoders(connection):
        decoders.create(connection)
        _protect(connection, decoders)


def _protect(connection: Connection, table: Table) -> None:
    """Triggers that make a table append-only."""
    if connection.dialect.name != "sqlite":
        connection.execute(
            text(
                f"CREATE TRIGGER {table.name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table.name} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
        )
        return
    for action in ("update", "delete"):
        connection.execute(
            text(
                f"CREATE TRIGGER {table.name}_no_{action} BEFORE {action.upper()} "
                f"ON {table.name} BEGIN "
                f"SELECT RAISE(ABORT, '{table.name} is append-only'); END"
            )
        )


def unprotected_tables(connection: Connection) -> list[str]:
    """Names of the tables that lack a trigger of `create_tables`."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        suffixes = ["no_update", "no_delete"]
    else:
        query = (
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE tgenabled <> 'D' AND pg_table_is_visible(pg_class.oid)"
        )
        suffixes = ["append_only"]
    present = set(connection.execute(text(query)).scalars())
    absent = () if has_decoders(connection) else (decoders,)
    return [
        table.name
        for table in metadata.sorted_tables
        if table not in absent
        and any(f"{table.name}_{suffix}" not in present for suffix in suffixes)
    ]
