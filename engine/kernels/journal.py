"""Publishing journal rows: the only place where one is written, numbered and folded.

A row is drafted with its cause, filled in by whoever matches or answers (`fills`, `commands`,
`walks`), and published: from then on it is a fact, and each projection folds it. Folding needs
nothing but the row, so a journal that is read back rebuilds the same state (`loop.rebuild`).
"""

from __future__ import annotations

import numpy as np

from ..compiled import inner
from ..schema import NO_MARKET, ORDER_REQUESTS, CauseKind, JournalKind, OrderFlag, Reason
from .book import base_of, give_back, price_of, set_due, take, visible_best
from .desks import desk_at, use
from .flights import land, take_off
from .groups import apply_group, apply_grouped_fill
from .layout import (
    ACCOUNT,
    ACCOUNT_ROWS,
    ACCOUNTS,
    ANSWERS,
    BEST_BUY,
    CLIENT,
    CURSOR,
    DIRTY,
    EXPIRES,
    FLAGS,
    FLIGHT_COUNT,
    GROUP,
    HAPPENED,
    HELD,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    JOURNALED,
    KILLED,
    LEFT,
    NOW,
    NUMBER,
    NUMBERS,
    RANK,
    REQUESTS,
    SIDE,
    SIGHT,
    TIF,
    TOTAL,
)
from .orders import apply_order, move_up, slot_at
from .positions import apply_position
from .risk import apply_tokens

_SUBMITTED = int(JournalKind.SUBMITTED)
_FILL = int(JournalKind.FILL)
_CANCELED = int(JournalKind.CANCELED)
_RESTORED = int(JournalKind.RESTORED)
_MISSED = int(JournalKind.MISSED)
_KILL_SET = int(JournalKind.KILL_SET)
_CASH_MOVED = int(JournalKind.CASH_MOVED)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)
_USER = int(Reason.USER)
_AMENDED_TO_FILLED = int(Reason.AMENDED_TO_FILLED)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)
_ORDER_REQUESTS = sum(1 << kind for kind in ORDER_REQUESTS)
_ANSWERS = (
    1 << JournalKind.ACCEPTED
    | 1 << JournalKind.REJECTED
    | 1 << JournalKind.AMENDED
    | 1 << JournalKind.AMEND_REJECTED
    | 1 << JournalKind.CANCEL_REJECTED
)
"""Bit sets of JournalKind; CANCELED answers a request if it is for one of two reasons."""
_BEGINNINGS = _ORDER_REQUESTS | 1 << JournalKind.EXPIRED | 1 << JournalKind.RESTORED


@inner
def draft(run, market, kind, cause):
    """Return the next journal row, blank but for its kind, time, account, market and cause."""
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
    row["arrives"] = 0
    row["client_id"] = 0
    row["guessed"] = 0
    row["carry"] = 0
    row["group"] = 0
    row["account"] = state[ACCOUNT]
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
    row["group"] = state[at + GROUP]


@inner
def publish(run):
    """Number the drafted row, fold it into every projection, and return it as a cause."""
    state = run.state
    at = state[JOURNAL_COUNT] - state[JOURNAL_BASE]
    row = run.rows[at]
    market = np.int64(row["market"])
    if market == NO_MARKET:
        number = state[ACCOUNT_ROWS]
    else:
        number = state[base_of(state, market) + JOURNALED]
    row["row"] = number
    run.places[at] = state[CURSOR]
    state[HAPPENED] |= 1 << (16 + np.int64(row["kind"]))
    apply_journal(state, row)
    return (_CAUSE_JOURNAL, market, number)


@inner
def is_request(kind):
    """Whether rows of a kind are commands that were sent."""
    return (_ORDER_REQUESTS >> kind) & 1 == 1


@inner
def begins(row):
    """Whether nothing that was still going on can have written a row: what came before is over."""
    kind = np.int64(row["kind"])
    return (_BEGINNINGS >> kind) & 1 == 1 or _is_answer(kind, row["reason"])


@inner
def _is_answer(kind, reason):
    if kind == _CANCELED:
        return reason == _USER or reason == _AMENDED_TO_FILLED
    return (_ANSWERS >> kind) & 1 == 1


@inner
def apply_journal(state, row):
    """Fold one journal row into every projection; leaves its account in use."""
    use(state, np.int64(row["account"]))
    state[JOURNAL_COUNT] += 1
    market = np.int64(row["market"])
    kind = np.int64(row["kind"])
    if market == NO_MARKET:
        state[ACCOUNT_ROWS] += 1
        if kind == _KILL_SET:
            state[KILLED] = row["qty"]
        elif kind != _CASH_MOVED:
            apply_group(state, row)
    else:
        base = base_of(state, market)
        state[base + JOURNALED] += 1
        if is_request(kind):
            _apply_request(state, base, row)
            return
        if kind == _RESTORED:
            give_back(state, base)
        elif kind == _MISSED:
            take(state, base, 1 - row["side"], row["qty"], row["ts"])
        elif kind <= _FILL:
            if kind == _FILL and row["flags"] & _TAKES_DEPTH:
                _take_depth(state, base, row)
            apply_order(state, base, row)
            if kind == _FILL and row["group"] > 0:
                apply_grouped_fill(state, row)
        _apply_answer(state, kind, row)
    apply_position(state, row)
    if row["cash"] != 0 or kind == _FILL or kind == _MISSED:
        state[DIRTY] = 1


@inner
def _apply_request(state, base, row):
    """Fold a request: it is on its way, unless it arrives at once; a new order has its number."""
    desk = desk_at(state, np.int64(row["market"]))
    state[desk + REQUESTS] += 1
    if row["kind"] == _SUBMITTED:
        state[base + NUMBERS] = row["order"]
        state[desk + HELD] += 1
    if state[SIGHT] != 0 or row["arrives"] > row["ts"]:
        take_off(state, row)
    set_due(state)


@inner
def _take_depth(state, base, row):
    """Fold a fill that consumed displayed depth: of the best level, as each such fill does."""
    against = 1 - np.int64(row["side"])
    if state[ACCOUNTS] > 1:
        best = visible_best(state, base, against, state[base + BEST_BUY + against])
        move_up(state, base, against, best, row["qty"])
    take(state, base, against, row["qty"], row["ts"])


@inner
def _apply_answer(state, kind, row):
    """Fold an answer, if a row is one: its command is on its way no more, and took its tokens."""
    if _is_answer(kind, row["reason"]):
        state[desk_at(state, np.int64(row["market"])) + ANSWERS] += 1
        if state[FLIGHT_COUNT] > 0:
            land(state, row["market"], row["cause_row"])
        apply_tokens(state, row)
    set_due(state)
