"""The book of one market, message by message, and the tape rows that come of it: all kernels.

Two rules govern this file. A row may depend only on what was received by its own `recv`, which
never falls among the rows of the book. And what comes out is a valid tape (`engine.kernels.check`),
whatever comes in: a message that the book cannot bear ends the trust in it.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import entry, inner
from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.units import PRICE_ONE, QTY_MAX

from .messages import MessageFlag, MessageKind

STEPS = (100, 50, 20, 10, 1)
"""Steps that a grid which nobody stated can have, $0.0001, coarsest first (SPEC 1.6)."""

_SNAPSHOT, _LEVEL, _BOOK = int(MessageKind.SNAPSHOT), int(MessageKind.LEVEL), int(MessageKind.BOOK)
_CHANGE, _SET, _TRADE = int(MessageKind.CHANGE), int(MessageKind.SET), int(MessageKind.TRADE)
_STATUS, _GRID = int(MessageKind.STATUS), int(MessageKind.GRID)
_FEE, _LOST = int(MessageKind.FEE), int(MessageKind.LOST)
_MORE = (int(MessageFlag.MORE_BUY), int(MessageFlag.MORE_SELL))
_LOOSE = int(MessageFlag.LOOSE)
_ROW_SNAPSHOT, _ROW_LEVEL = int(TapeKind.SNAPSHOT), int(TapeKind.SNAPSHOT_LEVEL)
_ROW_INCREASE, _ROW_DECREASE = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
_ROW_TRADE, _ROW_STATUS = int(TapeKind.TRADE), int(TapeKind.STATUS)
_ROW_GRID, _ROW_FEE = int(TapeKind.GRID), int(TapeKind.FEE)
_ROW_GAP, _ROW_RECOVERED = int(TapeKind.GAP), int(TapeKind.RECOVERED)
_JOINED, _UNJOINED, _BLOCK = int(TapeFlag.JOINED), int(TapeFlag.UNJOINED), int(TapeFlag.BLOCK)
_REPRICE, _GUESSED = int(TapeFlag.REPRICE), int(TapeFlag.GUESSED)
_CLOSED, _DETERMINED = int(MarketStatus.CLOSED), int(MarketStatus.DETERMINED)
_DISPUTED = int(MarketStatus.DISPUTED)
_STATUS_FLAGS = int(TapeFlag.INACTIVE | TapeFlag.EXCHANGE | TapeFlag.VOID)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_ONE, _QTY_MAX = PRICE_ONE, QTY_MAX

(KEPT, UNANCHORED, IN_GAP, AFTER_CLOSE, UNCHANGED, IMPOSSIBLE, NO_PAYOUT, FALLING, OFF_GRID,
 BAD_VALUE) = range(10)
"""What became of a message: on the tape, or why not."""

# Words of the state of the fold, one int64 each.
(LAST_TS, RECV, ANCHORED, TRUSTED, GAP_OPEN, ENDED, ROWS, BID, ASK, CENTER, EDGE, WIDTH, LISTED,
 COMMON, TAKER, MAKER, JOINED, UNJOINED, IDENTIFIED, UNKNOWN_PLACE, GUESSES, GAPS, OFFSET,
 STATE_WORDS) = range(24)

LEVELS = PRICE_ONE + 1
MARGIN = 2 * LEVELS + 16
"""Rows that one message can give, besides one for each of its own levels."""


@inner
def emit(state, rows, ts, recv, kind, qty):  # type: ignore[no-untyped-def]
    """Append a row; the caller fills what else its kind has. Return its index."""
    at = state[ROWS]
    row = rows[at]
    row["ts"] = ts
    row["recv"] = recv
    row["qty"] = qty
    row["ahead"] = 0
    row["price"] = 0
    row["market"] = 0
    row["kind"] = kind
    row["side"] = 0
    row["flags"] = 0
    state[ROWS] = at + 1
    state[LAST_TS] = ts
    return at


@inner
def emit_grid(state, rows, ts, recv):  # type: ignore[no-untyped-def]
    """Append the grid as it is now."""
    at = emit(state, rows, ts, recv, _ROW_GRID, state[WIDTH])
    rows["price"][at] = state[CENTER]
    rows["ahead"][at] = state[EDGE]
    note_price(state, state[CENTER])
    note_price(state, state[EDGE])


@inner
def emit_fee(state, rows, ts, recv):  # type: ignore[no-untyped-def]
    """Append the fee rates as they are now."""
    at = emit(state, rows, ts, recv, _ROW_FEE, state[TAKER])
    rows["ahead"][at] = state[MAKER]


@inner
def emit_gap(state, rows, levels, recv):  # type: ignore[no-untyped-def]
    """End the trust in the book, at the last known time of the market."""
    emit(state, rows, state[LAST_TS], recv, _ROW_GAP, 0)
    clear(state, levels)
    state[TRUSTED] = 0
    state[GAP_OPEN] = 1
    state[GAPS] += 1


@inner
def clear(state, levels):  # type: ignore[no-untyped-def]
    """Leave no order standing."""
    levels[:] = 0
    state[BID] = 0
    state[ASK] = _ONE


@inner
def note_price(state, price):  # type: ignore[no-untyped-def]
    """Keep the greatest step that divides all prices so far."""
    common, rest = state[COMMON], np.int64(price)
    while rest:
        common, rest = rest, common % rest
    state[COMMON] = common


@inner
def on_grid(state, price):  # type: ignore[no-untyped-def]
    """Whether a price lies inside the dollar, and on the grid of the market if that is stated."""
    if price <= 0 or price >= _ONE:
        return False
    if not state[LISTED]:
        return True
    width = state[WIDTH]
    if price < width or price > _ONE - width:
        return price % state[EDGE] == 0
    return price % state[CENTER] == 0


@inner
def refine(state, common):  # type: ignore[no-untyped-def]
    """Make an unstated grid as fine as a price needs; return whether it changed."""
    step = min(state[CENTER], state[EDGE])
    if state[LISTED] or common % step == 0:
        return False
    for finer in STEPS:
        if finer < step and common % finer == 0:
            step = finer
            break
    state[CENTER] = step
    state[EDGE] = step
    state[WIDTH] = 0
    return True


@inner
def set_level(state, levels, side, price, qty):  # type: ignore[no-untyped-def]
    """Set a level, and walk the best price of its side to where it is."""
    levels[side, price] = qty
    if qty > 0:
        if side == _BUY:
            state[BID] = max(state[BID], price)
        else:
            state[ASK] = min(state[ASK], price)
        return
    bid = state[BID]
    while bid > 0 and levels[_BUY, bid] == 0:
        bid -= 1
    state[BID] = bid
    ask = state[ASK]
    while ask < _ONE and levels[_SELL, ask] == 0:
        ask += 1
    state[ASK] = ask


@inner
def end_burst(state, rows, levels, ts, recv):  # type: ignore[no-untyped-def]
    """A message with another ts ends the burst before it.

    A book that is crossed or locked then is impossible (SPEC 1.1): something was lost.
    """
    if state[TRUSTED] and ts != state[LAST_TS] and 0 < state[BID] >= state[ASK]:
        emit_gap(state, rows, levels, recv)


@inner
def levels_after(messages, at):  # type: ignore[no-untyped-def]
    """Return how many LEVEL messages follow the one at `at`."""
    count = np.int64(0)
    while at + count + 1 < len(messages) and messages["kind"][at + count + 1] == _LEVEL:
        count += 1
    return count


@inner
def find_fault(messages, state, at, count):  # type: ignore[no-untyped-def]
    """Return why the full book at `at`, of `count` levels, cannot be, or KEPT."""
    bid, ask = np.int64(0), np.int64(_ONE)
    if count != levels_after(messages, at):
        return BAD_VALUE
    for later in range(at + 1, at + 1 + count):
        price = np.int64(messages["price"][later])
        side = np.int64(messages["side"][later])
        qty = messages["qty"][later]
        if side < 0 or side > 1:
            return BAD_VALUE
        if not on_grid(state, price):
            return OFF_GRID
        if qty <= 0 or qty > _QTY_MAX:
            return BAD_VALUE
        if side == _BUY:
            bid = max(bid, price)
        else:
            ask = min(ask, price)
    return IMPOSSIBLE if bid >= ask else KEPT


@inner
def take_book(messages, state, levels, shown, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A full book: a snapshot, or in a trusted book its differences if it is a picture."""
    count = messages["qty"][at]
    ts, recv = messages["ts"][at], state[RECV]
    fault = find_fault(messages, state, at, count)
    if fault != KEPT:
        verdicts[at] = fault
        if state[TRUSTED]:
            emit_gap(state, rows, levels, recv)
        return
    common = np.int64(0)
    for later in range(at + 1, at + 1 + count):
        rest = np.int64(messages["price"][later])
        note_price(state, rest)
        while rest:
            common, rest = rest, common % rest
    finer = refine(state, common)
    end_burst(state, rows, levels, ts, recv)
    if finer or not state[ANCHORED]:
        emit_grid(state, rows, ts, recv)
    if not state[ANCHORED] and state[TAKER] >= 0:
        emit_fee(state, rows, ts, recv)
    if messages["kind"][at] == _BOOK and state[TRUSTED]:
        before = state[ROWS]
        take_differences(messages, state, levels, shown, rows, at)
        if state[ROWS] == before:
            verdicts[at] = UNCHANGED
        return
    emit(state, rows, ts, recv, _ROW_SNAPSHOT, 0)
    clear(state, levels)
    for later in range(at + 1, at + 1 + count):
        side = np.int64(messages["side"][later])
        price = np.int64(messages["price"][later])
        qty = messages["qty"][later]
        row = emit(state, rows, ts, recv, _ROW_LEVEL, qty)
        rows["side"][row] = side
        rows["price"][row] = price
        set_level(state, levels, side, price, qty)
    if state[GAP_OPEN]:
        emit(state, rows, ts, recv, _ROW_RECOVERED, 0)
    state[ANCHORED] = 1
    state[TRUSTED] = 1
    state[GAP_OPEN] = 0


