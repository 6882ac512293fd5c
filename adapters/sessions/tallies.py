"""What a recording adds up to, market by market, in integers that can be added over markets.

Every figure that `facts` reports is a ratio of these. Time is exchange time: the state after a
burst holds until the market's next burst, and nothing is assumed after its last row. docs/facts.md
has the formulas.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import numpy as np

from foldbook.engine.schema import TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.units import PRICE_ONE, SECOND

from . import windows
from .touch import touches

SILENCE_NS = 60 * SECOND
"""A time without any row of an open market is a silence if it is longer than this."""


def _no_counts() -> Counter[int]:
    return Counter()


@attrs.frozen
class Tally:
    """Counts of one market or of several together; times in ns, quantities in 0.01 contract.

    open_ns: not closed, not paused. trusted_ns, quoted_ns, silent_ns: parts of it. spreads: how
    long each spread ($0.0001) stood while trusted and quoted. crossed: bursts that pass through a
    crossed or locked book. backwards: rows of the book with a receipt before that of the row before
    them. placed: decreases that are no joined trade; guessed: those of them whose place is a guess
    or not known. first, last: ts of the ends, None without rows. longest_ns: the longest time
    between two bursts of an open market.
    """

    kinds: Counter[int] = attrs.field(factory=_no_counts)
    events: int = 0
    bursts: int = 0
    crossed: int = 0
    first: int | None = None
    last: int | None = None
    open_ns: int = 0
    paused_ns: int = 0
    trusted_ns: int = 0
    quoted_ns: int = 0
    silent_ns: int = 0
    silences: int = 0
    longest_ns: int = 0
    spreads: Counter[int] = attrs.field(factory=_no_counts)
    joined: int = 0
    blocks: int = 0
    volume: int = 0
    placed: int = 0
    guessed: int = 0
    book_rows: int = 0
    backwards: int = 0
    activity: windows.Activity = attrs.field(factory=windows.Activity)
    moves: windows.Moves = attrs.field(factory=windows.Moves)

    def __add__(self, other: Tally) -> Tally:
        mine, more = (attrs.asdict(each, recurse=False) for each in (self, other))
        added: dict[str, Any] = {
            name: mine[name] + more[name] for name in mine if name not in _EXTREMES
        }
        ends: dict[str, Any] = {
            name: pick(each[name] for each in (mine, more) if each[name] is not None)
            if mine[name] is not None or more[name] is not None else None
            for name, pick in _EXTREMES.items()
        }
        return Tally(**added, **ends)

    def count(self, kind: TapeKind) -> int:
        """Return how many rows of a kind there are."""
        return self.kinds[int(kind)]


_EXTREMES = {"first": min, "last": max, "longest_ns": max}


def tallies(session: Session) -> list[Tally]:
    """Return the tally of each market of a session, in their order."""
    rows = session.tape.rows
    if len(session.markets) > 1:
        rows = rows[np.argsort(rows["market"], kind="stable")]
    after = touches(rows, session.markets)
    stops = np.searchsorted(rows["market"], np.arange(len(session.markets) + 1))
    return [
        tally(rows[begin:stop], after[begin:stop])
        for begin, stop in zip(stops[:-1].tolist(), stops[1:].tolist(), strict=True)
    ]


def tally(rows: np.ndarray, after: np.ndarray) -> Tally:
    """Return what the rows of one market (TAPE_DTYPE, in order) add up to.

    after: the state after each row, as `touch.touches` gives it.
    """
    if not len(rows):
        return Tally()
    ts = np.ascontiguousarray(rows["ts"])
    ends = np.flatnonzero(np.append(ts[1:] != ts[:-1], True))
    kinds = np.bincount(rows["kind"], minlength=len(TapeKind))
    return Tally(
        kinds=Counter({kind: int(count) for kind, count in enumerate(kinds) if count}),
        events=len(rows),
        bursts=len(ends),
        crossed=_crossed(after, ends),
        first=int(ts[0]),
        last=int(ts[-1]),
        **_times(ts[ends], after[ends]),
        **_trades(rows),
        **_receipts(rows),
    )


def _times(ts: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Return all that depends on how long things stood; one entry of each array per burst."""
    stood = np.append(np.diff(ts), 0)
    live = ~after["closed"]
    is_open = live & ~after["paused"]
    trusted = is_open & after["trusted"]
    quoted = trusted & (after["bid"] > 0) & (after["ask"] < PRICE_ONE)
    spread = (after["ask"] - after["bid"])[quoted]
    held = np.zeros(PRICE_ONE + 1, np.int64)
    np.add.at(held, spread, stood[quoted])
    between = stood[trusted]
    silent = between[between > SILENCE_NS]
    return {
        "open_ns": int(stood[is_open].sum()),
        "paused_ns": int(stood[live & after["paused"]].sum()),
        "trusted_ns": int(between.sum()),
        "quoted_ns": int(held.sum()),
        "silent_ns": int(silent.sum()),
        "silences": len(silent),
        "longest_ns": int(between.max(initial=0)),
        "spreads": Counter({each: int(held[each]) for each in np.flatnonzero(held).tolist()}),
        "activity": windows.activity(ts, trusted),
        "moves": windows.moves(ts, after["bid"].astype(np.int64) + after["ask"], quoted),
    }


def _crossed(after: np.ndarray, ends: np.ndarray) -> int:
    """Return in how many bursts a trusted book is crossed or locked after some row."""
    crossed = after["trusted"] & (after["bid"] >= after["ask"]) & (after["bid"] > 0)
    starts = np.append(0, ends[:-1] + 1)
    return int(np.count_nonzero(np.logical_or.reduceat(crossed, starts)))


def _trades(rows: np.ndarray) -> dict[str, Any]:
    is_trade = rows["kind"] == TapeKind.TRADE
    is_joined = is_trade & (rows["flags"] & TapeFlag.JOINED != 0)
    traded = np.append(False, is_joined[:-1])
    placed = (rows["kind"] == TapeKind.DECREASE) & ~traded
    unknown = (rows["flags"] & TapeFlag.GUESSED != 0) | (rows["ahead"] < 0)
    return {
        "joined": int(np.count_nonzero(is_joined)),
        "blocks": int(np.count_nonzero(is_trade & (rows["flags"] & TapeFlag.BLOCK != 0))),
        "volume": int(rows["qty"][is_trade].sum()),
        "placed": int(np.count_nonzero(placed)),
        "guessed": int(np.count_nonzero(placed & unknown)),
    }


def _receipts(rows: np.ndarray) -> dict[str, Any]:
    """Return how many receipts of the book's rows fall. A trade may be told late: it counts not."""
    recv = rows["recv"][rows["kind"] != TapeKind.TRADE]
    return {
        "book_rows": len(recv),
        "backwards": int(np.count_nonzero(recv[1:] < recv[:-1])),
    }
