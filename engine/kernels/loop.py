"""The bus: one total order over tape and journal, run to completion.

`advance` folds bursts of the tape, lets `matching` publish what they mean for own orders, and
stops at the next moment that somebody wants to see. `rebuild` folds a tape and a finished journal
without matching anything. The order of things at one moment is decided here and nowhere else:
what is due before it (expiries, arrivals of commands, restorations), the rows of the burst, what
they cause, the end of the burst, the decision. `follow` folds the same events once more, as the
agent comes to know of them.
"""

from __future__ import annotations

import numpy as np

from ..compiled import (
    INT,
    JOURNAL_ROWS,
    TAPE_ROWS,
    WORDS,
    compiled_as,
    entry,
    inner,
    small,
    typed,
    types,
)
from ..intrinsics import holding
from ..schema import (
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    Mark,
    MarketStatus,
    OrderFlag,
    Reason,
    TapeFlag,
    TapeKind,
)
from .book import (
    CLOSES,
    PAUSES,
    REACTIVATES,
    base_of,
    clip_taken,
    level_at,
    move_best,
    rank_of,
)
from .book import fold_rare as fold_book
from .commands import next_due
from .delays import known_at
from .flights import take_off
from .journal import apply_journal, begins, draft, is_request, publish
from .layout import (
    BEST_BUY,
    BEST_SELL,
    BUCKET_AT,
    CURSOR,
    DIRTY,
    DUE,
    HAPPENED,
    JOINED_AT,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    KNOWN,
    LAST_AT,
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
    START_CASH,
    STATUS,
    TAKEN,
    TOP,
    TRUSTED,
    WATCH,
    WATCH_MARKET,
    Run,
)
from .matching import cancel_every, match_quotes, match_trade, settle
from .orders import clip_places, decreased, lose_places, traded
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
_JOINED = int(TapeFlag.JOINED)
_VOID = int(TapeFlag.VOID)
_OFF_RECORD = int(TapeFlag.UNJOINED | TapeFlag.BLOCK)
_OPEN = int(MarketStatus.OPEN)
_SETTLED = int(MarketStatus.SETTLED)
_CASH_MOVED = int(JournalKind.CASH_MOVED)
_RESTORED = int(JournalKind.RESTORED)
_CAUSE_START = int(CauseKind.START)
_CAUSE_TAPE = int(CauseKind.TAPE)
_MARKET_CLOSED = int(Reason.MARKET_CLOSED)
_BY_PAUSE = int(Reason.PAUSED)
_REACTIVATED = int(Reason.REACTIVATED)
_BY_GROUP = int(Reason.GROUP_TRIGGERED)
_CANCEL_ON_PAUSE = int(OrderFlag.CANCEL_ON_PAUSE)
_CLOSE = int(Mark.CLOSE)
_JOURNAL_BIT = 1 << 16
_LEVEL_BITS = 1 << _INCREASE | 1 << _DECREASE

RUN = types.NamedTuple([WORDS, JOURNAL_ROWS, WORDS, WORDS, WORDS], Run)
QUEUE = typed(INT, INT, INT, INT, INT, returns=INT)
"""A user's queue model: model(ahead, before, qty, row_ahead, flags) -> ahead."""


@entry
def start(run, ts, cash):
    """Open the account: the first journal row of every run."""
    state = run.state
    state[NOW] = ts
    row = draft(run, NO_MARKET, _CASH_MOVED, (_CAUSE_START, NO_MARKET, 0))
    row["cash"] = cash
    publish(run)
    state[PEAK] = portfolio_value(state)
    state[START_CASH] = cash
    state[BUCKET_AT] = ts
    state[DIRTY] = 0


