"""The bus: one total order over tape and journal, run to completion.

`advance` folds bursts of the tape, lets `matching` publish what they mean for own orders, and
stops at the next moment that somebody wants to see. `rebuild` folds a tape and a finished journal
without matching anything. The order of things at one moment is decided here and nowhere else:
expiries that lie before it, the rows of the burst, what they cause, the end of the burst, the
decision.
"""

from __future__ import annotations

import numpy as np

from ..compiled import entry, inner
from ..schema import (
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    Mark,
    MarketStatus,
    TapeFlag,
    TapeKind,
)
from .book import base_of, clip_taken, level_at, move_best, rank_of
from .book import fold_rare as fold_book
from .journal import apply_journal, draft, publish
from .layout import (
    BEST_BUY,
    BEST_SELL,
    CURSOR,
    DIRTY,
    DUE,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    LEVEL_WORDS,
    MARK_MODE,
    MIDWAY,
    NOW,
    OWN,
    OWN_BUY,
    OWN_SELL,
    PEAK,
    PENDING,
    PENDING_CROSS,
    PENDING_SNAPSHOT,
    QTY,
    RECIPROCAL,
    ROWS,
    SEEN,
    SETTLED,
    STATUS,
    TAKEN,
    TOP,
    TRUSTED,
    WATCH,
    WATCH_MARKET,
)
from .matching import close_market, expire_next, match_quotes, match_trade, settle
from .orders import clip_ahead, clip_places, lose_places, traded
from .reward import portfolio_value, revalue

REACHED, FULL, WATCHED = range(3)
"""Why an advance returned: it came to its limit, the journal buffer is full, or something that was
watched for happened."""

_INCREASE = int(TapeKind.INCREASE)
_DECREASE = int(TapeKind.DECREASE)
_SNAPSHOT_LEVEL = int(TapeKind.SNAPSHOT_LEVEL)
_TRADE = int(TapeKind.TRADE)
_GAP = int(TapeKind.GAP)
_STATUS_KIND = int(TapeKind.STATUS)
_OFF_RECORD = int(TapeFlag.UNJOINED | TapeFlag.BLOCK)
_OPEN = int(MarketStatus.OPEN)
_CASH_MOVED = int(JournalKind.CASH_MOVED)
_SUBMITTED = int(JournalKind.SUBMITTED)
_EXPIRED = int(JournalKind.EXPIRED)
_AMEND_REQUESTED = int(JournalKind.AMEND_REQUESTED)
_CANCEL_REQUESTED = int(JournalKind.CANCEL_REQUESTED)
_CAUSE_START = int(CauseKind.START)
_CLOSE = int(Mark.CLOSE)
_JOURNAL_BIT = 1 << 16
_LEVEL_BITS = 1 << _INCREASE | 1 << _DECREASE


@entry
def start(run, ts, cash):
    """Open the account: the first journal row of every run."""
    state = run.state
    state[NOW] = ts
    row = draft(run, NO_MARKET, _CASH_MOVED, (_CAUSE_START, NO_MARKET, 0))
    row["cash"] = cash
    publish(run)
    state[PEAK] = portfolio_value(state)
    state[DIRTY] = 0


@inner
def fold_level(state, base, kind, side, price, qty):
    """Fold an INCREASE or DECREASE into the book and into the queues of own orders.

    Both kinds take one path, since no processor can guess which of them comes next.
    """
    top = state[base + TOP]
    rank = rank_of(state, base, side, price)
    level = level_at(state, base, side, rank)
    left = state[level + QTY] + qty * (_INCREASE + _DECREASE - 2 * kind)
    state[level + QTY] = left
    best = state[base + BEST_BUY + side]
    if rank >= best and (left == 0 or rank > best):
        move_best(state, base, side, rank, left)
    if state[level + TAKEN] | state[level + OWN] != 0:
        state[level + TAKEN] = min(state[level + TAKEN], left)
        clip_ahead(state, base, side, rank, left)
    if rank + state[base + OWN_BUY + 1 - side] >= top and kind == _INCREASE:
        state[base + PENDING] |= PENDING_CROSS


