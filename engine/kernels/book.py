"""OrderBook: the recorded levels of every market, and what own fills took from them.

Folds every tape row, and of the journal what took displayed depth and what gave it back. What a row
means for own orders stands in `orders`.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inner
from ..schema import NO_TIME, MarketStatus, TapeFlag, TapeKind
from ..units import PRICE_ONE
from .layout import (
    ACCOUNT_END,
    BEST_BUY,
    CLOSES_AT,
    DESK_WORDS,
    DIRTY,
    DUE,
    DUE_ARRIVAL,
    DUE_EXPIRY,
    DUE_RESTORE,
    GRID_CENTRE,
    GRID_EDGE,
    GRID_WIDTH,
    LEVEL_WORDS,
    MAKER_PPM,
    MARKET_WORDS,
    MARKETS,
    MID2,
    OWN_BUY,
    PAID,
    PAUSE,
    PENDING,
    PENDING_SNAPSHOT,
    POSITION_WORDS,
    QTY,
    RECIPROCAL,
    RESTORE_AT,
    RESTORED_AFTER,
    STATUS,
    TAKEN,
    TAKER_PPM,
    TICK,
    TOP,
    TRADES,
    TRUSTED,
)

_SNAPSHOT = int(TapeKind.SNAPSHOT)
_SNAPSHOT_LEVEL = int(TapeKind.SNAPSHOT_LEVEL)
_TRADE = int(TapeKind.TRADE)
_STATUS = int(TapeKind.STATUS)
_GRID = int(TapeKind.GRID)
_FEE = int(TapeKind.FEE)
_GAP = int(TapeKind.GAP)
_CLOSE_TIME = int(TapeKind.CLOSE_TIME)
_OPEN = int(MarketStatus.OPEN)
_PAUSED = int(MarketStatus.PAUSED)
_CLOSED = int(MarketStatus.CLOSED)
_SETTLED = int(MarketStatus.SETTLED)
_INACTIVE = int(TapeFlag.INACTIVE)
_EXCHANGE = int(TapeFlag.EXCHANGE)
_VOID = int(TapeFlag.VOID)

QUIET, CLOSES, PAUSES, REACTIVATES = range(4)
"""What a row means for the own orders of its market, beside what happens to the book."""


@inner
def rank_of(state, base, side, price):
    """Return the rank of a price on a side's ladder."""
    level = (price * state[base + RECIPROCAL]) >> 32
    return level + side * (state[base + TOP] - 2 * level)


@inner
def price_of(state, base, side, rank):
    """Return the price at a rank; a missing best (rank 0) is bid 0 or ask one."""
    price = rank * state[base + TICK]
    return price + side * (PRICE_ONE - 2 * price)


@inner
def level_at(state, base, side, rank):
    """Return the offset of a level's words."""
    return base + MARKET_WORDS + LEVEL_WORDS * (side * (state[base + TOP] + 1) + rank)


@inner
def move_best(state, base, side, rank, left):
    """After a level at or above the best became `left`: find the best again."""
    level = level_at(state, base, side, rank)
    while left == 0 and rank > 0:
        rank -= 1
        level -= LEVEL_WORDS
        left = state[level + QTY]
    state[base + BEST_BUY + side] = rank
    state[DIRTY] = 1


@inner
def clear(state, base, with_taken):
    """Make every level zero; what own fills took is forgotten only `with_taken`."""
    first = level_at(state, base, 0, 0)
    for level in range(first, first + 2 * LEVEL_WORDS * (state[base + TOP] + 1), LEVEL_WORDS):
        state[level + QTY] = 0
        if with_taken:
            state[level + TAKEN] = 0
    state[base + BEST_BUY] = 0
    state[base + BEST_BUY + 1] = 0


@inner
def clip_taken(state, base):
    """After a snapshot: nothing can be taken that is not displayed."""
    first = level_at(state, base, 0, 0)
    for level in range(first, first + 2 * LEVEL_WORDS * (state[base + TOP] + 1), LEVEL_WORDS):
        if state[level + TAKEN] > state[level + QTY]:
            state[level + TAKEN] = state[level + QTY]


@inner
def fold_rare(state, base, row):
    """Fold a row of any kind but INCREASE and DECREASE; return QUIET or what it means for orders.

    Those two are nearly all of a tape, and concern queues too: see `loop.fold_level`.
    """
    kind = row["kind"]
    if kind == _SNAPSHOT_LEVEL:
        side = np.int64(row["side"])
        rank = rank_of(state, base, side, np.int64(row["price"]))
        level = level_at(state, base, side, rank)
        state[level + QTY] = row["qty"]
        state[level + TAKEN] = min(state[level + TAKEN], row["qty"])
        if rank > state[base + BEST_BUY + side]:
            state[base + BEST_BUY + side] = rank
    elif kind == _TRADE:
        state[base + TRADES] += 1
    elif kind == _SNAPSHOT:
        clear(state, base, False)
        state[base + TRUSTED] = 1
        state[base + PENDING] |= PENDING_SNAPSHOT
        state[DIRTY] = 1
    elif kind == _GAP:
        clear(state, base, True)
        _restore_at(state, base, NO_TIME)
        state[base + TRUSTED] = 0
        state[DIRTY] = 1
    elif kind == _GRID:
        state[base + GRID_CENTRE] = row["price"]
        state[base + GRID_EDGE] = row["ahead"]
        state[base + GRID_WIDTH] = row["qty"]
    elif kind == _FEE:
        state[base + TAKER_PPM] = row["qty"]
        state[base + MAKER_PPM] = row["ahead"]
    elif kind == _CLOSE_TIME:
        state[base + CLOSES_AT] = row["qty"]
    elif kind == _STATUS:
        return _set_status(state, base, row)
    return QUIET