@inner
def fold_level(state, base, row, model):
    """Fold an INCREASE or DECREASE into the book and into the queues of own orders.

    Both kinds take one path, since no processor can guess which of them comes next.
    """
    kind = np.int64(row["kind"])
    side = np.int64(row["side"])
    price = np.int64(row["price"])
    qty = row["qty"]
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
        if kind == _DECREASE:
            decreased(state, base, side, rank, left + qty, row, model)
    if rank + state[base + OWN_BUY + 1 - side] >= top and kind == _INCREASE:
        state[base + PENDING] |= PENDING_CROSS


@inner
def fold_quiet(state, tape, i, stop, limit):
    """Fold level changes from row `i` on that concern nobody, and return the row where it ended.

    That is: rows of one market, before row `stop` and with ts <= `limit`, that change no best
    price and no level with own orders on it, and cross no own order. They are more than nine in
    ten, so this loop is the speed of the engine; what it does is `fold_level` and nothing else.
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
        row = tape[i]
        kind = np.int64(row["kind"])
        if row["ts"] > limit or row["market"] != market:
            break
        if kind != _INCREASE and kind != _DECREASE:
            break
        side = np.int64(row["side"])
        rank = (np.int64(row["price"]) * reciprocal) >> 32
        rank += side * (top - 2 * rank)
        level = levels + LEVEL_WORDS * (side * (top + 1) + rank)
        left = state[level + QTY] + row["qty"] * (_INCREASE + _DECREASE - 2 * kind)
        best = best_sell if side else best_buy
        cross = cross_sell if side else cross_buy
        if (rank > best) | (rank >= cross) | ((rank == best) & (left == 0)):
            break
        if state[level + TAKEN] | state[level + OWN] != 0:
            if state[level + OWN] != 0:
                break
            state[level + TAKEN] = min(state[level + TAKEN], left)
        state[level + QTY] = left
        i += 1
    if i > first:
        state[base + ROWS] += i - first
        state[CURSOR] = i
        state[NOW] = state[base + LAST_AT] = tape[i - 1]["ts"]
    return i


_RANK = (1 << 30) - 1
_LEVEL = (1 << 32) - 1


@entry
def fill_changes(run, tape, changes):
    """Write what each row makes of its level, of which no agent changes anything.

    run: of a state before the first event. tape: rows of one market. changes: int64 (events, 2),
    zero: the level's offset, 1 << 32 for each rank and 1 << 62 for a SELL, and the quantity that
    is recorded then. Rows stay zero that are no level changes, or change a best price.
    """
    state = run.state
    for i in range(len(tape)):
        row = tape[i]
        base = base_of(state, np.int64(row["market"]))
        side = np.int64(row["side"])
        kind = row["kind"]
        rank = rank_of(state, base, side, np.int64(row["price"]))
        best = state[base + BEST_BUY + side]
        _fold_row(state, tape, i, None)
        if (kind == _INCREASE or kind == _DECREASE) and rank > 0:
            level = level_at(state, base, side, rank)
            if state[base + BEST_BUY + side] == best:
                changes[i, 0] = side << 62 | rank << 32 | level
                changes[i, 1] = state[level + QTY]


@inner
def fold_known(state, tape, changes, i, stop):
    """Do what `fold_quiet` does by what `fill_changes` has found, where nothing is due and there
    is no limit in time."""
    base = base_of(state, np.int64(tape[i]["market"]))
    cross_buy = state[base + TOP] - state[base + OWN_SELL]
    cross_sell = state[base + TOP] - state[base + OWN_BUY]
    first = i
    while i < stop:
        change = changes[i, 0]
        rank = change >> 32 & _RANK
        if change == 0 or rank >= (cross_sell if change >> 62 else cross_buy):
            break
        level = change & _LEVEL
        left = changes[i, 1]
        if state[level + OWN] != 0:
            break
        # Whether anything was taken there, no processor can guess: so it is not asked.
        state[level + TAKEN] = min(state[level + TAKEN], left)
        state[level + QTY] = left
        i += 1
    if i > first:
        state[base + ROWS] += i - first
        state[CURSOR] = i
        state[NOW] = state[base + LAST_AT] = tape[i - 1]["ts"]
    return i


@inner
def fold_rare(state, base, kind, row):
    """Fold a row of any other kind into the book and the queues; return what it means for orders,
    as `book.fold_rare` does."""
    meaning = fold_book(state, base, row)
    side = np.int64(row["side"])
    rank = rank_of(state, base, side, np.int64(row["price"]))
    if kind == _TRADE:
        if row["flags"] & _OFF_RECORD == 0 and _can_match(state, base):
            traded(state, base, side, rank, row["qty"])
        if row["flags"] & _JOINED:
            state[JOINED_AT] = state[CURSOR]
    elif kind == _SNAPSHOT_LEVEL:
        if rank + state[base + OWN_BUY + 1 - side] >= state[base + TOP]:
            state[base + PENDING] |= PENDING_CROSS
    elif kind == _GAP:
        lose_places(state, base)
    elif kind == _STATUS_KIND and row["qty"] == _OPEN:
        state[base + PENDING] |= PENDING_CROSS
    return meaning


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
    meaning = fold_rare(state, base, kind, row)
    cause = (_CAUSE_TAPE, market, state[base + ROWS] - 1)
    if meaning == CLOSES:
        cancel_every(run, market, _MARKET_CLOSED, (0, 0), cause)
    elif meaning == PAUSES:
        cancel_every(run, market, _BY_PAUSE, (_CANCEL_ON_PAUSE, 0), cause)
    elif meaning == REACTIVATES:
        cancel_every(run, market, _REACTIVATED, (0, 0), cause)
    if kind == _STATUS_KIND and row["qty"] == _SETTLED:
        settle(run, market, np.int64(row["price"]), row["flags"] & _VOID != 0)


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
    revalue(state, run.tables, base, market)


@inner
def has_room(run, rows):
    """Whether the journal buffer has room for so many rows."""
    state = run.state
    return state[JOURNAL_COUNT] - state[JOURNAL_BASE] + rows <= len(run.rows)


PLAYED = types.Tuple([RUN, TAPE_ROWS])
"""What is held for what Python calls at every decision: a run and its tape."""
played = holding(PLAYED)


@entry
def advance(held, limit, stop, slack):
    """Fold whole bursts with ts <= `limit` until at least `stop` rows are applied.

    held: address of what is PLAYED. Returns REACHED, FULL (make room for `slack` rows, see
    layout.slack, and call again), or WATCHED at the end of a burst in which something of WATCH
    happened in WATCH_MARKET. When the limit was reached, what is due before it has happened.
    """
    run, tape = played(held)
    if not has_room(run, slack):
        return FULL
    return play_tape(run, tape, limit, stop, slack, None, None)


@compiled_as(INT(RUN, TAPE_ROWS, INT, INT, INT, QUEUE))
def advance_with(run, tape, limit, stop, slack, model):
    """Do what `advance` does, with a user's own queue model; nothing is held."""
    if not has_room(run, slack):
        return FULL
    return play_tape(run, tape, limit, stop, slack, model, None)


