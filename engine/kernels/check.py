"""Whether a tape keeps the rules that the kernels rely on; run once, when a session is made.

Everything after it indexes without looking: so a price is a level of its market's grid, a level
never falls below zero, a trade that says it was joined stands right before its decrease, nothing
changes a book that is not trusted, and at the end of a burst no trusted book is crossed.
"""

from __future__ import annotations

import numpy as np

from ..compiled import entry, inner
from ..schema import MarketStatus, TapeFlag, TapeKind
from ..units import PPM, PRICE_ONE, QTY_MAX

(
    VALID,
    BACKWARDS,
    NO_SUCH_MARKET,
    NO_SUCH_KIND,
    NO_SUCH_SIDE,
    OFF_GRID,
    BAD_QTY,
    BELOW_ZERO,
    UNTRUSTED,
    STRAY_LEVEL,
    NOT_JOINED,
    CROSSED,
    BAD_STATUS,
    BAD_GRID,
    BAD_FEE,
    BAD_TERM,
) = range(16)

_SNAPSHOT = int(TapeKind.SNAPSHOT)
_SNAPSHOT_LEVEL = int(TapeKind.SNAPSHOT_LEVEL)
_INCREASE = int(TapeKind.INCREASE)
_DECREASE = int(TapeKind.DECREASE)
_TRADE = int(TapeKind.TRADE)
_STATUS = int(TapeKind.STATUS)
_GRID = int(TapeKind.GRID)
_FEE = int(TapeKind.FEE)
_CLOSE_TIME = int(TapeKind.CLOSE_TIME)
_STRIKE = int(TapeKind.STRIKE)
_GAP = int(TapeKind.GAP)
_JOINED = int(TapeFlag.JOINED)
_DISPUTED = int(MarketStatus.DISPUTED)
_CLOSED = int(MarketStatus.CLOSED)
_TRUST, _ENDED, _BEST_BUY, _BEST_SELL, _TICK, _TOP, _RECIPROCAL, _FIRST = range(8)
"""Words of a market: trusted, closed, best ranks and grid (see layout), then levels by rank."""