@inner
def take_differences(messages, state, levels, shown, rows, at):  # type: ignore[no-untyped-def]
    """Turn a picture into the changes since: decreases first, each side from its best price.

    Beyond the last level shown of a side that may have more, the book stays as it was last seen:
    to leave the window is not to leave the book.
    """
    shown[:] = 0
    low, high = np.int64(_ONE), np.int64(0)
    for later in range(at + 1, at + 1 + messages["qty"][at]):
        side = np.int64(messages["side"][later])
        price = np.int64(messages["price"][later])
        shown[side, price] = messages["qty"][later]
        if side == _BUY:
            low = min(low, price)
        else:
            high = max(high, price)
    flags = np.int64(messages["flags"][at])
    low = low if flags & _MORE[0] else np.int64(1)
    high = high if flags & _MORE[1] else np.int64(_ONE - 1)
    for sign in (-1, 1):
        for level in range(_ONE - 1, low - 1, -1):
            difference = shown[_BUY, level] - levels[_BUY, level]
            if difference * sign > 0:
                change_level(messages, state, levels, rows, at, _BUY, level, difference)
        for level in range(1, high + 1):
            difference = shown[_SELL, level] - levels[_SELL, level]
            if difference * sign > 0:
                change_level(messages, state, levels, rows, at, _SELL, level, difference)


