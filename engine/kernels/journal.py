"""Publishing journal rows: the only place where one is written, numbered and folded.

A row is drafted with its cause, filled in by `matching`, and published: from then on it is a fact,
and each projection folds it. Folding needs nothing but the row, so a journal that is read back
rebuilds the same state (`loop.rebuild`).
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import NO_MARKET, CauseKind, JournalKind, OrderFlag
from .book import base_of, price_of, take
from .layout import (
    ACCOUNT_ROWS,
    CLIENT,
    CURSOR,
    DIRTY,
    EXPIRES,
    FLAGS,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    JOURNAL_ROWS,
    LEFT,
    NOW,
    NUMBER,
    RANK,
    SEEN,
    SIDE,
    TIF,
    TOTAL,
)
from .orders import apply_order, slot_at
from .positions import apply_position

_FILL = int(JournalKind.FILL)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)


@inner
def draft(run, market, kind, cause):
    """Return the next journal row, blank but for its kind, time, market and cause."""
    state = run.state
    row = run.rows[state[JOURNAL_COUNT] - state[JOURNAL_BASE]]
    row["ts"] = state[NOW]
    row["qty"] = 0
    row["left"] = 0
    row["cash"] = 0
    row["fee"] = 0
    row["reserved"] = 0
    row["ahead"] = 0
    row["claim"] = 0
    row["expires"] = 0
    row["client_id"] = 0
    row["guessed"] = 0
    row["carry"] = 0
    row["group"] = 0
    row["order"] = 0
    row["price"] = 0
    row["market"] = market
    row["kind"] = kind
    row["reason"] = 0
    row["side"] = 0
    row["tif"] = 0
    row["flags"] = 0
    row["liquidity"] = 0
    row["evidence"] = 0
    row["cause_kind"] = cause[0]
    row["cause_market"] = cause[1]
    row["cause_row"] = cause[2]
    return row


@inner
def describe(row, state, base, slot):
    """Write the open order in `slot` into a drafted row."""
    at = slot_at(state, base, slot)
    row["order"] = state[at + NUMBER]
    row["side"] = state[at + SIDE]
    row["price"] = price_of(state, base, state[at + SIDE], state[at + RANK])
    row["qty"] = state[at + TOTAL]
    row["left"] = state[at + LEFT]
    row["tif"] = state[at + TIF]
    row["flags"] = state[at + FLAGS]
    row["expires"] = state[at + EXPIRES]
    row["client_id"] = state[at + CLIENT]


@inner
def publish(run):
    """Number the drafted row, fold it into every projection, and return it as a cause."""
    state = run.state
    at = state[JOURNAL_COUNT] - state[JOURNAL_BASE]
    row = run.rows[at]
    market = row["market"]
    if market == NO_MARKET:
        number = state[ACCOUNT_ROWS]
    else:
        number = state[base_of(state, market) + JOURNAL_ROWS]
    row["row"] = number
    run.places[at] = state[CURSOR]
    state[SEEN] |= 1 << (16 + row["kind"])
    apply_journal(state, row)
    return (_CAUSE_JOURNAL, market, number)


@inner
def apply_journal(state, row):
    """Fold one journal row into every projection."""
    state[JOURNAL_COUNT] += 1
    market = row["market"]
    if market == NO_MARKET:
        state[ACCOUNT_ROWS] += 1
    else:
        base = base_of(state, market)
        state[base + JOURNAL_ROWS] += 1
        if row["kind"] <= _FILL:
            if row["kind"] == _FILL and row["flags"] & _TAKES_DEPTH:
                take(state, base, 1 - row["side"], row["qty"])
            apply_order(state, base, row)
    apply_position(state, row)
    if row["cash"] != 0 or row["kind"] == _FILL:
        state[DIRTY] = 1
