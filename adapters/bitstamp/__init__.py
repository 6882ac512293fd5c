"""Import order-by-order recordings: events that name each order, trades that name both sides.

`lines` reads the two files, `decode` makes of them what happened to the book, millisecond by
millisecond, and `importer` stores sessions. See docs/importing/bitstamp.md.
"""

from .importer import import_recording

__all__ = ["import_recording"]
