"""The index of a folder of sessions: one SQLite file, which no server guards.

A rollback journal rather than a write-ahead log: at rest the index is one file, which can be
copied, shared over a network and read where nothing may be written, and one commit a session needs
no speed. `synchronous` is EXTRA: what was committed outlives a loss of power.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .entries import Entry, Query, series_of
from .errors import CatalogueError

INDEX_VERSION = 1
WAIT_SECONDS = 60.0
"""How long a writer waits for another one before it gives up."""

_TABLES = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    tickers TEXT NOT NULL,
    start_ts INTEGER,
    end_ts INTEGER,
    events INTEGER NOT NULL,
    gaps INTEGER NOT NULL,
    size INTEGER NOT NULL,
    quality REAL
);
CREATE TABLE markets (
    session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    number INTEGER NOT NULL,
    ticker TEXT NOT NULL,
    series TEXT NOT NULL,
    PRIMARY KEY (session, number)
);
CREATE INDEX markets_by_ticker ON markets (ticker, session);
CREATE INDEX markets_by_series ON markets (series, session);
CREATE TABLE facts (
    session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    body TEXT NOT NULL
);
"""
_COLUMNS = "name, digest, tickers, start_ts, end_ts, events, gaps, size, quality"


class Index:
    """The rows about the sessions of one folder. A connection lives as long as one question."""

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        """Whether there is an index at all."""
        return self.path.exists()

    def check_exists(self) -> None:
        """Check that there is an index. Raises CatalogueError that says how to get one."""
        if not self.exists():
            raise CatalogueError(
                f"{self.path.parent.parent}: holds no catalogue yet; the first save makes one"
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to read from. Raises CatalogueError if there is no index."""
        self.check_exists()
        with self._connected(WAIT_SECONDS) as connection:
            self._check_version(connection)
            yield connection

    @contextmanager
    def writing(self, wait_seconds: float = WAIT_SECONDS) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that shuts out other writers until it is committed.

        Who leaves without having committed has changed nothing. Raises BusyError if another
        writer does not end in time.
        """
        with self._connected(wait_seconds) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._check_version(connection) == 0:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {INDEX_VERSION}")
            yield connection

    @contextmanager
    def _connected(self, wait_seconds: float) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(self.path, timeout=wait_seconds, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except sqlite3.Error as error:
            raise self._explained(error, wait_seconds) from None

    def _check_version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > INDEX_VERSION:
            raise CatalogueError(
                f"{self.path}: is of version {version}, written by a newer foldbook; this one "
                f"reads up to {INDEX_VERSION}"
            )
        return version

    def _explained(self, error: sqlite3.Error, wait_seconds: float) -> CatalogueError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return BusyError(
                f"{self.path}: another process is writing; waited {wait_seconds:g} s for it to end"
            )
        # What is asked is sound: it is an error where the tables are not those of an index.
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return CatalogueError(
                f"{self.path}: is damaged ({error}); remove this file, and the next look at the "
                "folder makes a new index of the sessions in it"
            )
        return CatalogueError(f"{self.path}: {error}; the catalogue is as it was")


class BusyError(CatalogueError):
    """Somebody else is writing."""


def entries(connection: sqlite3.Connection, query: Query) -> list[Entry]:
    """Return the entries that meet a query, by name."""
    condition, values = query.where("?")
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE {condition} ORDER BY name", values
    )
    return [_entry(row) for row in found]


def entry(connection: sqlite3.Connection, name: str) -> Entry | None:
    """Return the entry of a name, if there is one."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE name = ?", [name]).fetchone()
    return None if row is None else _entry(row)


def names(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all entries."""
    return {name for (name,) in connection.execute("SELECT name FROM sessions")}


def facts(connection: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """Return the facts of a session, if it is known."""
    row = connection.execute(
        "SELECT body FROM facts JOIN sessions ON session = id WHERE name = ?", [name]
    ).fetchone()
    return None if row is None else json.loads(row[0])


def put(connection: sqlite3.Connection, entry: Entry, facts: Mapping[str, Any]) -> None:
    """Put an entry in, in the place of one of that name."""
    drop(connection, entry.name)
    row = (entry.name, entry.digest, json.dumps(entry.tickers), entry.start, entry.end,
           entry.events, entry.gaps, entry.size, entry.quality)
    marks = ", ".join("?" * len(row))
    number = connection.execute(
        f"INSERT INTO sessions ({_COLUMNS}) VALUES ({marks})", row
    ).lastrowid
    connection.executemany(
        "INSERT INTO markets VALUES (?, ?, ?, ?)",
        [(number, at, ticker, series_of(ticker)) for at, ticker in enumerate(entry.tickers)],
    )
    connection.execute("INSERT INTO facts VALUES (?, ?)", [number, json.dumps(facts)])


def drop(connection: sqlite3.Connection, name: str) -> None:
    """Take the entry of a name out, if there is one."""
    connection.execute("DELETE FROM sessions WHERE name = ?", [name])


def _entry(row: tuple[Any, ...]) -> Entry:
    name, digest, tickers, *rest = row
    return Entry(name, digest, tuple(json.loads(tickers)), *rest)
