"""Places for registries, in SQLite and in a PostgreSQL server of the tests' own."""

from tests.support.postgresql import new_place, place, postgresql

__all__ = ["new_place", "place", "postgresql"]
