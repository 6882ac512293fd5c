"""Import LOBSTER: a file of messages, and a file with the best levels of the book after each.

`lines` reads the two files, `decode` follows the orders and checks every message against the book,
and `importer` stores sessions. See docs/importing/lobster.md.
"""

from .importer import import_recording

__all__ = ["import_recording"]
