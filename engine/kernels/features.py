"""What a book and its recent past look like, as numbers: the part of an observation that does not
depend on the agent, worked out once for a tape and shared by every run over it.

A feature is a function of the events up to its moment. Those of the book are read from the levels,
so that they can be worked out again where own fills have taken some of them; those of the past are
folded here, burst by burst. The formulas are those of docs/observations.md; logarithms and
exponentials are scalar `math`, so that they agree compiled and interpreted.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import entry, inner, small
from ..schema import NO_TIME, TapeFlag, TapeKind
from ..units import PRICE_ONE, SECOND
from .book import base_of, is_live, level_at, visible_at, visible_best
from .layout import (
    BEST_BUY,
    CURSOR,
    LEVEL_WORDS,
    MID2,
    NOW,
    QTY,
    TAKEN,
    TICK,
    TOP,
)
from .loop import play_tape

DEPTH = 5
"""Levels of each side that are features of their own."""
RECENT = 10
"""Changes of the book that count as recent."""
HALF_LIVES = (1, 10, 60)
"""Of flows and averages, in seconds."""
SESSION_FEATURES = 3
"""Columns that come from all markets of the session: see `session_columns`."""

# Features of the book, in the order in which they are written.
(
    YES_BID,
    YES_ASK,
    NO_BID,
    NO_ASK,
    YES_SPREAD,
    NO_SPREAD,
    YES_MID,
    NO_MID,
    YES_SIZE,
    NO_SIZE,
    TOTAL_SIZE,
    OUTCOME_IMBALANCE,
    YES_IMBALANCE,
    NO_IMBALANCE,
    YES_LEVELS,
    NO_LEVELS,
    YES_TOP_SHARE,
    NO_TOP_SHARE,
    ARBITRAGE,
    EFFICIENCY,
    AGREEMENT,
    MICROPRICE,
    SPREAD_CENTS,
    IMBALANCE_1,
    IMBALANCE_5,
    BID_SIZE,  # of the five best levels, one feature each
) = range(26)
ASK_SIZE = BID_SIZE + DEPTH
BID_GAP = ASK_SIZE + DEPTH  # cents from the best level to each of the next
ASK_GAP = BID_GAP + DEPTH - 1
BOOK_FEATURES = ASK_GAP + DEPTH - 1

# Features of the recent past, behind those of the book.
(
    HOUR,
    WEEKDAY,
    ACTIVITY,
    ACTIVITY_CHANGE,
    FREQUENCY,
    BURST,
    QUIET,
    TREND,
    MOMENTUM,
    VOLATILITY,
    ACTIVE_MARKETS,
    SYNCHRONY,
    DIVERGENCE,
    TRADE_FLOW,  # one for each half-life, as the next three
) = range(BOOK_FEATURES, BOOK_FEATURES + 14)
CANCEL_FLOW = TRADE_FLOW + len(HALF_LIVES)
EVENT_RATE = CANCEL_FLOW + len(HALF_LIVES)
RETURN = EVENT_RATE + len(HALF_LIVES)
SHARED_FEATURES = RETURN + len(HALF_LIVES)
"""How many features do not depend on the agent."""

SIZE_REFERENCE = 10_000
"""Contracts that count as one on the logarithmic scale of sizes."""
_LOG_REFERENCE = math.log(1 + SIZE_REFERENCE)
_CONTRACT = 100
_CENT = PRICE_ONE // 100
_FLOW_REFERENCE = 100.0 * _CONTRACT
"""Contracts that a flow of 0.5 stands for."""
_RATE_REFERENCE = 10.0
_DECREASE = int(TapeKind.DECREASE)
_TRADE = int(TapeKind.TRADE)
_BLOCK = int(TapeFlag.BLOCK)

_IN_BOOK = sum(
    1 << kind
    for kind in (
        TapeKind.SNAPSHOT,
        TapeKind.SNAPSHOT_LEVEL,
        TapeKind.INCREASE,
        TapeKind.DECREASE,
        TapeKind.GAP,
    )
)

# Memory of the past, as float64 words: times and mids of recent changes, then flows.
_TIMES = 0
_MIDS = _TIMES + RECENT + 1
_ACTIVITIES = _MIDS + RECENT + 1
_SEEN = _ACTIVITIES + RECENT + 1
_AT = _SEEN + 1
_FLOWS = _AT + 1
_AVERAGE = _FLOWS + 3 * len(HALF_LIVES)
MEMORY_WORDS = _AVERAGE + len(HALF_LIVES)
SCRATCH_WORDS = MEMORY_WORDS + SHARED_FEATURES


@small
def _clipped(value, least, most):
    return min(max(value, least), most)


@small
def size_feature(qty):
    """Return a quantity (0.01 contract) on the logarithmic scale, 0 to 1."""
    return min(math.log(1.0 + qty / _CONTRACT) / _LOG_REFERENCE, 1.0)


@small
def _balance(one, other):
    return (one - other) / (one + other) if one + other > 0 else 0.0


@inner
def _ladder(state, base, side, out, at):
    """Write the sizes and gaps of a side's best levels; return (total, levels, three largest,
    quantity of the five best), quantities in 0.01 contract."""
    total = 0
    levels = 0
    first = 0
    second = 0
    third = 0
    near = 0
    rank = visible_best(state, base, side, state[base + BEST_BUY + side])
    best = rank
    tick = state[base + TICK]
    for k in range(DEPTH):
        out[at[0] + k] = 0.0
        if k > 0:
            out[at[1] + k - 1] = 1.0
    level = level_at(state, base, side, rank)
    while rank > 0:
        qty = state[level + QTY] - state[level + TAKEN]
        if levels < DEPTH and qty > 0:
            out[at[0] + levels] = size_feature(qty)
            if levels > 0:
                gap = (best - rank) * tick / (10.0 * _CENT)
                out[at[1] + levels - 1] = min(gap, 1.0)
            near += qty
        total += qty
        levels += 1 if qty > 0 else 0
        # The three largest without a branch: which level is larger, no processor can guess.
        smaller = min(first, qty)
        first = max(first, qty)
        third = max(third, min(second, smaller))
        second = max(second, smaller)
        rank -= 1
        level -= LEVEL_WORDS
    return total, levels, first + second + third, near


@inner
def touch_features(state, base, out):
    """Write those features of a book that depend on its best levels alone, as it can be seen."""
    buy = visible_best(state, base, 0, state[base + BEST_BUY])
    sell = visible_best(state, base, 1, state[base + BEST_BUY + 1])
    tick = state[base + TICK]
    bid = buy * tick / PRICE_ONE
    ask = (state[base + TOP] - sell) * tick / PRICE_ONE
    bid_qty = visible_at(state, base, 0, buy) if buy > 0 else np.int64(0)
    ask_qty = visible_at(state, base, 1, sell) if sell > 0 else np.int64(0)
    mid = (bid + ask) / 2.0
    out[YES_BID] = bid
    out[YES_ASK] = ask
    out[NO_BID] = 1.0 - ask
    out[NO_ASK] = 1.0 - bid
    out[YES_SPREAD] = ask - bid
    out[NO_SPREAD] = ask - bid
    out[YES_MID] = mid
    out[NO_MID] = 1.0 - mid
    out[YES_IMBALANCE] = _balance(bid_qty, ask_qty)
    out[NO_IMBALANCE] = _balance(ask_qty, bid_qty)
    out[ARBITRAGE] = 0.0
    out[EFFICIENCY] = 1.0
    out[AGREEMENT] = 1.0
    weight = bid_qty + ask_qty
    out[MICROPRICE] = (bid * ask_qty + ask * bid_qty) / weight if weight > 0 else mid
    out[SPREAD_CENTS] = min((ask - bid) * 10.0, 1.0)
    out[IMBALANCE_1] = _balance(bid_qty, ask_qty)


@inner
def depth_features(state, base, out):
    """Write those features of a book that depend on all its levels, as it can be seen."""
    bids = _ladder(state, base, 0, out, (BID_SIZE, BID_GAP))
    asks = _ladder(state, base, 1, out, (ASK_SIZE, ASK_GAP))
    out[YES_SIZE] = size_feature(bids[0])
    out[NO_SIZE] = size_feature(asks[0])
    out[TOTAL_SIZE] = size_feature(bids[0] + asks[0])
    out[OUTCOME_IMBALANCE] = _balance(bids[0], asks[0])
    out[YES_LEVELS] = min(bids[1] / 20.0, 1.0)
    out[NO_LEVELS] = min(asks[1] / 20.0, 1.0)
    out[YES_TOP_SHARE] = bids[2] / bids[0] if bids[0] > 0 else 0.0
    out[NO_TOP_SHARE] = asks[2] / asks[0] if asks[0] > 0 else 0.0
    out[IMBALANCE_5] = _balance(bids[3], asks[3])


@small
def is_of_depth(feature):
    """Whether `depth_features` writes a feature of the book, and not `touch_features`."""
    if YES_SIZE <= feature <= OUTCOME_IMBALANCE or YES_LEVELS <= feature <= NO_TOP_SHARE:
        return True
    return feature == IMBALANCE_5 or feature >= BID_SIZE


@inner
def _shift(memory, at, value):
    for i in range(RECENT, 0, -1):
        memory[at + i] = memory[at + i - 1]
    memory[at] = value


@inner
def _decayed(memory, seconds):
    """Let the flows fade for a time that has passed."""
    if seconds <= 0.0:
        return
    for k in range(len(HALF_LIVES)):
        factor = math.exp(-math.log(2.0) * seconds / HALF_LIVES[k])
        for flow in range(3):
            memory[_FLOWS + flow * len(HALF_LIVES) + k] *= factor


@inner
def _fold_rows(memory, tape, first, stop):
    """Fold the rows of one burst into the flows; return whether they changed the book."""
    changes = False
    for i in range(first, stop):
        row = tape[i]
        kind = np.int64(row["kind"])
        if (_IN_BOOK >> kind) & 1:
            changes = True
        sign = 1.0 if row["side"] == 0 else -1.0
        after_trade = i > 0 and tape[i - 1]["kind"] == _TRADE and tape[i - 1]["flags"] & 1 != 0
        for k in range(len(HALF_LIVES)):
            if kind == _TRADE and row["flags"] & _BLOCK == 0:
                # The side is the maker's: a trade with a resting SELL is somebody buying.
                memory[_FLOWS + k] -= sign * row["qty"] / HALF_LIVES[k]
            elif kind == _DECREASE and not after_trade:
                memory[_FLOWS + len(HALF_LIVES) + k] += sign * row["qty"] / HALF_LIVES[k]
            memory[_FLOWS + 2 * len(HALF_LIVES) + k] += 1.0 / HALF_LIVES[k]
    return changes


@inner
def _fold_change(memory, ts, mid):
    """Note a change of the book: its time, mid and activity, 1 / (1 + seconds since the last)."""
    seconds = (ts - memory[_TIMES]) / SECOND if memory[_SEEN] > 0 else 1e9
    _shift(memory, _TIMES, ts)
    _shift(memory, _MIDS, mid)
    _shift(memory, _ACTIVITIES, 1.0 / (1.0 + max(seconds, 0.0)))
    memory[_SEEN] += 1


@inner
def _spread_of(memory, at, count):
    """Return (mean, standard deviation) of the `count` latest of a memory."""
    total = 0.0
    for i in range(count):
        total += memory[at + i]
    mean = total / count
    squares = 0.0
    for i in range(count):
        squares += (memory[at + i] - mean) * (memory[at + i] - mean)
    return mean, math.sqrt(squares / count)


@inner
def _past_features(memory, ts, clock, out):
    """Write the features of the recent past; clock: offset of venue time, ns."""
    local = ts + clock
    hour = (local // SECOND % 86_400) / 3600.0
    out[HOUR] = _clipped((hour - 9.0) / 7.0, 0.0, 1.0)
    # 1970-01-01 was a Thursday, weekday 3.
    out[WEEKDAY] = (local // (86_400 * SECOND) + 3) % 7 / 6.0
    seen = min(int(memory[_SEEN]), RECENT)
    for k in range(ACTIVITY, VOLATILITY + 1):
        out[k] = 0.0
    if seen > 0:
        activity = memory[_ACTIVITIES]
        out[ACTIVITY] = activity
        recent = min(seen, 5)
        oldest = min(seen - 1, 5)
        if seen > 1:
            out[ACTIVITY_CHANGE] = activity - memory[_ACTIVITIES + 1]
            passed = (ts - memory[_TIMES + oldest]) / SECOND
            out[FREQUENCY] = min(oldest / passed / 2.0, 1.0) if passed > 0.0 else 1.0
            moved = (memory[_MIDS] - memory[_MIDS + oldest]) / (5.0 * _CENT)
            out[MOMENTUM] = _clipped(moved, -1.0, 1.0)
        mean, deviation = _spread_of(memory, _ACTIVITIES, seen)
        out[BURST] = 1.0 if activity > mean + 1.5 * deviation else 0.0
        out[QUIET] = 1.0 if activity < mean - deviation else 0.0
        if seen == RECENT:
            newer = _spread_of(memory, _ACTIVITIES, 5)[0]
            out[TREND] = newer - _spread_of(memory, _ACTIVITIES + 5, 5)[0]
        deviation = _spread_of(memory, _MIDS, recent)[1]
        out[VOLATILITY] = min(deviation / (5.0 * _CENT), 1.0)
    _flow_features(memory, out)


@inner
def _flow_features(memory, out):
    halves = len(HALF_LIVES)
    for k in range(halves):
        # A steady flow of x a second stands at x / ln 2.
        trades = memory[_FLOWS + k]
        cancels = memory[_FLOWS + halves + k]
        events = memory[_FLOWS + 2 * halves + k] * math.log(2.0)
        out[TRADE_FLOW + k] = trades / (abs(trades) + _FLOW_REFERENCE)
        out[CANCEL_FLOW + k] = cancels / (abs(cancels) + _FLOW_REFERENCE)
        out[EVENT_RATE + k] = events / (events + _RATE_REFERENCE)
        moved = (memory[_MIDS] - memory[_AVERAGE + k]) / (5.0 * _CENT)
        out[RETURN + k] = _clipped(moved, -1.0, 1.0) if memory[_SEEN] > 0 else 0.0


@inner
def _fold_average(memory, seconds, mid):
    """Move the averages of the mid, which had the value of the last change until now."""
    for k in range(len(HALF_LIVES)):
        if memory[_SEEN] <= 1:
            memory[_AVERAGE + k] = mid
        else:
            factor = math.exp(-math.log(2.0) * max(seconds, 0.0) / HALF_LIVES[k])
            before = memory[_MIDS + 1]
            memory[_AVERAGE + k] = before + (memory[_AVERAGE + k] - before) * factor


@entry
def fill_columns(run, tape, session, wanted, columns, scratch):
    """Write the shared features at the end of each burst into the row of its last event.

    run: of a state before the first event, with nothing of an agent's in it. tape: rows of that
    one market. session: float32 (events, SESSION_FEATURES). wanted: int64, what stands where:
    wanted[k] is the feature of column k, and the last word is the offset of venue time, ns.
    columns: float32 (events, len(wanted)): the last one tells whether the market has a live book
    with a quote. Rows within a burst stay as they are. scratch: float64, SCRATCH_WORDS, zero.
    """
    state = run.state
    base = base_of(state, 0)
    memory = scratch[:MEMORY_WORDS]
    out = scratch[MEMORY_WORDS:]
    first = 0
    count = len(wanted) - 1
    while first < len(tape):
        play_tape(run, tape, NO_TIME, first + 1, 0, None, None)
        stop = state[CURSOR]
        ts = state[NOW]
        seconds = (ts - memory[_AT]) / SECOND if memory[_AT] > 0 else 0.0
        _decayed(memory, seconds)
        memory[_AT] = ts
        if _fold_rows(memory, tape, first, stop):
            passed = (ts - memory[_TIMES]) / SECOND
            _fold_change(memory, ts, state[base + MID2] / 2.0)
            _fold_average(memory, passed, state[base + MID2] / 2.0)
        touch_features(state, base, out)
        depth_features(state, base, out)
        _past_features(memory, ts, wanted[count], out)
        for k in range(SESSION_FEATURES):
            out[ACTIVE_MARKETS + k] = session[stop - 1, k]
        for k in range(count):
            columns[stop - 1, k] = out[wanted[k]]
        quoted = state[base + BEST_BUY] + state[base + BEST_BUY + 1] > 0
        columns[stop - 1, count] = 1.0 if is_live(state, base) and quoted else 0.0
        first = stop


# Words of each market while all markets of a session are looked at together.
_CHANGED, _MID, _MOVE, SESSION_WORDS = range(4)
_ACTIVE_FOR = 60 * SECOND


@entry
def fill_session_columns(run, tape, columns, words):
    """Write what all markets of a session have in common into each row, as of its last full second.

    run: of the whole session before its first event. columns: float32 (events, SESSION_FEATURES).
    words: int64, SESSION_WORDS for each market, zero.
    """
    state = run.state
    first = 0
    second = np.int64(-1)
    active = 0.0
    synchrony = 0.0
    divergence = 0.0
    while first < len(tape):
        ts = tape[first]["ts"]
        if ts // SECOND != second:
            second = ts // SECOND
            active, synchrony, divergence = _compare(words, second * SECOND)
        play_tape(run, tape, NO_TIME, first + 1, 0, None, None)
        stop = state[CURSOR]
        market = np.int64(tape[first]["market"])
        at = market * SESSION_WORDS
        mid = state[base_of(state, market) + MID2]
        if mid != words[at + _MID] and words[at + _CHANGED] > 0:
            words[at + _MOVE] = mid - words[at + _MID]
        words[at + _MID] = mid
        words[at + _CHANGED] = ts
        for i in range(first, stop):
            columns[i, 0] = active
            columns[i, 1] = synchrony
            columns[i, 2] = divergence
        first = stop


@inner
def _compare(words, ts):
    """Return (active markets / 10, share of one direction, divergence of the last moves)."""
    active = 0
    ups = 0
    downs = 0
    total = 0.0
    squares = 0.0
    for at in range(0, len(words), SESSION_WORDS):
        if words[at + _CHANGED] == 0 or words[at + _CHANGED] < ts - _ACTIVE_FOR:
            continue
        active += 1
        move = words[at + _MOVE] / 2.0
        ups += 1 if move > 0 else 0
        downs += 1 if move < 0 else 0
        total += move
        squares += move * move
    if active == 0:
        return 0.0, 0.0, 0.0
    moved = ups + downs
    synchrony = abs(ups - downs) / moved if moved > 0 else 0.0
    mean = total / active
    deviation = math.sqrt(max(squares / active - mean * mean, 0.0))
    return min(active / 10.0, 1.0), synchrony, min(deviation / (5.0 * _CENT), 1.0)
