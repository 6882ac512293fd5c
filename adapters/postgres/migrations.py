"""The tables of a catalogue in PostgreSQL, as steps that are never edited, only added to.

A database keeps the numbers of the steps that it has had. An empty one is made by the first save;
an older one is only changed when somebody asks for it, because that shuts out colleagues who have
not updated yet.
"""

from __future__ import annotations

from typing import Any

import attrs

from ..catalogue import CatalogueError

SCHEMA = "foldbook"
_LOCK = 0x666F6C64
"""Key of the advisory lock that one migration holds at a time."""


@attrs.frozen
class Migration:
    """One step. Its number is its place in MIGRATIONS, from 1."""

    title: str
    sql: str


MIGRATIONS = (
    Migration(
        "sessions, markets and tapes",
        """
        CREATE TABLE sessions (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE,
            digest text NOT NULL,
            tickers text[] NOT NULL,
            start_ts bigint,
            end_ts bigint,
            events bigint NOT NULL,
            gaps bigint NOT NULL,
            size bigint NOT NULL,
            quality double precision,
            recording jsonb NOT NULL,
            facts jsonb NOT NULL
        );
        COMMENT ON COLUMN sessions.recording IS 'what its importer or generator said of it';
        COMMENT ON COLUMN sessions.facts IS 'what foldbook info shows';

        CREATE TABLE markets (
            session bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
            number integer NOT NULL,
            ticker text NOT NULL,
            series text NOT NULL,
            event text NOT NULL,
            tick integer NOT NULL,
            PRIMARY KEY (session, number)
        );
        CREATE INDEX markets_by_ticker ON markets (ticker, session);
        CREATE INDEX markets_by_series ON markets (series, session);

        CREATE TABLE tape_blocks (
            session bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
            first_row bigint NOT NULL,
            first_ts bigint NOT NULL,
            last_ts bigint NOT NULL,
            ts bigint[] NOT NULL,
            recv bigint[] NOT NULL,
            qty bigint[] NOT NULL,
            ahead integer[] NOT NULL,
            price integer[] NOT NULL,
            market integer[] NOT NULL,
            kind smallint[] NOT NULL,
            side smallint[] NOT NULL,
            flags smallint[] NOT NULL,
            PRIMARY KEY (session, first_row)
        );
        ALTER TABLE tape_blocks
            ALTER ts SET STORAGE EXTERNAL, ALTER recv SET STORAGE EXTERNAL,
            ALTER qty SET STORAGE EXTERNAL, ALTER ahead SET STORAGE EXTERNAL,
            ALTER price SET STORAGE EXTERNAL, ALTER market SET STORAGE EXTERNAL,
            ALTER kind SET STORAGE EXTERNAL, ALTER side SET STORAGE EXTERNAL,
            ALTER flags SET STORAGE EXTERNAL;
        """,
    ),
    Migration(
        "tapes as rows, for SQL",
        """
        CREATE FUNCTION tape_between(session_name text, since bigint, until bigint)
        RETURNS TABLE ("row" bigint, ts bigint, recv bigint, ticker text, kind smallint,
                       side smallint, price integer, qty bigint, ahead integer, flags smallint)
        LANGUAGE sql STABLE
        BEGIN ATOMIC
            SELECT b.first_row + u.place - 1, u.ts, u.recv, m.ticker, u.kind, u.side, u.price,
                   u.qty, u.ahead, u.flags
            FROM sessions s
            JOIN tape_blocks b ON b.session = s.id AND b.last_ts >= since AND b.first_ts <= until
            CROSS JOIN LATERAL unnest(b.ts, b.recv, b.market, b.kind, b.side, b.price, b.qty,
                                      b.ahead, b.flags) WITH ORDINALITY
                AS u (ts, recv, market, kind, side, price, qty, ahead, flags, place)
            JOIN markets m ON m.session = s.id AND m.number = u.market
            WHERE s.name = session_name AND u.ts BETWEEN since AND until;
        END;
        CREATE VIEW tape AS
            SELECT s.name AS session, t.*
            FROM sessions s
            CROSS JOIN LATERAL
                tape_between(s.name, -9223372036854775808, 9223372036854775807) t;
        COMMENT ON VIEW tape IS
            'ts, recv: ns UTC; price: $0.0001, YES terms; qty, ahead: 0.01 contract';
        """,
    ),
)
LATEST = len(MIGRATIONS)


def version(connection: Any) -> int:
    """Return how many steps a database has had; 0 if it holds no catalogue."""
    table = f"{SCHEMA}.migrations"
    if connection.execute("SELECT to_regclass(%s)", [table]).fetchone()[0] is None:
        return 0
    found: int = connection.execute(f"SELECT coalesce(max(number), 0) FROM {table}").fetchone()[0]
    return found


def check(connection: Any, where: str) -> None:
    """Check that a database is of this version. Raises CatalogueError that says what to do."""
    found = version(connection)
    if found == 0:
        raise CatalogueError(
            f"{where}: holds no catalogue yet; the first save or `foldbook migrate` makes one"
        )
    if found < LATEST:
        raise CatalogueError(
            f"{where}: is of version {found}, older than this foldbook's {LATEST}: "
            "`foldbook migrate` renews it, for all who use it"
        )
    if found > LATEST:
        raise CatalogueError(
            f"{where}: is of version {found}, written by a newer foldbook; this one reads {LATEST}"
        )


def migrate(connection: Any, where: str) -> list[str]:
    """Take the steps that a database has not had, in one transaction; return their titles.

    connection: new, because one that has looked for the tables before it had the lock remembers
    that there were none. Raises CatalogueError for a database of a newer version.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    had = version(connection)
    if had > LATEST:
        check(connection, where)
    done = []
    for number, step in enumerate(MIGRATIONS[had:], start=had + 1):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.migrations (number integer PRIMARY KEY, "
            "title text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        connection.execute(step.sql)
        connection.execute(
            f"INSERT INTO {SCHEMA}.migrations VALUES (%s, %s)", [number, step.title]
        )
        done.append(f"{number}: {step.title}")
    return done
