"""The book of one market, message by message, and the tape rows that come of it: all kernels.

The rule of this file: a row may depend only on what was received by its own `recv`. So rows are
made in order of arrival, `recv` never falls among the rows of the book, and whatever is found out
late (a burst that ends crossed, a close that no message told) has a late `recv`.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import compiled
from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind

from .frames import Kind
from .messages import NO_TS, OWN, REFUSED

STEPS = (100, 50, 20, 10, 1)
"""Steps of the venue's grids, $0.0001 (SPEC 1.6)."""

# Spelt out, because the compiler's cache does not notice a change in another module.
_DELTA, _SNAPSHOT, _LEVEL, _BREAK, _STATUS, _GRID, _TRADE, _LOST = 0, 1, 2, 3, 4, 5, 6, 10
_FEE = 11
_TERM = 12
_NO_TS, _REFUSED, _OWN = -1, 1, 4
NO_TERM = -(1 << 63)
"""Of a close time or a strike that nobody stated."""
assert (_DELTA, _SNAPSHOT, _LEVEL, _BREAK, _STATUS, _GRID, _TRADE, _LOST) == (
    Kind.DELTA, Kind.SNAPSHOT, Kind.LEVEL, Kind.BREAK, Kind.STATUS, Kind.GRID, Kind.TRADE, Kind.LOST
) and (_FEE, _NO_TS, _REFUSED, _OWN) == (Kind.FEE, NO_TS, REFUSED, OWN) and Kind.TERM == _TERM
_ROW_SNAPSHOT, _ROW_LEVEL = int(TapeKind.SNAPSHOT), int(TapeKind.SNAPSHOT_LEVEL)
_ROW_INCREASE, _ROW_DECREASE = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
_ROW_STATUS, _ROW_GRID = int(TapeKind.STATUS), int(TapeKind.GRID)
_ROW_GAP, _ROW_RECOVERED = int(TapeKind.GAP), int(TapeKind.RECOVERED)
_ROW_FEE = int(TapeKind.FEE)
_ROW_CLOSE_TIME, _ROW_STRIKE = int(TapeKind.CLOSE_TIME), int(TapeKind.STRIKE)
_CLOSED, _DETERMINED, _SETTLED = (
    int(MarketStatus.CLOSED), int(MarketStatus.DETERMINED), int(MarketStatus.SETTLED)
)
_REPRICE = int(TapeFlag.REPRICE)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)

KEPT = 0
DUPLICATE, UNANCHORED, IN_GAP, AFTER_CLOSE, REPEATED_CLOSE, EMPTY, IMPOSSIBLE, NO_PAYOUT = range(
    1, 9
)
FALLING, OFF_GRID, OWN_ORDER = 9, 10, 11
"""What became of a message: on the tape, or why not."""

# Words of the state of the fold, one int64 each.
(LAST_TS, RECV, LAST_DELTA, ANCHORED, TRUSTED, GAP_OPEN, CLOSED_SEEN, FILLED, BURST_RECV,
 ROWS, BID, ASK, CENTER, EDGE, WIDTH, LISTED, CLOSE_AT, SETTLE_AT, PAYOUT, WINDOW,
 AGE, FIRST_RECV, TAKER, MAKER, DUE, FLOOR, CAP, STATE_WORDS) = range(28)


@compiled
def emit(state, rows, ts, recv, kind, qty):  # type: ignore[no-untyped-def]
    """Append a row; the caller fills what else its kind has. Return its index."""
    at = state[ROWS]
    rows["ts"][at] = ts
    rows["recv"][at] = recv
    rows["kind"][at] = kind
    rows["qty"][at] = qty
    state[ROWS] = at + 1
    state[LAST_TS] = ts
    return at


@compiled
def emit_grid(state, rows, ts, recv):  # type: ignore[no-untyped-def]
    """Append the grid as it is now."""
    at = emit(state, rows, ts, recv, _ROW_GRID, state[WIDTH])
    rows["price"][at] = state[CENTER]
    rows["ahead"][at] = state[EDGE]


@compiled
def emit_fee(state, rows, ts, recv):  # type: ignore[no-untyped-def]
    """Append the fee rates as they are now."""
    at = emit(state, rows, ts, recv, _ROW_FEE, state[TAKER])
    rows["ahead"][at] = state[MAKER]