@inner
def change_level(messages, state, levels, rows, at, side, price, qty):  # type: ignore[no-untyped-def]
    """Append a change of one level by qty (signed) and apply it. Return its row."""
    kind = _ROW_INCREASE if qty > 0 else _ROW_DECREASE
    row = emit(state, rows, messages["ts"][at], state[RECV], kind, abs(qty))
    rows["side"][row] = side
    rows["price"][row] = price
    if qty < 0:
        rows["ahead"][row] = -1
    set_level(state, levels, side, price, levels[side, price] + qty)
    return row


@inner
def change_of(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """Return by how much a CHANGE or SET changes its level; 0 if it is not to be applied."""
    side = np.int64(messages["side"][at])
    price = np.int64(messages["price"][at])
    qty = messages["qty"][at]
    is_set = messages["kind"][at] == _SET
    if side < 0 or side > 1 or abs(qty) > _QTY_MAX or (is_set and qty < 0):
        verdicts[at] = BAD_VALUE
    elif not on_grid(state, price):
        verdicts[at] = OFF_GRID
    if verdicts[at] != KEPT:
        if state[TRUSTED]:
            emit_gap(state, rows, levels, state[RECV])
        return np.int64(0)
    if not state[TRUSTED]:
        verdicts[at] = IN_GAP if state[ANCHORED] else UNANCHORED
        return np.int64(0)
    if is_set:
        qty -= levels[side, price]
    if qty == 0:
        verdicts[at] = UNCHANGED
        return np.int64(0)
    end_burst(state, rows, levels, messages["ts"][at], state[RECV])
    if not state[TRUSTED]:
        verdicts[at] = IN_GAP
        return np.int64(0)
    if levels[side, price] + qty < 0 or abs(qty) > _QTY_MAX:
        verdicts[at] = IMPOSSIBLE
        emit_gap(state, rows, levels, state[RECV])
        return np.int64(0)
    note_price(state, price)
    if refine(state, price):
        emit_grid(state, rows, messages["ts"][at], state[RECV])
    return qty


@inner
def take_change(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """Apply a CHANGE or SET of one level."""
    qty = change_of(messages, state, levels, rows, verdicts, at)
    if qty == 0:
        return
    side = np.int64(messages["side"][at])
    price = np.int64(messages["price"][at])
    row = change_level(messages, state, levels, rows, at, side, price, qty)
    if qty > 0:
        rows["flags"][row] = messages["flags"][at] & _REPRICE
    elif messages["kind"][at] == _CHANGE:
        place(messages, state, rows, row, at)


@inner
def place(messages, state, rows, row, at):  # type: ignore[no-untyped-def]
    """State in a decrease what stood ahead of it, as far as the recording knows."""
    ahead = np.int64(messages["ahead"][at])
    rows["ahead"][row] = ahead
    rows["flags"][row] = messages["flags"][at] & _GUESSED
    if ahead < 0:
        state[UNKNOWN_PLACE] += 1
    elif messages["flags"][at] & _GUESSED:
        state[GUESSES] += 1
    else:
        state[IDENTIFIED] += 1


@inner
def emit_trade(messages, state, rows, at, ts, recv, flag):  # type: ignore[no-untyped-def]
    """Append the trade at `at`."""
    row = emit(state, rows, ts, recv, _ROW_TRADE, messages["qty"][at])
    rows["side"][row] = messages["side"][at]
    rows["price"][row] = messages["price"][at]
    rows["flags"][row] = flag | (messages["flags"][at] & _BLOCK)
    note_price(state, np.int64(messages["price"][at]))
    if flag == _JOINED:
        state[JOINED] += 1
    else:
        state[UNJOINED] += 1


@inner
def take_trade(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A trade; together with what it did to the book, if that is the next message.

    Return how many messages were taken: 1 or 2.
    """
    side = np.int64(messages["side"][at])
    price = np.int64(messages["price"][at])
    qty = messages["qty"][at]
    if side < 0 or side > 1 or qty <= 0 or qty > _QTY_MAX:
        verdicts[at] = BAD_VALUE
        return 1
    if not on_grid(state, price):
        verdicts[at] = OFF_GRID
        return 1
    ts, recv = messages["ts"][at], messages["recv"][at]
    after = at + 1
    if (
        not messages["flags"][at] & _JOINED or after >= len(messages)
        or (messages["kind"][after] != _CHANGE and messages["kind"][after] != _SET)
        or messages["side"][after] != side or messages["price"][after] != price
        or messages["ts"][after] != ts
    ):
        end_burst(state, rows, levels, ts, max(state[RECV], recv))
        emit_trade(messages, state, rows, at, ts, recv, _UNJOINED)
        return 1
    state[RECV] = max(state[RECV], messages["recv"][after])
    change = change_of(messages, state, levels, rows, verdicts, after)
    if -change < qty:
        emit_trade(messages, state, rows, at, ts, recv, _UNJOINED)
        if change:
            row = change_level(messages, state, levels, rows, after, side, price, change)
            if change < 0 and messages["kind"][after] == _CHANGE:
                place(messages, state, rows, row, after)
        return 2
    emit_trade(messages, state, rows, at, ts, max(recv, state[RECV]), _JOINED)
    row = change_level(messages, state, levels, rows, after, side, price, -qty)
    rows["ahead"][row] = messages["ahead"][after] if messages["kind"][after] == _CHANGE else -1
    if -change > qty:
        change_level(messages, state, levels, rows, after, side, price, change + qty)
        state[UNKNOWN_PLACE] += 1
    return 2


@inner
def take_status(messages, state, levels, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A status; one that closes the market empties its book."""
    status = messages["qty"][at]
    payout = np.int64(messages["price"][at])
    if status < 0 or status > _DISPUTED or payout > _ONE:
        verdicts[at] = BAD_VALUE
        return
    if status >= _DETERMINED and payout < 0:
        verdicts[at] = NO_PAYOUT
        return
    ts = messages["ts"][at]
    end_burst(state, rows, levels, ts, state[RECV])
    row = emit(state, rows, ts, state[RECV], _ROW_STATUS, status)
    rows["flags"][row] = messages["flags"][at] & _STATUS_FLAGS
    if status >= _DETERMINED:
        rows["price"][row] = payout
    if status >= _CLOSED:
        clear(state, levels)
        state[ENDED] = 1


@inner
def take_terms(messages, state, rows, verdicts, at):  # type: ignore[no-untyped-def]
    """A grid or fee rates; before the first snapshot they wait for it."""
    if messages["kind"][at] == _GRID:
        center, edge = np.int64(messages["price"][at]), np.int64(messages["ahead"][at])
        width = messages["qty"][at]
        is_wide = width < 0 or 2 * width > _ONE
        if is_wide or center <= 0 or edge <= 0 or _ONE % center or _ONE % edge:
            verdicts[at] = BAD_VALUE
            return
        state[LISTED] = 0 if messages["flags"][at] & _LOOSE else 1
        state[CENTER], state[EDGE], state[WIDTH] = center, edge, width
        if state[ANCHORED]:
            emit_grid(state, rows, messages["ts"][at], state[RECV])
        return
    taker, maker = messages["qty"][at], np.int64(messages["ahead"][at])
    if taker < 0 or taker > 1_000_000 or maker < 0 or maker > 1_000_000:
        verdicts[at] = BAD_VALUE
        return
    state[TAKER], state[MAKER] = taker, maker
    if state[ANCHORED]:
        emit_fee(state, rows, messages["ts"][at], state[RECV])


@entry
def fold_rows(messages, begin, state, levels, shown, rows, verdicts):  # type: ignore[no-untyped-def]
    """Fold messages of one market from `begin` on; return where it stopped for want of room.

    messages: MESSAGE_DTYPE, in order of arrival. state: words. levels, shown: int64 [side, price].
    rows: TAPE_DTYPE, filled from 0; state[ROWS] says how far. verdicts: filled, one per message.
    """
    at = begin
    while at < len(messages):
        kind = np.int64(messages["kind"][at])
        count = np.int64(1)
        if kind == _SNAPSHOT or kind == _BOOK:
            count = levels_after(messages, at) + 1
        if len(rows) - state[ROWS] < MARGIN + count:
            break
        ts = messages["ts"][at]
        if kind != _TRADE:
            state[RECV] = max(state[RECV], messages["recv"][at])
        if kind == _CHANGE or kind == _SET or kind == _TRADE:
            spread = messages["recv"][at] - ts
            state[OFFSET] = min(state[OFFSET], spread)
        if kind == _LOST:
            if state[TRUSTED] and not state[ENDED]:
                emit_gap(state, rows, levels, state[RECV])
        elif state[ENDED] and kind != _STATUS:
            verdicts[at] = AFTER_CLOSE
        elif ts < state[LAST_TS]:
            verdicts[at] = FALLING
            if state[TRUSTED] and kind <= _SET and not state[ENDED]:
                emit_gap(state, rows, levels, state[RECV])
        elif kind == _SNAPSHOT or kind == _BOOK:
            take_book(messages, state, levels, shown, rows, verdicts, at)
        elif kind == _CHANGE or kind == _SET:
            take_change(messages, state, levels, rows, verdicts, at)
        elif kind == _TRADE:
            count = np.int64(take_trade(messages, state, levels, rows, verdicts, at))
        elif kind == _STATUS:
            take_status(messages, state, levels, rows, verdicts, at)
        elif kind == _GRID or kind == _FEE:
            take_terms(messages, state, rows, verdicts, at)
        else:
            verdicts[at] = BAD_VALUE
        at += count
    return at


@entry
def finish(state, levels, rows):  # type: ignore[no-untyped-def]
    """End the last burst: a recording that stops in a crossed book stops in a gap."""
    end_burst(state, rows, levels, np.int64(-1), state[RECV])
