"""The catalogue of a team: sessions in the schema `foldbook` of a PostgreSQL database.

A session is saved in one transaction, and so is in it whole or not at all; what a killed writer
left is undone by the server, and nothing is left to mend here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

from ..catalogue import (
    CatalogueError,
    Entries,
    Entry,
    Query,
    UnknownSessionError,
    check_names,
    entry_of,
    facts_of,
    series_of,
    without_password,
)
from . import migrations
from .blocks import COLUMNS, from_copy, to_copy
from .connecting import connected

WAIT_SECONDS = 60.0
_COLUMNS = "name, digest, tickers, start_ts, end_ts, events, gaps, size, quality"


class PostgresCatalogue:
    """A PostgreSQL database that keeps sessions: see `Catalogue` for what it can do."""

    repairs: Sequence[str] = ()
    """Nothing: the server undoes what was not finished."""

    def __init__(self, url: str, *, wait_seconds: float = WAIT_SECONDS):
        """Name a database; it is reached when it is asked.

        url: as libpq takes it; what it leaves out comes from libpq's environment and files.
        wait_seconds: how long to wait for another writer of the same session.
        """
        self._url = url
        self._wait_seconds = wait_seconds

    def __repr__(self) -> str:
        return f"PostgresCatalogue({self.url!r})"

    @property
    def url(self) -> str:
        """The URL, without its password."""
        return without_password(self._url)

    def list(self) -> Entries:
        """Return an entry per session, by name."""
        return self._entries(Query())

    def find(
        self, *, ticker: str | None = None, series: str | None = None, since: int | None = None,
        until: int | None = None, min_quality: float | None = None,
    ) -> Entries:
        """Return the entries that meet all conditions, by name: see `Catalogue.find`."""
        return self._entries(Query(ticker, series, since, until, min_quality))

    def facts(self, name: str) -> dict[str, Any]:
        """Return what was found out about a session when it was saved: see `facts_of`."""
        with self._asked() as connection:
            row = connection.execute(
                "SELECT facts FROM sessions WHERE name = %s", [name]
            ).fetchone()
        if row is None:
            raise self._unknown(name)
        found: dict[str, Any] = row[0]
        return found

    def load(self, name: str) -> Session:
        """Return a session, its tape in this process's memory, checked against its digest.

        Raises UnknownSessionError; CatalogueError if its rows are not those that were saved.
        """
        where = f"{self.url}: session {name}"
        with self._asked(is_steady=True) as connection:
            row = connection.execute(
                "SELECT id, digest, events, recording FROM sessions WHERE name = %s", [name]
            ).fetchone()
            if row is None:
                raise self._unknown(name)
            number, digest, events, recording = row
            markets = connection.execute(
                "SELECT ticker, tick, event FROM markets WHERE session = %s ORDER BY number",
                [number],
            ).fetchall()
            question = f"SELECT {', '.join(COLUMNS)} FROM tape_blocks WHERE session = {number:d}"
            with connection.cursor().copy(
                f"COPY ({question} ORDER BY first_row) TO STDOUT (FORMAT binary)"
            ) as copy:
                rows = _told(lambda: from_copy(iter(copy), events, where))
        session = _told(lambda: Session(
            Tape(rows),
            tuple(Market(*market) for market in markets),
            name=name,
            source={"catalogue": self.url, "entry": name},
            facts=recording,
            reopen=(_reopened, (self._url, name, digest)),
        ))
        if session.digest != digest:
            raise CatalogueError(f"{where}: its digest is {session.digest}, not {digest} as when "
                                 "it was saved: its rows were changed")
        return session

    def save(self, session: Session, name: str | None = None) -> Entry:
        """Keep a session, in one transaction. The first save makes the tables."""
        chosen = check_names(session, name)
        facts = facts_of(session)
        entry = entry_of(session, chosen, len(session.tape) * TAPE_DTYPE.itemsize, facts)
        self._make_if_empty()
        with self._asked() as connection:
            self._lock(connection, chosen)
            connection.execute("DELETE FROM sessions WHERE name = %s", [chosen])
            number = _put(connection, session, entry, facts)
            with connection.cursor().copy("COPY tape_blocks FROM STDIN (FORMAT binary)") as copy:
                for data in to_copy(session.tape.rows, number):
                    copy.write(data)
        return entry

    def remove(self, name: str) -> None:
        """Remove a session for good."""
        with self._asked() as connection:
            self._lock(connection, name)
            if not connection.execute("DELETE FROM sessions WHERE name = %s", [name]).rowcount:
                raise self._unknown(name)

    def migrate(self) -> Sequence[str]:
        """Bring the database to this version; return the titles of the steps taken."""
        with self._connected() as connection:
            return migrations.migrate(connection, self.url)

    def _entries(self, query: Query) -> Entries:
        condition, values = query.where("%s")
        with self._asked() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM sessions WHERE {condition} ORDER BY name COLLATE \"C\"",
                values,
            ).fetchall()
        return [Entry(row[0], row[1], tuple(row[2]), *row[3:]) for row in found]

    def _make_if_empty(self) -> None:
        with self._connected() as connection:
            is_empty = migrations.version(connection) == 0
        if is_empty:
            self.migrate()

    @contextmanager
    def _asked(self, *, is_steady: bool = False) -> Iterator[Any]:
        """Give a connection to a database of this version. is_steady: all see one moment."""
        with self._connected() as connection:
            if is_steady:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            migrations.check(connection, self.url)
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with connected(self._url) as connection:
            connection.execute(f"SET LOCAL search_path TO {migrations.SCHEMA}")
            yield connection

    def _lock(self, connection: Any, name: str) -> None:
        """Shut out other writers of a session until the transaction ends."""
        connection.execute(f"SET LOCAL lock_timeout TO {round(self._wait_seconds * 1000):d}")
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        connection.execute("SET LOCAL lock_timeout TO 0")

    def _unknown(self, name: str) -> UnknownSessionError:
        return UnknownSessionError(
            f"session {name} is not in {self.url}; `foldbook ls` lists those that are"
        )


def _put(connection: Any, session: Session, entry: Entry, facts: dict[str, Any]) -> int:
    """Put the rows about a session in, but its tape; return its number."""
    row = (entry.name, entry.digest, list(entry.tickers), entry.start, entry.end, entry.events,
           entry.gaps, entry.size, entry.quality, _json(session.facts), _json(facts))
    marks = ", ".join(["%s"] * len(row))
    number: int = connection.execute(
        f"INSERT INTO sessions ({_COLUMNS}, recording, facts) VALUES ({marks}) RETURNING id", row
    ).fetchone()[0]
    with connection.cursor().copy("COPY markets FROM STDIN") as copy:
        for at, market in enumerate(session.markets):
            copy.write_row((number, at, market.ticker, series_of(market.ticker), market.event,
                            market.tick))
    return number


def _json(facts: Any) -> str:
    return msgspec.json.encode(dict(facts)).decode()


def _told(make: Any) -> Any:
    """Return what a function makes, its TapeError as the catalogue's."""
    try:
        return make()
    except TapeError as error:
        raise CatalogueError(str(error)) from None


def _reopened(url: str, name: str, digest: str) -> Session:
    """Return a session in another process, if it is still the same."""
    session = PostgresCatalogue(url).load(name)
    if session.digest != digest:
        raise CatalogueError(
            f"{without_password(url)}: session {name} was replaced: its digest is "
            f"{session.digest}, not {digest}"
        )
    return session