@inner
def _set_status(state, base, row):
    status = row["qty"]
    previous = state[base + STATUS]
    state[DIRTY] = 1
    if status == _SETTLED:
        is_void = row["flags"] & _VOID != 0
        state[base + PAID] = 0 if is_void else row["price"]
        if not is_void:
            state[base + MID2] = 2 * row["price"]
    if previous >= _CLOSED:
        if status >= _CLOSED and previous != _SETTLED:
            state[base + STATUS] = status
        return QUIET
    state[base + STATUS] = status
    if status == _PAUSED:
        kept = state[base + PAUSE] & _INACTIVE
        state[base + PAUSE] = kept | (np.int64(row["flags"]) & (_INACTIVE | _EXCHANGE))
        return PAUSES
    if status == _OPEN:
        was_inactive = state[base + PAUSE] & _INACTIVE
        state[base + PAUSE] = 0
        return REACTIVATES if was_inactive else QUIET
    clear(state, base, True)
    _restore_at(state, base, NO_TIME)
    return CLOSES


@inner
def give_back(state, base):
    """Fold a restoration: what own fills took is displayed again.

    Except where an own order of the other side would match it: that quote is ours to have had.
    """
    top = state[base + TOP]
    for side in range(2):
        # Nothing is taken behind the recorded best.
        rank = min(state[base + BEST_BUY + side], top - 1 - state[base + OWN_BUY + 1 - side])
        level = level_at(state, base, side, rank)
        while rank > 0:
            state[level + TAKEN] = 0
            rank -= 1
            level -= LEVEL_WORDS
    _restore_at(state, base, NO_TIME)


@inner
def _restore_at(state, base, ts):
    """Set when what own fills took in a market is given back."""
    if state[base + RESTORE_AT] == ts:
        return
    state[base + RESTORE_AT] = ts
    due = NO_TIME
    for market in range(state[MARKETS]):
        due = min(due, state[base_of(state, market) + RESTORE_AT])
    state[DUE_RESTORE] = due
    set_due(state)


@inner
def set_due(state):
    """Note what is due next: an expiry, an arrival or a restoration."""
    state[DUE] = min(state[DUE_EXPIRY], state[DUE_ARRIVAL], state[DUE_RESTORE])


@inner
def visible_at(state, base, side, rank):
    """Return the quantity of a level that can be seen and matched against."""
    level = level_at(state, base, side, rank)
    return state[level + QTY] - state[level + TAKEN]


@inner
def visible_best(state, base, side, rank):
    """Return the highest rank at or below `rank` with visible quantity; 0 if there is none."""
    level = level_at(state, base, side, rank)
    while rank > 0 and state[level + QTY] == state[level + TAKEN]:
        rank -= 1
        level -= LEVEL_WORDS
    return rank


@inner
def take(state, base, side, qty, ts):
    """Take `qty` of the visible depth of a side at `ts`, best level first, into own hands."""
    if state[RESTORED_AFTER] > 0:
        _restore_at(state, base, ts + state[RESTORED_AFTER])
    rank = visible_best(state, base, side, state[base + BEST_BUY + side])
    while qty > 0 and rank > 0:
        level = level_at(state, base, side, rank)
        part = min(qty, state[level + QTY] - state[level + TAKEN])
        state[level + TAKEN] += part
        qty -= part
        rank = visible_best(state, base, side, rank)


@inner
def on_grid(state, base, price):
    """Whether an order may be priced at `price` now (SPEC 1.6; 0 and one are refused)."""
    if price <= 0 or price >= PRICE_ONE:
        return False
    width = state[base + GRID_WIDTH]
    edge = price < width or price > PRICE_ONE - width
    step = state[base + GRID_EDGE] if edge else state[base + GRID_CENTRE]
    return price % step == 0


@inner
def is_live(state, base):
    """Whether the market has a book that can be marked: trusted, and not closed."""
    return state[base + TRUSTED] == 1 and state[base + STATUS] < _CLOSED


@inner
def base_of(state, market):
    """Return the offset of a market's words."""
    return state[table_of(state) + market]


@inner
def table_of(state):
    """Return the offset of the table of market bases."""
    return ACCOUNT_END + (POSITION_WORDS + DESK_WORDS) * state[MARKETS]
