"""What every catalogue can do, wherever it keeps its sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from foldbook.engine.session import Session

from .entries import Entries, Entry


class Catalogue(Protocol):
    """A place that keeps sessions by name.

    A session is in it whole or not at all: `save` returns once it is there to stay, and nobody
    sees a part of one. Every method raises CatalogueError, in one line, where the place cannot be
    reached, was written by a newer version, or somebody else is writing for too long.
    """

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        ...

    @property
    def repairs(self) -> Sequence[str]:
        """What this object found half-done or unknown and mended, each in one line."""
        ...

    def list(self) -> Entries:
        """Return an entry per session, by name; no session is opened."""
        ...

    def find(
        self, *, ticker: str | None = None, series: str | None = None, since: int | None = None,
        until: int | None = None, min_quality: float | None = None,
    ) -> Entries:
        """Return the entries that meet all conditions, by name.

        ticker: of one of the markets; series: its part before the first "-". since, until: ns;
        sessions with any event in between, both ends included. min_quality: from 0 to 1; sessions
        without a score do not meet it. Raises ValueError for conditions that make no sense.
        """
        ...

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what was found out about a session when it was saved: see `facts_of`.

        Raises UnknownSessionError.
        """
        ...

    def load(self, name: str) -> Session:
        """Return a session. Raises UnknownSessionError; CatalogueError if it is gone or changed."""
        ...

    def save(self, session: Session, name: str | None = None) -> Entry:
        """Keep a session, in the place of an older one of that name; default: the session's own.

        Raises CatalogueError for a name or a ticker that cannot be a file's, and if the session
        could not be kept; then what was there is as it was.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a session for good. Raises UnknownSessionError."""
        ...

    def migrate(self) -> Sequence[str]:
        """Make the place ready for this version, and return what was done, each in one line."""
        ...
