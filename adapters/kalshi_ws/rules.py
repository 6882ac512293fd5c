"""From the messages of one market to its tape: the book, gaps, status, grid, and joined trades.

The rule of this file: a row may depend only on what was received by its own `recv`. So rows are
made in order of arrival, `recv` never falls among the rows of the book, and whatever is found out
late (a trade that belongs to no decrease, a burst that ends crossed) has a late `recv`.
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.compiled import compiled
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.units import MILLISECOND, PRICE_ONE, SECOND

from .frames import Kind
from .messages import BLOCK_TRADE, NO_TS, REFUSED

JOIN_WINDOW = 2 * SECOND
"""Receive time for which a trade waits for its decrease, and a crossed burst for its end, ns."""
SNAPSHOT_AGE = 1 * SECOND
"""How long before its receipt a snapshot that nothing precedes is taken to have been made, ns."""
STEPS = (100, 50, 20, 10, 1)
"""Steps of the venue's grids, $0.0001 (SPEC 1.6)."""

# Spelt out, because the compiler's cache does not notice a change in another module.
_DELTA, _SNAPSHOT, _LEVEL, _BREAK, _STATUS, _GRID, _TRADE, _LOST = 0, 1, 2, 3, 4, 5, 6, 10
_NO_TS, _REFUSED = -1, 1
assert (_DELTA, _SNAPSHOT, _LEVEL, _BREAK, _STATUS, _GRID, _TRADE, _LOST) == (
    Kind.DELTA, Kind.SNAPSHOT, Kind.LEVEL, Kind.BREAK, Kind.STATUS, Kind.GRID, Kind.TRADE, Kind.LOST
) and (_NO_TS, _REFUSED) == (NO_TS, REFUSED)
_ROW_SNAPSHOT, _ROW_LEVEL = int(TapeKind.SNAPSHOT), int(TapeKind.SNAPSHOT_LEVEL)
_ROW_INCREASE, _ROW_DECREASE = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
_ROW_STATUS, _ROW_GRID = int(TapeKind.STATUS), int(TapeKind.GRID)
_ROW_GAP, _ROW_RECOVERED = int(TapeKind.GAP), int(TapeKind.RECOVERED)
_CLOSED, _DETERMINED, _SETTLED = (
    int(MarketStatus.CLOSED), int(MarketStatus.DETERMINED), int(MarketStatus.SETTLED)
)
_REPRICE = int(TapeFlag.REPRICE)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)

KEPT = 0
DUPLICATE, UNANCHORED, IN_GAP, AFTER_CLOSE, REPEATED_CLOSE, EMPTY, IMPOSSIBLE, NO_PAYOUT = range(
    1, 9
)
FALLING, OFF_GRID = 9, 10
LEFT_OUT = {
    DUPLICATE: "duplicate",
    UNANCHORED: "unanchored",
    IN_GAP: "in_gap",
    AFTER_CLOSE: "after_close",
    REPEATED_CLOSE: "repeated_close",
    EMPTY: "zero_delta",
    IMPOSSIBLE: "impossible",
    NO_PAYOUT: "no_payout",
}
"""Why a message that is fine in itself is not on the tape."""

# Words of the state of the fold, one int64 each.
(_LAST_TS, _RECV, _LAST_DELTA, _ANCHORED, _TRUSTED, _GAP_OPEN, _CLOSED_SEEN, _FILLED, _BURST_RECV,
 _ROWS, _BID, _ASK, _CENTER, _EDGE, _WIDTH, _LISTED, _CLOSE_AT, _SETTLE_AT, _PAYOUT, _WINDOW,
 _AGE, _FIRST_RECV, _STATE_WORDS) = range(23)


@attrs.frozen
class Listing:
    """What is known of a market from its record: the grid, and how it ended.

    step, edge: $0.0001; width: of each edge. None where no record was given. close_ts, settled_ts:
    ns; payout: of one YES contract, $0.0001; all None unless the market has settled.
    """

    step: int | None = None
    edge: int = 0
    width: int = 0
    close_ts: int | None = None
    settled_ts: int | None = None
    payout: int | None = None