@inner
def fold_quiet(state, tape, i, stop, limit):
    """Fold level changes from row `i` on that concern nobody, and return the row where it ended.

    That is: rows of one market, before row `stop` and with ts <= `limit`, that change no best
    price and no level with own orders or takings on it, and cross no own order. They are more than
    nine in ten, so this loop is the speed of the engine; what it does is `fold_level` and nothing
    else. Offsets are unsigned, which spares a test for negative indices at each access.
    """
    market = tape[i]["market"]
    base = base_of(state, np.int64(market))
    top = state[base + TOP]
    reciprocal = state[base + RECIPROCAL]
    levels = level_at(state, base, 0, 0)
    best_buy = state[base + BEST_BUY]
    best_sell = state[base + BEST_SELL]
    cross_buy = top - state[base + OWN_SELL]
    cross_sell = top - state[base + OWN_BUY]
    first = i
    while i < stop:
        row = tape[np.uint64(i)]
        kind = np.int64(row["kind"])
        if row["ts"] > limit or row["market"] != market:
            break
        if kind != _INCREASE and kind != _DECREASE:
            break
        side = np.int64(row["side"])
        rank = (np.int64(row["price"]) * reciprocal) >> 32
        rank += side * (top - 2 * rank)
        level = levels + LEVEL_WORDS * (side * (top + 1) + rank)
        left = state[np.uint64(level)] + row["qty"] * (_INCREASE + _DECREASE - 2 * kind)
        best = best_sell if side else best_buy
        cross = cross_sell if side else cross_buy
        if (rank > best) | (rank >= cross) | ((rank == best) & (left == 0)):
            break
        if state[np.uint64(level + TAKEN)] | state[np.uint64(level + OWN)] != 0:
            break
        state[np.uint64(level)] = left
        i += 1
    if i > first:
        state[base + ROWS] += i - first
        state[CURSOR] = i
        state[NOW] = tape[i - 1]["ts"]
    return i


@inner
def fold_rare(state, base, kind, row):
    """Fold a row of any other kind into the book and the queues; return 1 if the market closed."""
    closed = fold_book(state, base, row)
    side = np.int64(row["side"])
    rank = rank_of(state, base, side, np.int64(row["price"]))
    if kind == _TRADE:
        if row["flags"] & _OFF_RECORD == 0 and _can_match(state, base):
            traded(state, base, side, rank, row["qty"])
    elif kind == _SNAPSHOT_LEVEL:
        if rank + state[base + OWN_BUY + 1 - side] >= state[base + TOP]:
            state[base + PENDING] |= PENDING_CROSS
    elif kind == _GAP:
        lose_places(state, base)
    elif kind == _STATUS_KIND and row["qty"] == _OPEN:
        state[base + PENDING] |= PENDING_CROSS
    return closed


@inner
def _same_burst(tape, i):
    """Whether row `i` continues the burst of the row before it."""
    return (tape[i]["ts"] == tape[i - 1]["ts"]) & (tape[i]["market"] == tape[i - 1]["market"])


@inner
def _can_match(state, base):
    return state[base + STATUS] == _OPEN and state[base + TRUSTED] == 1


@inner
def _play_rare(run, base, market, kind, row):
    """Match own orders against a row that is not a level change, then fold it."""
    state = run.state
    if kind == _TRADE and row["flags"] & _OFF_RECORD == 0:
        side = np.int64(row["side"])
        rank = rank_of(state, base, side, np.int64(row["price"]))
        if state[base + OWN_BUY + side] >= rank and _can_match(state, base):
            match_trade(run, market, side, rank, row["qty"])
    was_settled = state[base + SETTLED]
    if fold_rare(state, base, kind, row) == 1:
        close_market(run, market)
    if was_settled == 0 and state[base + SETTLED] == 1:
        settle(run, market, np.int64(row["price"]))


@inner
def _end_snapshot(state, base):
    """At the end of a burst with a snapshot: claims and takings cannot exceed what is displayed."""
    if state[base + PENDING] & PENDING_SNAPSHOT:
        clip_taken(state, base)
        clip_places(state, base)
    state[base + PENDING] = 0


@inner
def _end_burst(run, base, market):
    """Match quotes that crossed own orders, then value the portfolio."""
    state = run.state
    pending = state[base + PENDING]
    if pending != 0:
        _end_snapshot(state, base)
        if pending & PENDING_CROSS and _can_match(state, base):
            match_quotes(run, market)
    revalue(state, base, market)


@inner
def has_room(run, rows):
    """Whether the journal buffer has room for so many rows."""
    state = run.state
    return state[JOURNAL_COUNT] - state[JOURNAL_BASE] + rows <= len(run.rows)