def market_words(tick: int) -> int:
    """Return how many words `find_fault` needs for a market with this tick."""
    return _FIRST + 2 * (PRICE_ONE // tick + 1)


@entry
def find_fault(tape, ticks, bases, words):
    """Return (fault, row) of the first row that breaks a rule; (VALID, 0) if none does.

    tape: TAPE_DTYPE rows. ticks: int64, the tick of each market. bases: int64, where the words of
    each market begin. words: int64 zeros, `market_words` for each market.
    """
    for each in range(len(ticks)):
        words[bases[each] + _TICK] = ticks[each]
        words[bases[each] + _TOP] = PRICE_ONE // ticks[each]
        words[bases[each] + _RECIPROCAL] = -(-(1 << 32) // ticks[each])
    last = np.int64(0)
    # Of the book of the burst so far, whatever its last row is; at the start of one it is not.
    crossed = False
    for i in range(len(tape)):
        ts = tape[i]["ts"]
        market = np.int64(tape[i]["market"])
        if crossed and not _continues(tape, i):
            return CROSSED, i - 1
        if i > 0 and ts < last:
            return BACKWARDS, i
        if market < 0 or market >= len(ticks):
            return NO_SUCH_MARKET, i
        last = np.int64(ts)
        base = bases[market]
        kind = np.int64(tape[i]["kind"])
        if kind < _SNAPSHOT_LEVEL or kind > _TRADE:
            fault = _rare_fault(tape[i], kind, words, base)
            if fault != VALID:
                return fault, i
            crossed = crossed and _is_crossed(words, base)
            continue
        side = np.int64(tape[i]["side"])
        price = np.int64(tape[i]["price"])
        qty = tape[i]["qty"]
        level = (price * words[base + _RECIPROCAL]) >> 32
        if side < 0 or side > 1:
            return NO_SUCH_SIDE, i
        if price <= 0 or price >= PRICE_ONE or level * words[base + _TICK] != price:
            return OFF_GRID, i
        if qty <= 0 or qty > QTY_MAX:
            return BAD_QTY, i
        if kind == _TRADE:
            if tape[i]["flags"] & _JOINED and not _is_joined(tape, i):
                return NOT_JOINED, i
            continue
        if words[base + _TRUST] == 0:
            return UNTRUSTED, i
        top = words[base + _TOP]
        rank = level + side * (top - 2 * level)
        at = base + _FIRST + side * (top + 1) + rank
        if kind == _SNAPSHOT_LEVEL:
            if not _continues_snapshot(tape, i):
                return STRAY_LEVEL, i
            left = qty
        else:
            left = words[at] + qty * (_INCREASE + _DECREASE - 2 * kind)
            if left < 0:
                return BELOW_ZERO, i
        words[at] = left
        best = words[base + _BEST_BUY + side]
        if rank >= best and (left == 0 or rank > best):
            while left == 0 and rank > 0:
                rank -= 1
                at -= 1
                left = words[at]
            words[base + _BEST_BUY + side] = rank
        crossed = _is_crossed(words, base)
    if crossed:
        return CROSSED, len(tape) - 1
    return VALID, 0


@inner
def _is_crossed(words, base):
    return words[base + _BEST_BUY] + words[base + _BEST_SELL] >= words[base + _TOP]


@inner
def _continues(tape, i):
    """Whether row `i` belongs to the burst of the row before it."""
    if i == 0 or i == len(tape):
        return False
    return tape[i]["ts"] == tape[i - 1]["ts"] and tape[i]["market"] == tape[i - 1]["market"]


@inner
def _continues_snapshot(tape, i):
    if not _continues(tape, i):
        return False
    return tape[i - 1]["kind"] == _SNAPSHOT or tape[i - 1]["kind"] == _SNAPSHOT_LEVEL


@inner
def _is_joined(tape, i):
    """Whether the trade in row `i` stands right before its own decrease."""
    if i + 1 == len(tape):
        return False
    trade, change = tape[i], tape[i + 1]
    same = change["kind"] == _DECREASE and change["market"] == trade["market"]
    same = same and change["ts"] == trade["ts"] and change["side"] == trade["side"]
    return same and change["price"] == trade["price"] and change["qty"] == trade["qty"]


@inner
def _rare_fault(row, kind, words, base):
    if kind < _SNAPSHOT or kind > _STRIKE:
        return NO_SUCH_KIND
    tick = words[base + _TICK]
    price = np.int64(row["price"])
    qty = row["qty"]
    if kind == _STATUS:
        if qty < 0 or qty > _DISPUTED or price < 0 or price > PRICE_ONE:
            return BAD_STATUS
        if qty >= _CLOSED and words[base + _ENDED] == 0:
            words[base + _ENDED] = 1
            _clear(words, base)
    elif kind == _GRID:
        edge = np.int64(row["ahead"])
        if price <= 0 or edge <= 0 or price % tick != 0 or edge % tick != 0:
            return BAD_GRID
        if qty < 0 or 2 * qty > PRICE_ONE:
            return BAD_GRID
    elif kind == _FEE:
        if qty < 0 or qty > PPM or row["ahead"] < 0 or row["ahead"] > PPM:
            return BAD_FEE
    elif kind == _CLOSE_TIME or kind == _STRIKE:
        if (kind == _CLOSE_TIME and qty <= 0) or row["side"] < 0 or row["side"] > 1:
            return BAD_TERM
    elif kind == _SNAPSHOT or kind == _GAP:
        words[base + _TRUST] = 1 if kind == _SNAPSHOT else 0
        _clear(words, base)
    return VALID


@inner
def _clear(words, base):
    top = words[base + _TOP]
    for word in range(base + _FIRST, base + _FIRST + 2 * (top + 1)):
        words[word] = 0
    words[base + _BEST_BUY] = 0
    words[base + _BEST_SELL] = 0
