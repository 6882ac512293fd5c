"""What goes wrong with a catalogue, in one line that says how to mend it."""

from __future__ import annotations

from foldbook.engine.errors import FoldbookError


class CatalogueError(FoldbookError, RuntimeError):
    """A catalogue cannot be reached, read or written, or is not as its index says."""


class UnknownSessionError(CatalogueError, LookupError):
    """A catalogue has no session of that name."""