@compiled
def emit_term(state, rows, word, ts, recv):  # type: ignore[no-untyped-def]
    """Append when the market is due to close, or one of its strikes."""
    kind = _ROW_CLOSE_TIME if word == DUE else _ROW_STRIKE
    at = emit(state, rows, ts, recv, kind, state[word])
    rows["side"][at] = 1 if word == CAP else 0


@compiled
def emit_gap(state, rows, levels, recv):  # type: ignore[no-untyped-def]
    """End the trust in the book, at the last known time of the market."""
    emit(state, rows, state[LAST_TS], recv, _ROW_GAP, 0)
    levels[:] = 0
    state[TRUSTED] = 0
    state[GAP_OPEN] = 1
    state[BID] = 0
    state[ASK] = 10_000


@compiled
def emit_status(state, rows, levels, ts, recv, status):  # type: ignore[no-untyped-def]
    """Append a status; one that closes the market empties its book. Return its index."""
    at = emit(state, rows, ts, recv, _ROW_STATUS, status)
    if status >= _CLOSED:
        levels[:] = 0
        state[CLOSED_SEEN] = 1
        state[BID] = 0
        state[ASK] = 10_000
    return at


@compiled
def on_grid(state, price):  # type: ignore[no-untyped-def]
    """Whether a price lies on the grid of the market."""
    width = state[WIDTH]
    if price < width or price > 10_000 - width:
        return price % state[EDGE] == 0
    return price % state[CENTER] == 0


@compiled
def refine(state, common):  # type: ignore[no-untyped-def]
    """Make the grid as fine as a price needs; return whether it changed. For unlisted markets."""
    step = state[CENTER]
    if common % step == 0:
        return False
    for finer in STEPS:
        if finer < step and common % finer == 0:
            step = finer
            break
    state[CENTER] = step
    state[EDGE] = step
    state[WIDTH] = 0
    return True


@compiled
def find_touch(state, levels):  # type: ignore[no-untyped-def]
    """Walk the best prices from where they were to where they are."""
    bid = state[BID]
    while bid > 0 and levels[_BUY, bid] == 0:
        bid -= 1
    state[BID] = bid
    ask = state[ASK]
    while ask < 10_000 and levels[_SELL, ask] == 0:
        ask += 1
    state[ASK] = ask


@compiled
def set_level(state, levels, side, price, qty):  # type: ignore[no-untyped-def]
    """Set a level and the best price that may come of it."""
    levels[side, price] = qty
    if qty > 0:
        state[FILLED] = 1
        if side == _BUY:
            state[BID] = max(state[BID], price)
        else:
            state[ASK] = min(state[ASK], price)
    else:
        find_touch(state, levels)


@compiled
def end_burst(state, rows, levels, ts, recv):  # type: ignore[no-untyped-def]
    """A message with another ts ends the burst before it, and so does waiting for one too long.

    A book that is crossed or locked then is impossible: messages were lost (SPEC 1.1).
    """
    if state[TRUSTED] and not state[CLOSED_SEEN] and 0 < state[BID] >= state[ASK]:
        late = state[BURST_RECV] + state[WINDOW]
        if ts != state[LAST_TS] or recv > late:
            emit_gap(state, rows, levels, min(recv, late))


@compiled
def start_ts(messages, state, at, recv):  # type: ignore[no-untyped-def]
    """Return the ts of a snapshot that no event of its subscription precedes.

    It is SNAPSHOT_AGE before the receipt: what follows was made later. Where the next delta says
    otherwise (clocks apart), its ts is taken, and the snapshot counts as received with it.
    """
    ts = recv - state[AGE]
    for later in range(at + 1, len(messages)):
        if messages["kind"][later] == _DELTA:
            follower = messages["ts"][later]
            if follower != _NO_TS and follower < ts:
                state[RECV] = max(state[RECV], messages["recv"][later])
                ts = follower
            break
        if messages["kind"][later] == _SNAPSHOT:
            break
    return max(ts, state[LAST_TS])


