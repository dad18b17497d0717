"""Places for registries, in SQLite and in PostgreSQL."""

from tests.support.postgresql import new_place, place, postgresql

__all__ = ["new_place", "place", "postgresql"]
