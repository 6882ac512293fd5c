"""The catalogue that needs no server: a folder of sessions, and an index beside them.

    FOLDER/NAME/                    a session, as `sessions` stores it
    FOLDER/.catalogue/index.sqlite  what is known of each
    FOLDER/.catalogue/incoming/     a session that is being written
    FOLDER/.catalogue/replaced/     an older session, until the newer one counts
    FOLDER/.catalogue/removed/      a removed session, until it is gone

The commit of the index is the moment at which a save or a removal counts; whoever writes holds the
index's lock from beginning to end. `mending` says what becomes of the rest if he is killed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from foldbook.engine.errors import TapeError
from foldbook.engine.session import Session

from .. import sessions
from . import index as rows
from . import mending
from .entries import Entries, Entry, Query, check_names, entry_of, facts_of
from .errors import CatalogueError, UnknownSessionError
from .index import BusyError, Index
from .mending import Places

WAIT_SECONDS = rows.WAIT_SECONDS


class FolderCatalogue:
    """A folder of sessions with an index: see `Catalogue` for what it can do."""

    def __init__(self, folder: str | os.PathLike[str], *, wait_seconds: float = WAIT_SECONDS):
        """Look at a folder, which need not exist, and mend what killed writers left.

        wait_seconds: how long to wait for another writer. Nothing is mended while there is one:
        it is alive, and what looks half-done is its own.
        """
        folder = Path(folder)
        self.folder = folder
        self.repairs: list[str] = []
        self._wait_seconds = wait_seconds
        self._places = Places(folder)
        self._index = Index(self._places.index)
        if folder.exists() and not folder.is_dir():
            raise CatalogueError(f"{folder}: is no folder, so it is no catalogue")
        if self._index.exists() or mending.holds_sessions(folder):
            with self._as_told():
                self._mend_unless_busy()

    def __repr__(self) -> str:
        return f"FolderCatalogue({str(self.folder)!r})"

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.folder)

    def list(self) -> Entries:
        """Return an entry per session, by name: from the index and one look at the folder."""
        return self._entries(Query())

    def find(
        self, *, ticker: str | None = None, series: str | None = None, since: int | None = None,
        until: int | None = None, min_quality: float | None = None,
    ) -> Entries:
        """Return the entries that meet all conditions, by name: see `Catalogue.find`."""
        return self._entries(Query(ticker, series, since, until, min_quality))

    def facts(self, name: str) -> dict[str, Any]:
        """Return what was found out about a session when it was saved: see `facts_of`."""
        with self._index.reading() as connection:
            found = rows.facts(connection, name)
        if found is None:
            raise self._unknown(name)
        return found

    def load(self, name: str) -> Session:
        """Return a session, its tape mapped and shared with others who have loaded it.

        Raises UnknownSessionError; CatalogueError if its folder is gone or another session lies
        there. A session that is being replaced just now is waited for.
        """
        try:
            return self._loaded(name)
        except (CatalogueError, TapeError):
            if not self._index.exists():
                raise
        with self._index.writing(self._wait_seconds):
            return self._loaded(name)

    def save(self, session: Session, name: str | None = None) -> Entry:
        """Keep a session: written beside its place, renamed into it, and then put in the index."""
        chosen = check_names(session, name)
        facts = facts_of(session)
        places = self._places
        with self._as_told(f"session {chosen} is not saved"):
            places.make()
            with self._index.writing(self._wait_seconds) as connection:
                self.repairs += mending.mend(places, connection)
                was_there = (self.folder / chosen).exists()
                aside = places.aside(places.replaced, chosen)
                try:
                    written = places.incoming / chosen
                    sessions.write(written, chosen, session.markets, [session.tape.rows],
                                   facts=session.facts)
                    entry = entry_of(session, chosen, mending.settle(written), facts)
                    places.replace(chosen, aside)
                    rows.put(connection, entry, facts)
                    connection.execute("COMMIT")
                except BaseException:
                    places.take_back(chosen, aside, was_there=was_there)
                    raise
            shutil.rmtree(aside, ignore_errors=True)
        return entry

    def remove(self, name: str) -> None:
        """Remove a session for good, or forget one whose folder is gone."""
        self._index.check_exists()
        places = self._places
        with self._as_told(f"session {name} is not removed"):
            with self._index.writing(self._wait_seconds) as connection:
                if rows.entry(connection, name) is None:
                    raise self._unknown(name)
                self.repairs += mending.mend(places, connection)
                aside = places.aside(places.removed, name)
                was_there = (self.folder / name).exists()
                try:
                    if was_there:
                        (self.folder / name).rename(aside)
                    rows.drop(connection, name)
                    connection.execute("COMMIT")
                except BaseException:
                    places.take_back(name, aside, was_there=was_there)
                    raise
            shutil.rmtree(aside, ignore_errors=True)

    def migrate(self) -> Sequence[str]:
        """Make an index if there is none."""
        if self._index.exists():
            return []
        with self._as_told():
            self._places.make()
            with self._index.writing(self._wait_seconds) as connection:
                connection.execute("COMMIT")
        return ["made an index"]

    def _entries(self, query: Query) -> Entries:
        with self._index.reading() as connection:
            found = rows.entries(connection, query)
        gone = {each.name for each in found} - self._there()
        if gone:
            gone -= self._there_when_quiet()
        return [attrs.evolve(each, is_gone=True) if each.name in gone else each for each in found]

    def _there(self) -> set[str]:
        with os.scandir(self.folder) as found:
            return {each.name for each in found}

    def _there_when_quiet(self) -> set[str]:
        """Return what is in the folder while nobody exchanges a session there."""
        try:
            with self._index.writing(self._wait_seconds):
                return self._there()
        except CatalogueError:
            return self._there()

    def _loaded(self, name: str) -> Session:
        with self._index.reading() as connection:
            entry = rows.entry(connection, name)
        if entry is None:
            raise self._unknown(name)
        path = self.folder / name
        if not path.exists():
            raise CatalogueError(
                f"{path}: the index knows session {name}, but its folder is gone: put it back, or "
                f"forget the session with `foldbook remove {name}`"
            )
        session = sessions.load(path)
        if session.digest != entry.digest:
            raise CatalogueError(
                f"{path}: its digest is {session.digest}, not {entry.digest} as when it was saved: "
                f"if the new one is wanted, `foldbook save {path} --to {self.folder}` takes it in"
            )
        return session

    def _unknown(self, name: str) -> UnknownSessionError:
        return UnknownSessionError(
            f"session {name} is not in {self.folder}; `foldbook ls {self.folder}` lists those "
            "that are"
        )

    def _mend_unless_busy(self) -> None:
        self._places.make()
        try:
            with self._index.writing(0) as connection:
                self.repairs += mending.mend(self._places, connection)
                self.repairs += mending.adopt(self._places, connection)
                connection.execute("COMMIT")
        except BusyError:
            return

    @contextmanager
    def _as_told(self, what: str = "nothing is changed") -> Iterator[None]:
        """Turn errors of the file system and of a tape into one line with what they mean."""
        try:
            yield
        except OSError as error:
            why = f"{error.filename or self.folder}: {error.strerror or error}"
            raise CatalogueError(f"{why}: {what}; what was there is as it was") from error
        except TapeError as error:
            raise CatalogueError(f"{error}: {what}") from error
