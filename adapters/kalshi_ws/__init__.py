"""Import recordings of the venue's WebSocket, in the dialects of several recorders.

`frames` says what a message looks like, `decode` makes integer rows of it, `sequence` and `rules`
hold what the venue's feed means, `importer` stores sessions. docs/importing.md is the guide.
"""

from .importer import import_recording
from .reports import Report

__all__ = ["Report", "import_recording"]
