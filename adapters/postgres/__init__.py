"""A catalogue in PostgreSQL, for teams: sessions in tables that anybody can also ask with SQL.

`blocks` says how a tape lies in a table, `migrations` what the tables are, `connecting` how the
database is reached. See docs/catalogue.md.
"""

from .catalogue import PostgresCatalogue

__all__ = ["PostgresCatalogue"]
