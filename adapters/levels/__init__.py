"""Import books and trades of any venue from plain CSV or Parquet tables: one row, one level.

`tables` reads files into integer columns; `importer` makes messages of them. The columns, and how
to say what yours are called, are in docs/importing/l2.md.
"""

from .importer import import_levels

__all__ = ["import_levels"]