@compiled
def take_snapshot(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A full book replaces what was known; an empty one ends a market that had orders."""
    count = messages["qty"][at]
    before = messages["ts"][at]
    if count == 0 and state[FILLED]:
        ts = max(before, state[LAST_TS])
        end_burst(state, rows, levels, ts, state[RECV])
        emit_status(state, rows, levels, ts, state[RECV], _CLOSED)
        return
    if before != _NO_TS:
        ts = max(before, state[LAST_TS])
    else:
        ts = start_ts(messages, state, at, messages["recv"][at])
    recv = state[RECV]
    common = np.int64(0)
    for later in range(at + 1, at + 1 + count):
        if state[LISTED] and not on_grid(state, messages["price"][later]):
            verdicts[at] = OFF_GRID
            if state[TRUSTED]:
                emit_gap(state, rows, levels, recv)
            return
        rest = np.int64(messages["price"][later])
        while rest:
            common, rest = rest, common % rest
    end_burst(state, rows, levels, ts, recv)
    finer = not state[LISTED] and refine(state, common)
    if finer or not state[ANCHORED]:
        emit_grid(state, rows, ts, recv)
    if not state[ANCHORED] and state[TAKER] >= 0:
        emit_fee(state, rows, ts, recv)
    for word in range(DUE, CAP + 1):
        if not state[ANCHORED] and state[word] != NO_TERM:
            emit_term(state, rows, word, ts, recv)
    emit(state, rows, ts, recv, _ROW_SNAPSHOT, 0)
    levels[:2] = 0
    state[BID] = 0
    state[ASK] = 10_000
    for later in range(at + 1, at + 1 + count):
        side = np.int64(messages["side"][later])
        price = np.int64(messages["price"][later])
        qty = messages["qty"][later] - levels[2 + side, price]
        if qty <= 0:
            if qty == 0:
                continue
            qty = messages["qty"][later]
            levels[2 + side, price] = 0
        row = emit(state, rows, ts, recv, _ROW_LEVEL, qty)
        rows["side"][row] = side
        rows["price"][row] = price
        set_level(state, levels, side, price, qty)
    if state[GAP_OPEN]:
        emit(state, rows, ts, recv, _ROW_RECOVERED, 0)
    if not state[ANCHORED]:
        state[FIRST_RECV] = recv
    state[ANCHORED] = 1
    state[TRUSTED] = 1
    state[GAP_OPEN] = 0
    state[BURST_RECV] = recv


@compiled
def take_delta(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """Apply a change of one level; return its row, or -1 if it is not on the tape."""
    own = messages["ts"][at]
    recv = state[RECV]
    if own == _NO_TS:
        own = messages["recv"][at]
    elif own < state[LAST_DELTA]:
        verdicts[at] = FALLING
    else:
        state[LAST_DELTA] = own
    qty = messages["qty"][at]
    price = np.int64(messages["price"][at])
    side = np.int64(messages["side"][at])
    if state[LISTED] and verdicts[at] == KEPT and not on_grid(state, price):
        verdicts[at] = OFF_GRID
    if verdicts[at] != KEPT:
        if state[TRUSTED]:
            emit_gap(state, rows, levels, recv)
        return -1
    if not state[TRUSTED]:
        verdicts[at] = IN_GAP if state[ANCHORED] else UNANCHORED
        return -1
    if qty == 0:
        verdicts[at] = EMPTY
        return -1
    ts = max(own, state[LAST_TS])
    end_burst(state, rows, levels, ts, recv)
    if not state[TRUSTED]:
        verdicts[at] = IN_GAP
        return -1
    if messages["flags"][at] & _OWN and levels[2 + side, price] + qty >= 0:
        levels[2 + side, price] += qty
        verdicts[at] = OWN_ORDER
        return -1
    if levels[side, price] + qty < 0:
        verdicts[at] = IMPOSSIBLE
        emit_gap(state, rows, levels, recv)
        return -1
    if not state[LISTED] and refine(state, price):
        emit_grid(state, rows, ts, recv)
    kind = _ROW_INCREASE if qty > 0 else _ROW_DECREASE
    row = emit(state, rows, ts, recv, kind, abs(qty))
    rows["side"][row] = side
    rows["price"][row] = price
    rows["ahead"][row] = -1
    before = row - 1
    if (
        qty > 0 and rows["kind"][before] == _ROW_DECREASE and rows["ts"][before] == ts
        and rows["side"][before] == side and rows["price"][before] != price
    ):
        rows["flags"][row] = _REPRICE
    set_level(state, levels, side, price, levels[side, price] + qty)
    state[BURST_RECV] = recv
    return row


@compiled
def take_status(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A lifecycle frame: its ts has seconds only, so a pause stands with the event before it."""
    status = messages["qty"][at]
    payout = messages["price"][at]
    if status >= _DETERMINED and payout < 0:
        verdicts[at] = NO_PAYOUT
        return
    ts = state[LAST_TS]
    if status >= _CLOSED:
        ts = max(ts, messages["ts"][at])
    end_burst(state, rows, levels, ts, state[RECV])
    row = emit_status(state, rows, levels, ts, state[RECV], status)
    if status >= _DETERMINED:
        rows["price"][row] = payout


@compiled
def close(state, rows, levels):  # type: ignore[no-untyped-def]
    """Close a market that had settled by now, unless an empty snapshot did: at its close_time,
    and received with the settlement, which leaves no doubt that it closed."""
    if not state[CLOSED_SEEN]:
        recv = max(state[SETTLE_AT], state[FIRST_RECV])
        end_burst(state, rows, levels, _NO_TS, recv)
        ts = max(state[CLOSE_AT], state[LAST_TS])
        emit_status(state, rows, levels, ts, recv, _CLOSED)


@compiled
def ends_here(messages, state, at):  # type: ignore[no-untyped-def]
    """Whether the message that revealed a loss is the one that closes the market.

    Its close then stands where the gap would, at the last known time, and empties the book too.
    """
    after = at + 1
    return (
        messages["kind"][at] == _BREAK and state[FILLED] and after < len(messages)
        and messages["kind"][after] == _SNAPSHOT and messages["qty"][after] == 0
        and messages["row"][after] == messages["row"][at]
        and messages["file"][after] == messages["file"][at]
    )


@compiled
def fold_rows(messages, state, levels, rows, verdicts, origin):  # type: ignore[no-untyped-def]
    """Fold the messages of one market, in order of arrival, into tape rows.

    messages: MESSAGE_DTYPE; trades are passed over. state: words. levels: int64 [side, price], and
    [2 + side, price] what of the real level is left out as the recorder's own.
    rows, origin: filled; state[ROWS] says how far. verdicts: filled, one per message.
    """
    for at in range(len(messages)):
        kind = np.int64(messages["kind"][at])
        if kind == _TRADE:
            continue
        if kind == _LEVEL:
            if verdicts[at] == KEPT and at > 0:
                verdicts[at] = verdicts[at - 1]
            continue
        recv = messages["recv"][at]
        state[RECV] = max(state[RECV], recv)
        if recv > state[SETTLE_AT] >= 0 and state[ANCHORED]:
            close(state, rows, levels)
        if kind == _STATUS:
            if state[ANCHORED]:
                take_status(messages, state, levels, rows, verdicts, at)
            else:
                verdicts[at] = UNANCHORED
        elif state[CLOSED_SEEN]:
            empty = kind == _SNAPSHOT and messages["qty"][at] == 0
            verdicts[at] = REPEATED_CLOSE if empty else AFTER_CLOSE
        elif kind == _BREAK or kind == _LOST or messages["flags"][at] & _REFUSED:
            if state[TRUSTED] and not ends_here(messages, state, at):
                emit_gap(state, rows, levels, state[RECV])
        elif kind == _SNAPSHOT:
            take_snapshot(messages, state, levels, rows, verdicts, at)
        elif kind == _DELTA:
            row = take_delta(messages, state, levels, rows, verdicts, at)
            if row >= 0:
                origin[row] = at
        elif kind == _GRID:
            state[LISTED] = 1
            state[CENTER] = messages["price"][at]
            state[EDGE] = messages["edge"][at]
            state[WIDTH] = messages["qty"][at]
            if state[ANCHORED]:
                emit_grid(state, rows, state[LAST_TS], state[RECV])
        elif kind == _FEE:
            state[TAKER] = messages["qty"][at]
            state[MAKER] = messages["edge"][at]
            if state[ANCHORED]:
                emit_fee(state, rows, state[LAST_TS], state[RECV])
        elif kind == _TERM:
            word = DUE if messages["edge"][at] == _ROW_CLOSE_TIME else FLOOR + messages["side"][at]
            state[word] = messages["qty"][at]
            if state[ANCHORED]:
                emit_term(state, rows, word, state[LAST_TS], state[RECV])
    finish(state, rows, levels)


@compiled
def finish(state, rows, levels):  # type: ignore[no-untyped-def]
    """End the last burst, and the market if it is known to have settled: received as it did."""
    if not state[ANCHORED]:
        return
    end_burst(state, rows, levels, _NO_TS, state[BURST_RECV] + state[WINDOW])
    if state[SETTLE_AT] < 0:
        return
    close(state, rows, levels)
    settled = state[SETTLE_AT]
    ts = max(settled, state[LAST_TS])
    row = emit_status(state, rows, levels, ts, max(settled, state[FIRST_RECV]), _SETTLED)
    rows["price"][row] = state[PAYOUT]
