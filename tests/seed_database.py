"""A database as the earlier system kept it: its three tables, hand-filled or at headline size."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import psycopg

TABLES = """
CREATE TABLE rl_orderbook_sessions (
    session_id bigserial PRIMARY KEY, market_tickers text[], started_at timestamptz,
    ended_at timestamptz, status text, messages_received integer, snapshots_count integer,
    deltas_count integer);
CREATE TABLE rl_orderbook_snapshots (
    id bigserial PRIMARY KEY, session_id bigint, market_ticker text, timestamp_ms bigint,
    sequence_number bigint, yes_bids jsonb, yes_asks jsonb, no_bids jsonb, no_asks jsonb);
CREATE TABLE rl_orderbook_deltas (
    id bigserial PRIMARY KEY, session_id bigint, market_ticker text, timestamp_ms bigint,
    sequence_number bigint, side text, action text, price integer, old_size integer,
    new_size integer);
"""
WRONG_ASKS = json.dumps({"1": 999_999})
"""Stored asks were derived wrongly; whoever reads these would not go unnoticed."""

Snapshot = tuple[str, int, int, Any, Any]
"""Ticker, timestamp_ms, sequence_number, YES bids, NO bids."""
Delta = tuple[str, int, int, Any, Any, Any, Any, Any]
"""Ticker, timestamp_ms, sequence_number, side, action, price, old_size, new_size."""


def make(url: str) -> None:
    """Make the tables."""
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)


def fill(
    url: str, snapshots: Iterable[Snapshot], deltas: Iterable[Delta] = (), *,
    session: int = 7, status: str = "closed", tickers: list[str] | None = None,
) -> None:
    """Add a session of these rows."""
    snapshots, deltas = list(snapshots), list(deltas)
    known = sorted({row[0] for row in [*snapshots, *deltas]}) if tickers is None else tickers
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO rl_orderbook_sessions (session_id, market_tickers, started_at, ended_at, "
            "status) VALUES (%s, %s, '2025-12-01Z', '2025-12-02Z', %s)", (session, known, status))
        with connection.cursor().copy(
            "COPY rl_orderbook_snapshots (session_id, market_ticker, timestamp_ms, "
            "sequence_number, yes_bids, no_bids, yes_asks, no_asks) FROM STDIN"
        ) as copy:
            for ticker, ts, number, yes, no in snapshots:
                copy.write_row((session, ticker, ts, number, json.dumps(yes), json.dumps(no),
                                WRONG_ASKS, WRONG_ASKS))
        with connection.cursor().copy(
            "COPY rl_orderbook_deltas (session_id, market_ticker, timestamp_ms, "
            "sequence_number, side, action, price, old_size, new_size) FROM STDIN"
        ) as copy:
            for row in deltas:
                copy.write_row((session, *row))


def change(url: str, statement: str) -> None:
    """Change what is in the database."""
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def drawn(seed: int, markets: int, moments: int) -> tuple[list[Snapshot], list[Delta], dict]:
    """Return (snapshots, deltas, books at the end) of a session: a snapshot of each market, and
    then one level of one market changed at each moment.

    Books are {ticker: {(side, cents): contracts}}, kept here by nothing but a dict. Numbers count
    over the whole session.
    """
    rng = random.Random(seed)
    tickers = [f"KXSEED-{number:03d}" for number in range(markets)]
    books: dict[str, dict[tuple[str, int], int]] = {}
    snapshots: list[Snapshot] = []
    deltas: list[Delta] = []
    number = 0
    for ticker in tickers:
        middle = rng.randint(20, 80)
        yes = {middle - 1 - each: rng.randint(1, 500) for each in range(10)}
        no = {100 - middle - 1 - each: rng.randint(1, 500) for each in range(10)}
        books[ticker] = {**{("yes", price): size for price, size in yes.items()},
                         **{("no", price): size for price, size in no.items()}}
        number += 1
        snapshots.append((ticker, 1_764_547_200_000 + number, number, yes, no))
    for moment in range(moments):
        ticker = rng.choice(tickers)
        book = books[ticker]
        (side, price), old = rng.choice(list(book.items()))
        new = 0 if old and rng.random() < 0.2 else rng.randint(1, 500)
        action = "remove" if new == 0 else "update" if old else "add"
        number += 1
        deltas.append((ticker, 1_764_547_201_000 + 5 * moment, number, side, action, price, old,
                       new))
        book[side, price] = new
    return snapshots, deltas, books