@entry
def advance(run, tape, limit, stop, slack):
    """Fold whole bursts with ts <= `limit` until at least `stop` rows are applied.

    The buffer must have room for `slack` rows (layout.slack) at the call. Returns REACHED, FULL
    (empty the buffer and call again), or WATCHED at the end of a burst in which something of WATCH
    happened in WATCH_MARKET. When the limit was reached, what is due before it has expired.
    """
    state = run.state
    end = len(tape)
    i = state[CURSOR]
    midway = state[MIDWAY] == 1
    state[MIDWAY] = 0
    watch = state[WATCH]
    only = state[WATCH_MARKET]
    deep = 1 if state[MARK_MODE] == _CLOSE else 0
    if not midway:
        state[SEEN] = 0
    quiet = watch & _LEVEL_BITS == 0 and deep == 0
    while i < end:
        if quiet and not midway:
            i = fold_quiet(state, tape, i, min(stop, end), min(limit, state[DUE]))
            if i == end:
                break
            midway = i > 0 and _same_burst(tape, i)
        row = tape[i]
        ts = row["ts"]
        market = np.int64(row["market"])
        kind = np.int64(row["kind"])
        # Half of all rows start a burst, at random: so the rare question is always asked first.
        if ts > limit:
            break
        if i >= stop and not midway:
            return REACHED
        while state[DUE] < ts:
            expire_next(run)
            if state[SEEN] & watch != 0:
                return WATCHED
            if not has_room(run, slack):
                return FULL
        state[NOW] = ts
        base = base_of(state, market)
        state[base + ROWS] += 1
        i += 1
        state[CURSOR] = i
        rare = kind != _INCREASE and kind != _DECREASE
        if rare:
            _play_rare(run, base, market, kind, row)
        else:
            side = np.int64(row["side"])
            fold_level(state, base, kind, side, np.int64(row["price"]), row["qty"])
        if watch != 0:
            state[SEEN] |= 1 << kind
        midway = False
        if i < end:
            midway = _same_burst(tape, i)
        if (state[base + PENDING] | state[DIRTY] | deep) != 0 and not midway:
            _end_burst(run, base, market)
            rare = True
        seen = state[SEEN] & watch
        if seen != 0 and not midway:
            if only == -1 or only == market or seen >= _JOURNAL_BIT:
                return WATCHED
            state[SEEN] = 0
        if rare and not has_room(run, slack):
            state[MIDWAY] = 1 if midway else 0
            return FULL
    if limit != NO_TIME:
        while state[DUE] < limit:
            expire_next(run)
            if state[SEEN] & watch != 0:
                return WATCHED
            if not has_room(run, slack):
                return FULL
        if state[NOW] < limit:
            state[NOW] = limit
    return REACHED


@entry
def rebuild(state, tape, rows, places, stop):
    """Fold tape rows up to `stop` and the journal rows placed among them; match nothing.

    The journal starts with the first row that the state has not seen. Leaves the state of the run
    that wrote it, and returns how many journal rows were folded.
    """
    deep = state[MARK_MODE] == _CLOSE
    i = state[CURSOR]
    j = 0
    last = np.int64(0)
    while True:
        while j < len(rows) and places[j] == i:
            row = rows[j]
            kind = row["kind"]
            request = kind == _SUBMITTED or kind == _AMEND_REQUESTED or kind == _CANCEL_REQUESTED
            if (request or kind == _EXPIRED) and i > 0 and (state[DIRTY] != 0 or deep):
                revalue(state, base_of(state, last), last)
            state[NOW] = max(state[NOW], row["ts"])
            apply_journal(state, row)
            j += 1
            if kind == _CASH_MOVED:
                state[PEAK] = max(state[PEAK], portfolio_value(state))
                state[DIRTY] = 0
            else:
                last = np.int64(row["market"])
        midway = 0 < i < len(tape) and _same_burst(tape, i)
        if not midway and i > 0 and (state[DIRTY] != 0 or deep):
            revalue(state, base_of(state, last), last)
        if i >= stop or i >= len(tape):
            return j
        row = tape[i]
        last = np.int64(row["market"])
        kind = np.int64(row["kind"])
        base = base_of(state, last)
        state[NOW] = max(state[NOW], row["ts"])
        state[base + ROWS] += 1
        i += 1
        state[CURSOR] = i
        if kind == _INCREASE or kind == _DECREASE:
            side = np.int64(row["side"])
            fold_level(state, base, kind, side, np.int64(row["price"]), row["qty"])
        else:
            fold_rare(state, base, kind, row)
        if (i == len(tape) or not _same_burst(tape, i)) and state[base + PENDING] != 0:
            _end_snapshot(state, base)