@inner
def play_tape(run, tape, limit, stop, slack, model, changes):
    """See `advance`; model: a user's own queue model, or None. changes: of `fill_changes`, empty
    where several markets are played, or None."""
    state = run.state
    end = len(tape)
    i = state[CURSOR]
    midway = state[MIDWAY] == 1
    state[MIDWAY] = 0
    watch = state[WATCH]
    only = state[WATCH_MARKET]
    deep = 1 if state[MARK_MODE] == _CLOSE else 0
    if not midway:
        state[HAPPENED] = 0
    quiet = watch & _LEVEL_BITS == 0 and deep == 0
    while i < end:
        if quiet and not midway:
            due = min(limit, state[DUE])
            if changes is not None and len(changes) > 0 and due == NO_TIME:
                i = fold_known(state, tape, changes, i, min(stop, end))
            else:
                i = fold_quiet(state, tape, i, min(stop, end), due)
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
            next_due(run)
            if state[HAPPENED] & watch != 0:
                return WATCHED
            if not has_room(run, slack):
                return FULL
        state[NOW] = ts
        base = base_of(state, market)
        state[base + ROWS] += 1
        state[base + LAST_AT] = ts
        i += 1
        state[CURSOR] = i
        rare = kind != _INCREASE and kind != _DECREASE
        if rare:
            _play_rare(run, base, market, kind, row)
        else:
            fold_level(state, base, row, model)
        if watch != 0:
            state[HAPPENED] |= 1 << kind
        midway = False
        if i < end:
            midway = _same_burst(tape, i)
        if (state[base + PENDING] | state[DIRTY] | deep) != 0 and not midway:
            _end_burst(run, base, market)
            rare = True
        seen = state[HAPPENED] & watch
        if seen != 0 and not midway:
            if only == -1 or only == market or seen >= _JOURNAL_BIT:
                return WATCHED
            state[HAPPENED] = 0
        if rare and not has_room(run, slack):
            state[MIDWAY] = 1 if midway else 0
            return FULL
    if limit != NO_TIME:
        while state[DUE] < limit:
            next_due(run)
            if state[HAPPENED] & watch != 0:
                return WATCHED
            if not has_room(run, slack):
                return FULL
        if state[NOW] < limit:
            state[NOW] = limit
    return REACHED


