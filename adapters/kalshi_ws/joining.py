"""Trades and the decreases that they caused: they arrive on two subscriptions, in either order.

A trade that belongs to no decrease is known to only when none can come any more.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import compiled
from foldbook.engine.schema import TAPE_DTYPE, TapeFlag, TapeKind
from foldbook.engine.units import MILLISECOND, SECOND

from .messages import BLOCK_TRADE, NO_TS

JOIN_WINDOW = 2 * SECOND
"""Receive time for which a trade waits for its decrease, and a crossed burst for its end, ns."""


def with_trades(
    book: np.ndarray, messages: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, int, np.ndarray]:
    """Return (rows with trades, number joined, trades before the first snapshot)."""
    trades = messages[at]
    rows = np.zeros(len(trades), TAPE_DTYPE)
    rows["kind"] = TapeKind.TRADE
    for field in ("qty", "price", "side"):
        rows[field] = trades[field]
    decreases = np.flatnonzero(book["kind"] == TapeKind.DECREASE)
    block = (trades["flags"] & BLOCK_TRADE) != 0
    matched = _join(book[decreases], trades, block)
    has = matched >= 0
    places = np.empty(len(trades), np.int64)
    places[has] = decreases[matched[has]]
    mates = book[places[has]]
    rows["ts"][has] = mates["ts"]
    rows["recv"][has] = np.maximum(mates["recv"], trades["recv"][has])
    rows["flags"][has] = TapeFlag.JOINED
    alone = ~has
    stamps = np.where(trades["ts"] == NO_TS, trades["recv"], trades["ts"])
    rows["ts"][alone] = stamps[alone]
    anchor = int(np.argmax(book["kind"] == TapeKind.SNAPSHOT)) if len(book) else 0
    rows["recv"][alone] = np.maximum(
        trades["recv"][alone] + np.where(block[alone], 0, JOIN_WINDOW), book["recv"][anchor]
    )
    rows["flags"][alone] = TapeFlag.UNJOINED
    rows["flags"][block] |= TapeFlag.BLOCK
    places[alone] = np.searchsorted(book["ts"], rows["ts"][alone], side="right")
    late = alone & (rows["ts"] < book["ts"][0])
    order = np.concatenate([np.flatnonzero(alone & ~late), np.flatnonzero(has)])
    alone_order = order[: int(np.count_nonzero(alone & ~late))]
    order[: len(alone_order)] = alone_order[np.argsort(rows["ts"][alone_order], kind="stable")]
    return np.insert(book, places[order], rows[order]), int(has.sum()), at[late]


def _join(decreases: np.ndarray, trades: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return for each trade the index of its decrease, or -1.

    One to one among those with the same (ts_ms, maker side, price, qty), in order of arrival, and
    within JOIN_WINDOW of each other's receipt (SPEC 1.4, 2.1).
    """
    matched = np.full(len(trades), -1, np.int64)
    wanted = np.unique(trades["ts"][~block])
    millis = decreases["ts"] // MILLISECOND * MILLISECOND
    spots = np.minimum(np.searchsorted(wanted, millis), max(len(wanted) - 1, 0))
    if not len(wanted):
        return matched
    near = np.flatnonzero(wanted[spots] == millis)
    open_trades = np.flatnonzero(~block)
    sides = (decreases[near], trades[open_trades])
    keys = [np.concatenate([part[field].astype(np.int64) for part in sides])
            for field in ("qty", "price", "side")]
    keys.append(np.concatenate([millis[near], trades["ts"][open_trades]]))
    recv = np.concatenate([part["recv"] for part in sides])
    order = np.lexsort((np.arange(len(recv)), *keys))
    same = np.ones(len(order), np.bool_)
    same[0] = False
    for key in keys:
        same[1:] &= key[order[1:]] == key[order[:-1]]
    pairs = np.full(len(open_trades), -1, np.int64)
    pair_up(order, same, recv, len(near), JOIN_WINDOW, pairs)
    found = pairs >= 0
    matched[open_trades[found]] = near[pairs[found]]
    return matched


@compiled
def pair_up(order, same, recv, decreases, window, pairs):  # type: ignore[no-untyped-def]
    """Pair trades and decreases of one key, first come first served.

    order: indices sorted by key, decreases (below `decreases`) before trades, each in order of
    arrival. same: whether the key is that of the index before. pairs: filled, per trade.
    """
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and same[end]:
            end += 1
        split = begin
        while split < end and order[split] < decreases:
            split += 1
        left = begin
        right = split
        while left < split and right < end:
            difference = recv[order[left]] - recv[order[right]]
            if difference > window:
                right += 1
            elif difference < -window:
                left += 1
            else:
                pairs[order[right] - decreases] = order[left]
                left += 1
                right += 1
        begin = end
