"""The tables of the database, read in order and one market at a time.

    rl_orderbook_sessions   session_id, market_tickers, started_at, ended_at, status
    rl_orderbook_snapshots  session_id, market_ticker, timestamp_ms, sequence_number, yes_bids,
                            no_bids: {price in cents: contracts}
    rl_orderbook_deltas     session_id, market_ticker, timestamp_ms, sequence_number, side, action,
                            price, old_size, new_size

The asks that are stored beside the bids are not read: they were derived, and wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from foldbook.engine.errors import TapeError

SESSIONS, SNAPSHOTS, DELTAS = (
    "rl_orderbook_sessions", "rl_orderbook_snapshots", "rl_orderbook_deltas"
)
_COLUMNS = {
    SESSIONS: ("session_id", "market_tickers", "started_at", "ended_at", "status"),
    SNAPSHOTS: ("session_id", "market_ticker", "timestamp_ms", "sequence_number", "yes_bids",
                "no_bids"),
    DELTAS: ("session_id", "market_ticker", "timestamp_ms", "sequence_number", "side", "action",
             "price", "old_size", "new_size"),
}
_ROWS_AT_ONCE = 2000
_EVENTS = f"""
    SELECT market_ticker, timestamp_ms, sequence_number, true AS is_snapshot, yes_bids, no_bids,
           NULL AS side, NULL AS action, NULL AS price, NULL AS old_size, NULL AS new_size
    FROM {SNAPSHOTS} WHERE session_id = %(session)s
    UNION ALL
    SELECT market_ticker, timestamp_ms, sequence_number, false, NULL, NULL,
           side, action, price, old_size, new_size
    FROM {DELTAS} WHERE session_id = %(session)s
"""
_IN_ORDER = "timestamp_ms, sequence_number, is_snapshot"
"""Of rows with one number, the change is older: a snapshot states what has come of it."""


@attrs.frozen
class Listed:
    """A row of the sessions."""

    id: Any
    tickers: tuple[str, ...]
    started: str
    ended: str
    status: str


@attrs.frozen
class Row:
    """A snapshot or a delta. before: the sequence number of the row before it in its count."""

    ticker: Any
    timestamp_ms: Any
    number: Any
    is_snapshot: bool
    yes_bids: Any
    no_bids: Any
    side: Any
    action: Any
    price: Any
    old_size: Any
    new_size: Any
    before: Any

    @property
    def table(self) -> str:
        return SNAPSHOTS if self.is_snapshot else DELTAS


def check_tables(connection: Any, where: str) -> None:
    """Check that the tables and columns are there. Raises TapeError naming what is missing."""
    found = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_name = ANY(%s) AND table_schema = ANY(current_schemas(false))",
        [list(_COLUMNS)],
    ).fetchall()
    for table, columns in _COLUMNS.items():
        there = {column for name, column in found if name == table}
        if not there:
            raise TapeError(f"{where}: has no table {table}")
        for column in columns:
            if column not in there:
                raise TapeError(f"{where}: table {table} has no column {column}; it has "
                                f"{', '.join(sorted(there))}")


def listed(connection: Any) -> list[Listed]:
    """Return the sessions by their number."""
    rows = connection.execute(
        f"SELECT session_id, market_tickers, started_at::text, ended_at::text, status "
        f"FROM {SESSIONS} ORDER BY session_id"
    )
    return [Listed(number, tuple(tickers or ()), started or "", ended or "", status)
            for number, tickers, started, ended, status in rows]


def count(connection: Any, session: Any) -> int:
    """Return how many rows a session has."""
    found: int = connection.execute(
        f"SELECT count(*) FROM ({_EVENTS}) events", {"session": session}
    ).fetchone()[0]
    return found


def shared_number(connection: Any, session: Any) -> Any:
    """Return a sequence number that several markets of a session have, or None."""
    row = connection.execute(
        f"SELECT sequence_number FROM ({_EVENTS}) events GROUP BY sequence_number "
        "HAVING count(DISTINCT market_ticker) > 1 LIMIT 1",
        {"session": session},
    ).fetchone()
    return None if row is None else row[0]


def events(connection: Any, session: Any, *, is_one_count: bool) -> Iterator[Row]:
    """Yield the rows of a session, market after market, each in order.

    is_one_count: the sequence numbers count over all markets, not in each.
    """
    counted = "" if is_one_count else "PARTITION BY market_ticker"
    with connection.cursor(name="foldbook_events") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(
            f"SELECT *, lag(sequence_number) OVER ({counted} ORDER BY {_IN_ORDER}) "
            f"FROM ({_EVENTS}) events ORDER BY market_ticker COLLATE \"C\", {_IN_ORDER}",
            {"session": session},
        )
        for values in cursor:
            yield Row(*values)


def holes(connection: Any, session: Any) -> list[tuple[int, int]]:
    """Return (timestamp_ms, number) of the rows before which a number of all markets is missing."""
    found: list[tuple[int, int]] = connection.execute(
        f"SELECT timestamp_ms, sequence_number FROM (SELECT *, lag(sequence_number) OVER "
        f"(ORDER BY {_IN_ORDER}) AS before FROM ({_EVENTS}) events) numbered "
        f"WHERE sequence_number NOT IN (before, before + 1) ORDER BY 1, 2",
        {"session": session},
    ).fetchall()
    return found