@entry
def rebuild(run, tape, rows, places, stop):
    """Fold tape rows up to `stop` and the journal rows placed among them; match nothing.

    The journal starts with the first row that the state has not seen. Leaves the state of the run
    that wrote it, and returns how many journal rows were folded.
    """
    return _rebuild(run, tape, rows, places, stop, None)


@compiled_as(INT(RUN, TAPE_ROWS, JOURNAL_ROWS, WORDS, INT, QUEUE))
def rebuild_with(run, tape, rows, places, stop, model):
    """Do what `rebuild` does, with a user's own queue model."""
    return _rebuild(run, tape, rows, places, stop, model)


@inner
def _rebuild(run, tape, rows, places, stop, model):
    state = run.state
    deep = state[MARK_MODE] == _CLOSE
    i = state[CURSOR]
    j = 0
    last = np.int64(0)
    while True:
        while j < len(rows) and places[j] == i:
            row = rows[j]
            kind = row["kind"]
            if begins(row) and i > 0 and (state[DIRTY] != 0 or deep):
                revalue(state, run.tables, base_of(state, last), last)
            state[NOW] = max(state[NOW], row["ts"])
            apply_journal(state, row)
            j += 1
            if kind == _RESTORED:
                market = np.int64(row["market"])
                revalue(state, run.tables, base_of(state, market), market)
            if kind == _CASH_MOVED:
                state[PEAK] = max(state[PEAK], portfolio_value(state))
                state[DIRTY] = 0
            elif row["market"] != NO_MARKET and row["reason"] != _BY_GROUP:
                last = np.int64(row["market"])
        midway = 0 < i < len(tape) and _same_burst(tape, i)
        if not midway and i > 0 and (state[DIRTY] != 0 or deep):
            revalue(state, run.tables, base_of(state, last), last)
        if i >= stop or i >= len(tape):
            return j
        last = np.int64(tape[i]["market"])
        _fold_row(state, tape, i, model)
        i += 1
        if (i == len(tape) or not _same_burst(tape, i)) and _pending(state, last) != 0:
            _end_snapshot(state, base_of(state, last))


@inner
def _pending(state, market):
    return state[base_of(state, market) + PENDING]