@attrs.frozen
class MarketTape:
    """The tape rows of one market, and what became of its messages.

    verdicts: one per message (book messages and trades), KEPT or why not. tick: the finest step.
    """

    rows: np.ndarray
    verdicts: np.ndarray
    tick: int
    joined: int
    unjoined: int
    first_ts: int | None


def fold(messages: np.ndarray, listing: Listing) -> MarketTape:
    """Return the tape of one market from its messages in order of arrival (market index 0)."""
    book, verdicts, origin = _fold_book(messages, listing)
    trade_at = np.flatnonzero(messages["kind"] == Kind.TRADE)
    rows, joined = book, 0
    if len(trade_at) and len(book):
        rows, joined, late = _with_trades(book, messages, trade_at)
        verdicts[late] = UNANCHORED
    elif len(trade_at):
        verdicts[trade_at] = UNANCHORED
    stamped = origin[origin >= 0][:1]
    first = None
    if len(rows):
        first = int(messages["ts"][stamped[0]]) if len(stamped) else int(rows["ts"][0])
    unjoined = len(trade_at) - joined - int(np.count_nonzero(verdicts[trade_at]))
    return MarketTape(rows, verdicts, _tick(rows, listing), joined, unjoined, first)


def _fold_book(
    messages: np.ndarray, listing: Listing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (rows, verdicts, for each row the message whose delta it is, else -1)."""
    state = np.zeros(_STATE_WORDS, np.int64)
    state[_LAST_TS] = state[_LAST_DELTA] = state[_CLOSE_AT] = state[_SETTLE_AT] = NO_TS
    state[_WINDOW], state[_AGE] = JOIN_WINDOW, SNAPSHOT_AGE
    state[_BURST_RECV] = NO_TS
    state[_ASK] = PRICE_ONE
    state[_CENTER] = state[_EDGE] = STEPS[0]
    if listing.step is not None:
        state[_LISTED] = 1
        state[_CENTER], state[_EDGE], state[_WIDTH] = listing.step, listing.edge, listing.width
    if listing.settled_ts is not None:
        state[_SETTLE_AT] = listing.settled_ts
        state[_CLOSE_AT] = listing.close_ts if listing.close_ts is not None else NO_TS
        state[_PAYOUT] = NO_TS if listing.payout is None else listing.payout
    # A message gives one row; what is no delta makes room for GRID, GAP and RECOVERED.
    others = int(np.count_nonzero(messages["kind"] != Kind.DELTA))
    rows = np.zeros(len(messages) + 3 * others + 32, TAPE_DTYPE)
    verdicts = np.zeros(len(messages), np.int64)
    origin = np.full(len(rows), -1, np.int64)
    levels = np.zeros((2, PRICE_ONE + 1), np.int64)
    fold_rows(messages, state, levels, rows, verdicts, origin)
    count = int(state[_ROWS])
    return rows[:count], verdicts, origin[:count]


def _with_trades(
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


def _tick(rows: np.ndarray, listing: Listing) -> int:
    """Return the finest step that the market uses."""
    steps = [listing.step, listing.edge] if listing.step is not None else []
    grids = rows[rows["kind"] == TapeKind.GRID]
    steps += [*grids["price"].tolist(), *grids["ahead"].tolist(), STEPS[0]]
    priced = rows["price"][(rows["kind"] != TapeKind.GRID) & (rows["kind"] != TapeKind.STATUS)]
    common = int(np.gcd.reduce(np.concatenate([priced, np.array(steps, np.int32)])))
    return next(step for step in STEPS if common % step == 0)


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


@compiled
def emit(state, rows, ts, recv, kind, qty):  # type: ignore[no-untyped-def]
    """Append a row; the caller fills what else its kind has. Return its index."""
    at = state[_ROWS]
    rows["ts"][at] = ts
    rows["recv"][at] = recv
    rows["kind"][at] = kind
    rows["qty"][at] = qty
    state[_ROWS] = at + 1
    state[_LAST_TS] = ts
    return at


@compiled
def emit_grid(state, rows, ts, recv):  # type: ignore[no-untyped-def]
    """Append the grid as it is now."""
    at = emit(state, rows, ts, recv, _ROW_GRID, state[_WIDTH])
    rows["price"][at] = state[_CENTER]
    rows["ahead"][at] = state[_EDGE]


@compiled
def emit_gap(state, rows, levels, recv):  # type: ignore[no-untyped-def]
    """End the trust in the book, at the last known time of the market."""
    emit(state, rows, state[_LAST_TS], recv, _ROW_GAP, 0)
    levels[:] = 0
    state[_TRUSTED] = 0
    state[_GAP_OPEN] = 1
    state[_BID] = 0
    state[_ASK] = 10_000


@compiled
def emit_status(state, rows, levels, ts, recv, status):  # type: ignore[no-untyped-def]
    """Append a status; one that closes the market empties its book. Return its index."""
    at = emit(state, rows, ts, recv, _ROW_STATUS, status)
    if status >= _CLOSED:
        levels[:] = 0
        state[_CLOSED_SEEN] = 1
        state[_BID] = 0
        state[_ASK] = 10_000
    return at


@compiled
def on_grid(state, price):  # type: ignore[no-untyped-def]
    """Whether a price lies on the grid of the market."""
    width = state[_WIDTH]
    if price < width or price > 10_000 - width:
        return price % state[_EDGE] == 0
    return price % state[_CENTER] == 0


@compiled
def refine(state, common):  # type: ignore[no-untyped-def]
    """Make the grid as fine as a price needs; return whether it changed. For unlisted markets."""
    step = state[_CENTER]
    if common % step == 0:
        return False
    for finer in STEPS:
        if finer < step and common % finer == 0:
            step = finer
            break
    state[_CENTER] = step
    state[_EDGE] = step
    state[_WIDTH] = 0
    return True


@compiled
def find_touch(state, levels):  # type: ignore[no-untyped-def]
    """Walk the best prices from where they were to where they are."""
    bid = state[_BID]
    while bid > 0 and levels[_BUY, bid] == 0:
        bid -= 1
    state[_BID] = bid
    ask = state[_ASK]
    while ask < 10_000 and levels[_SELL, ask] == 0:
        ask += 1
    state[_ASK] = ask


@compiled
def set_level(state, levels, side, price, qty):  # type: ignore[no-untyped-def]
    """Set a level and the best price that may come of it."""
    levels[side, price] = qty
    if qty > 0:
        state[_FILLED] = 1
        if side == _BUY:
            state[_BID] = max(state[_BID], price)
        else:
            state[_ASK] = min(state[_ASK], price)
    else:
        find_touch(state, levels)


@compiled
def end_burst(state, rows, levels, ts, recv):  # type: ignore[no-untyped-def]
    """A message with another ts ends the burst before it, and so does waiting for one too long.

    A book that is crossed or locked then is impossible: messages were lost (SPEC 1.1).
    """
    if state[_TRUSTED] and not state[_CLOSED_SEEN] and 0 < state[_BID] >= state[_ASK]:
        late = state[_BURST_RECV] + state[_WINDOW]
        if ts != state[_LAST_TS] or recv > late:
            emit_gap(state, rows, levels, min(recv, late))


@compiled
def start_ts(messages, state, at, recv):  # type: ignore[no-untyped-def]
    """Return the ts of a snapshot that no event of its subscription precedes.

    It is SNAPSHOT_AGE before the receipt: what follows was made later. Where the next delta says
    otherwise (clocks apart), its ts is taken, and the snapshot counts as received with it.
    """
    ts = recv - state[_AGE]
    for later in range(at + 1, len(messages)):
        if messages["kind"][later] == _DELTA:
            follower = messages["ts"][later]
            if follower != _NO_TS and follower < ts:
                state[_RECV] = max(state[_RECV], messages["recv"][later])
                ts = follower
            break
        if messages["kind"][later] == _SNAPSHOT:
            break
    return max(ts, state[_LAST_TS])


@compiled
def take_snapshot(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A full book replaces what was known; an empty one ends a market that had orders."""
    count = messages["qty"][at]
    before = messages["ts"][at]
    if count == 0 and state[_FILLED]:
        ts = max(before, state[_LAST_TS])
        end_burst(state, rows, levels, ts, state[_RECV])
        emit_status(state, rows, levels, ts, state[_RECV], _CLOSED)
        return
    if before != _NO_TS:
        ts = max(before, state[_LAST_TS])
    else:
        ts = start_ts(messages, state, at, messages["recv"][at])
    recv = state[_RECV]
    common = np.int64(0)
    for later in range(at + 1, at + 1 + count):
        if state[_LISTED] and not on_grid(state, messages["price"][later]):
            verdicts[at] = OFF_GRID
            if state[_TRUSTED]:
                emit_gap(state, rows, levels, recv)
            return
        rest = np.int64(messages["price"][later])
        while rest:
            common, rest = rest, common % rest
    end_burst(state, rows, levels, ts, recv)
    finer = not state[_LISTED] and refine(state, common)
    if finer or not state[_ANCHORED]:
        emit_grid(state, rows, ts, recv)
    emit(state, rows, ts, recv, _ROW_SNAPSHOT, 0)
    levels[:] = 0
    state[_BID] = 0
    state[_ASK] = 10_000
    for later in range(at + 1, at + 1 + count):
        side = np.int64(messages["side"][later])
        price = np.int64(messages["price"][later])
        qty = messages["qty"][later]
        row = emit(state, rows, ts, recv, _ROW_LEVEL, qty)
        rows["side"][row] = side
        rows["price"][row] = price
        set_level(state, levels, side, price, qty)
    if state[_GAP_OPEN]:
        emit(state, rows, ts, recv, _ROW_RECOVERED, 0)
    if not state[_ANCHORED]:
        state[_FIRST_RECV] = recv
    state[_ANCHORED] = 1
    state[_TRUSTED] = 1
    state[_GAP_OPEN] = 0
    state[_BURST_RECV] = recv


@compiled
def take_delta(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """Apply a change of one level; return its row, or -1 if it is not on the tape."""
    own = messages["ts"][at]
    recv = state[_RECV]
    if own == _NO_TS:
        own = messages["recv"][at]
    elif own < state[_LAST_DELTA]:
        verdicts[at] = FALLING
    else:
        state[_LAST_DELTA] = own
    qty = messages["qty"][at]
    price = np.int64(messages["price"][at])
    side = np.int64(messages["side"][at])
    if state[_LISTED] and verdicts[at] == KEPT and not on_grid(state, price):
        verdicts[at] = OFF_GRID
    if verdicts[at] != KEPT:
        if state[_TRUSTED]:
            emit_gap(state, rows, levels, recv)
        return -1
    if not state[_TRUSTED]:
        verdicts[at] = IN_GAP if state[_ANCHORED] else UNANCHORED
        return -1
    if qty == 0:
        verdicts[at] = EMPTY
        return -1
    ts = max(own, state[_LAST_TS])
    end_burst(state, rows, levels, ts, recv)
    if not state[_TRUSTED]:
        verdicts[at] = IN_GAP
        return -1
    if levels[side, price] + qty < 0:
        verdicts[at] = IMPOSSIBLE
        emit_gap(state, rows, levels, recv)
        return -1
    if not state[_LISTED] and refine(state, price):
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
    state[_BURST_RECV] = recv
    return row


@compiled
def take_status(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A lifecycle frame: its ts has seconds only, so a pause stands with the event before it."""
    status = messages["qty"][at]
    payout = messages["price"][at]
    if status >= _DETERMINED and payout < 0:
        verdicts[at] = NO_PAYOUT
        return
    ts = state[_LAST_TS]
    if status >= _CLOSED:
        ts = max(ts, messages["ts"][at])
    end_burst(state, rows, levels, ts, state[_RECV])
    row = emit_status(state, rows, levels, ts, state[_RECV], status)
    if status >= _DETERMINED:
        rows["price"][row] = payout


@compiled
def close(state, rows, levels):  # type: ignore[no-untyped-def]
    """Close a market that had settled by now, unless an empty snapshot did: at its close_time,
    and received with the settlement, which leaves no doubt that it closed."""
    if not state[_CLOSED_SEEN]:
        recv = max(state[_SETTLE_AT], state[_FIRST_RECV])
        end_burst(state, rows, levels, _NO_TS, recv)
        ts = max(state[_CLOSE_AT], state[_LAST_TS])
        emit_status(state, rows, levels, ts, recv, _CLOSED)


@compiled
def ends_here(messages, state, at):  # type: ignore[no-untyped-def]
    """Whether the message that revealed a loss is the one that closes the market.

    Its close then stands where the gap would, at the last known time, and empties the book too.
    """
    after = at + 1
    return (
        messages["kind"][at] == _BREAK and state[_FILLED] and after < len(messages)
        and messages["kind"][after] == _SNAPSHOT and messages["qty"][after] == 0
        and messages["row"][after] == messages["row"][at]
        and messages["file"][after] == messages["file"][at]
    )


@compiled
def fold_rows(messages, state, levels, rows, verdicts, origin):  # type: ignore[no-untyped-def]
    """Fold the messages of one market, in order of arrival, into tape rows.

    messages: MESSAGE_DTYPE; trades are passed over. state: words. levels: int64 [side, price].
    rows, origin: filled; state[_ROWS] says how far. verdicts: filled, one per message.
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
        state[_RECV] = max(state[_RECV], recv)
        if recv > state[_SETTLE_AT] >= 0 and state[_ANCHORED]:
            close(state, rows, levels)
        if kind == _STATUS:
            if state[_ANCHORED]:
                take_status(messages, state, levels, rows, verdicts, at)
            else:
                verdicts[at] = UNANCHORED
        elif state[_CLOSED_SEEN]:
            empty = kind == _SNAPSHOT and messages["qty"][at] == 0
            verdicts[at] = REPEATED_CLOSE if empty else AFTER_CLOSE
        elif kind == _BREAK or kind == _LOST or messages["flags"][at] & _REFUSED:
            if state[_TRUSTED] and not ends_here(messages, state, at):
                emit_gap(state, rows, levels, state[_RECV])
        elif kind == _SNAPSHOT:
            take_snapshot(messages, state, levels, rows, verdicts, at)
        elif kind == _DELTA:
            row = take_delta(messages, state, levels, rows, verdicts, at)
            if row >= 0:
                origin[row] = at
        elif kind == _GRID:
            state[_LISTED] = 1
            state[_CENTER] = messages["price"][at]
            state[_EDGE] = messages["edge"][at]
            state[_WIDTH] = messages["qty"][at]
            if state[_ANCHORED]:
                emit_grid(state, rows, state[_LAST_TS], state[_RECV])
    finish(state, rows, levels)


@compiled
def finish(state, rows, levels):  # type: ignore[no-untyped-def]
    """End the last burst, and the market if it is known to have settled: received as it did."""
    if not state[_ANCHORED]:
        return
    end_burst(state, rows, levels, _NO_TS, state[_BURST_RECV] + state[_WINDOW])
    if state[_SETTLE_AT] < 0:
        return
    close(state, rows, levels)
    settled = state[_SETTLE_AT]
    ts = max(settled, state[_LAST_TS])
    row = emit_status(state, rows, levels, ts, max(settled, state[_FIRST_RECV]), _SETTLED)
    rows["price"][row] = state[_PAYOUT]
