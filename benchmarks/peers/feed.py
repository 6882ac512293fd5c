"""The feed that all systems get: one generated market, as a session for us and columns for others.

The session is a stretch of a synthetic one without its settled end, in which every feed delay is
FEED_DELAY. Columns say of each level both the change and what it comes to, so that a system may be
fed either way; the final book is counted from the changes alone, and every driver is held to it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foldbook.adapters import sessions, synthetic
from foldbook.engine import Session, Side, Tape, TapeKind
from foldbook.engine.units import MILLISECOND

FEED_DELAY = MILLISECOND
SEED = 7
EVENTS_PER_MINUTE = 8_400
"""140 a second, so that a step of 100 ms is about 14 events."""
CENT = 100
_LEVEL_KINDS = (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE)
SNAPSHOT, CHANGE, TRADE = range(3)
"""Kinds of a record, as drivers read them."""


def make(folder: Path, events: int) -> Path:
    """Write the session and the columns of about `events` records; return the columns' file.

    What is there already is left as it is: the name says the size, and the seed is fixed.
    """
    return write(folder, f"feed-{events}", lambda: session(events))


def write(folder: Path, name: str, make_session: Callable[[], Session]) -> Path:
    """Write a session and its columns under a name that says what is in it, unless it is there."""
    columns = folder / f"{name}.npz"
    if columns.exists():
        return columns
    folder.mkdir(parents=True, exist_ok=True)
    made, target = make_session(), folder / name
    if not target.exists():
        sessions.save(made, target)
    part = columns.with_suffix(".part.npz")
    arrays: dict[str, Any] = columns_of(made)
    np.savez(part, **arrays)
    part.replace(columns)
    return columns


def load(columns: Path) -> dict[str, np.ndarray]:
    """Return the columns that `make` has written, as `columns_of` says."""
    with np.load(columns) as file:
        return {name: file[name] for name in file.files}


def session(events: int) -> Session:
    """Return the first rows of a synthetic session, cut after a burst, before its end is known."""
    made = uncut(events)
    rows = made.tape.rows
    end = int(np.searchsorted(rows["ts"], rows["ts"][events], side="left"))
    rows = rows[:end].copy()
    rows["recv"] = rows["ts"] + FEED_DELAY
    return Session(Tape(rows), made.markets, name=f"feed-{events}")


def uncut(events: int) -> Session:
    """Return the synthetic session that the feed of this size is a stretch of."""
    return synthetic.session(
        seed=SEED,
        events=events * 21 // 20 + 300,
        minutes=max(1, events // EVENTS_PER_MINUTE),
        volatility=0.5,
        settle=False,
    )


def columns_of(session: Session) -> dict[str, np.ndarray]:
    """Return the records of the only market as columns.

    ts, recv: ns, int64. kind: SNAPSHOT, CHANGE, TRADE. side: of the ladder, 0 bids and 1 asks; of
    a trade that of its taker, 0 buys. price: cents. change: of the level, 0.01 contract; level:
    what it is after the record; of a trade both are its quantity. bids, asks: the final book by
    cents, int64, shape (101,). rows: tape row of each record.
    """
    rows = session.tape.rows
    kinds = rows["kind"]
    picked = np.flatnonzero(np.isin(kinds, (*_LEVEL_KINDS, TapeKind.TRADE)))
    rows = rows[picked]
    is_trade = rows["kind"] == TapeKind.TRADE
    kind = np.where(is_trade, TRADE, CHANGE)
    kind[rows["kind"] == TapeKind.SNAPSHOT_LEVEL] = SNAPSHOT
    price = rows["price"] // CENT
    assert (price * CENT == rows["price"]).all(), "a price is no whole cent"
    change = np.where(rows["kind"] == TapeKind.DECREASE, -rows["qty"], rows["qty"])
    side = np.where(is_trade, 1 - rows["side"], rows["side"])
    level = _levels_after(rows["side"], price, np.where(is_trade, 0, change))
    book = np.zeros((2, 101), np.int64)
    np.add.at(book, (rows["side"][~is_trade], price[~is_trade]), change[~is_trade])
    return {
        "ts": rows["ts"],
        "recv": rows["recv"],
        "kind": kind.astype(np.uint8),
        "side": side.astype(np.uint8),
        "price": price.astype(np.uint8),
        "change": change,
        "level": np.where(is_trade, rows["qty"], level),
        "rows": picked,
        "bids": book[Side.BUY],
        "asks": book[Side.SELL],
    }


def _levels_after(side: np.ndarray, price: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return what each record's level holds after it, by sums over each level of its own."""
    key = side.astype(np.int64) * 101 + price
    order = np.argsort(key, kind="stable")
    sums = np.cumsum(change[order])
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    before = np.repeat(sums[starts] - change[order][starts], np.diff(starts, append=len(order)))
    after = np.empty(len(order), np.int64)
    after[order] = sums - before
    return after