@small
def _fold_row(state, tape, i, model):
    """Fold one row into the book and the queues, and match nothing."""
    row = tape[i]
    kind = np.int64(row["kind"])
    base = base_of(state, np.int64(row["market"]))
    state[NOW] = max(state[NOW], row["ts"])
    state[base + ROWS] += 1
    state[base + LAST_AT] = row["ts"]
    state[CURSOR] = i + 1
    if kind == _INCREASE or kind == _DECREASE:
        fold_level(state, base, row, model)
    else:
        fold_rare(state, base, kind, row)


@entry
def follow(run, tape, delivered, limit):
    """Fold into the seen state what the agent has been delivered or knows of up to `limit`.

    delivered: int64, when each tape row reaches the agent, see `delivery.delivery_times`.
    """
    follow_to(run, tape, delivered, limit, None)


@compiled_as(types.void(RUN, TAPE_ROWS, WORDS, INT, QUEUE))
def follow_with(run, tape, delivered, limit, model):
    """Do what `follow` does, with a user's own queue model."""
    follow_to(run, tape, delivered, limit, model)


@inner
def follow_to(run, tape, delivered, limit, model):
    """See `follow`."""
    while True:
        known = next_known(run)
        _follow_tape(run, tape, _delivered_by(run, delivered, min(limit, known)), model)
        if known > limit:
            run.seen[NOW] = max(run.seen[NOW], min(limit, run.state[NOW]))
            return
        _learn(run, known)


@inner
def _learn(run, known):
    """Fold the next journal row into the seen state."""
    seen = run.seen
    row = run.rows[seen[JOURNAL_COUNT] - run.state[JOURNAL_BASE]]
    apply_journal(seen, row)
    seen[KNOWN] = known
    if row["market"] != NO_MARKET:
        market = np.int64(row["market"])
        revalue(seen, run.tables, base_of(seen, market), market)


@inner
def learn_answers(run):
    """Fold into the seen state what the agent knows of its own orders by now."""
    while True:
        known = next_known(run)
        if known > run.state[NOW]:
            return
        _learn(run, known)


@entry
def see_own_requests(run):
    """Show the agent the requests of a finished journal that it does not know the answers to."""
    for number in range(run.seen[JOURNAL_COUNT], run.state[JOURNAL_COUNT]):
        row = run.rows[number - run.state[JOURNAL_BASE]]
        if is_request(np.int64(row["kind"])):
            take_off(run.seen, row)


@entry
def next_known(run):
    """Return when the agent will know of the first journal row that it does not know; NO_TIME if
    there is none."""
    number = run.seen[JOURNAL_COUNT]
    if number == run.state[JOURNAL_COUNT]:
        return NO_TIME
    row = run.rows[number - run.state[JOURNAL_BASE]]
    return known_at(run, row, number, run.seen[KNOWN])


@entry
def known_times(run, rows, first, before, times):
    """Write into `times` when the agent knows of journal rows from number `first` on, if it knew of
    the one before them at `before`."""
    for i in range(len(rows)):
        before = known_at(run, rows[i], first + i, before)
        times[i] = before


@inner
def _delivered_by(run, delivered, limit):
    """Return how many rows of the tape are delivered by `limit`, of those that have happened."""
    low = run.seen[CURSOR]
    high = run.state[CURSOR]
    while low < high:
        middle = (low + high) // 2
        if delivered[middle] <= limit:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _follow_tape(run, tape, stop, model):
    seen = run.seen
    deep = 1 if seen[MARK_MODE] == _CLOSE else 0
    i = seen[CURSOR]
    midway = False
    while i < stop:
        if not midway and deep == 0:
            i = fold_quiet(seen, tape, i, stop, NO_TIME)
            if i == stop:
                return
        market = np.int64(tape[i]["market"])
        base = base_of(seen, market)
        _fold_row(seen, tape, i, model)
        i += 1
        midway = i < stop and _same_burst(tape, i)
        if not midway and (seen[base + PENDING] | seen[DIRTY] | deep) != 0:
            _end_snapshot(seen, base)
            revalue(seen, run.tables, base, market)
