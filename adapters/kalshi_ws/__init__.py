"""Import recordings of the venue's WebSocket, in the dialects of several recorders.

`frames` says what a message looks like and `decode` makes integer rows of it; `sequence`, `book`,
`joining`, `fees` and `rules` hold what the feed means; `importer` stores sessions. See
docs/importing.md.
"""

from .importer import import_recording

__all__ = ["import_recording"]
