"""Trades and what they did to the book, where both stand in one recording with one time.

Within a moment (adjacent messages of one ts) a trade belongs to the first change of its price and
maker side that takes at least its size; several trades may share one. All kernels.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import entry, inner
from foldbook.engine.schema import MarketStatus, TapeFlag
from foldbook.engine.units import PRICE_ONE

from .messages import MESSAGE_DTYPE, MessageFlag, MessageKind

_SNAPSHOT, _LEVEL, _BOOK = int(MessageKind.SNAPSHOT), int(MessageKind.LEVEL), int(MessageKind.BOOK)
_CHANGE, _SET, _TRADE = int(MessageKind.CHANGE), int(MessageKind.SET), int(MessageKind.TRADE)
_STATUS, _LOST = int(MessageKind.STATUS), int(MessageKind.LOST)
_CLOSED, _JOINED = int(MarketStatus.CLOSED), int(TapeFlag.JOINED)
_MORE = (int(MessageFlag.MORE_BUY), int(MessageFlag.MORE_SELL))
_ONE = PRICE_ONE
_ANY = -1


class Joiner:
    """Puts each trade of a market before what it took, and flags it; waits for whole moments."""

    def __init__(self) -> None:
        self._levels = np.zeros((2, _ONE + 1), np.int64)
        self._shown = np.zeros((2, _ONE + 1), np.int64)
        self._waiting = np.zeros(0, MESSAGE_DTYPE)

    def feed(self, messages: np.ndarray) -> np.ndarray:
        """Return the messages of all moments that are over: MESSAGE_DTYPE, in order."""
        messages = np.concatenate([self._waiting, messages])
        if not len(messages):
            return messages
        last = np.flatnonzero(messages["ts"] != messages["ts"][-1])
        end = int(last[-1]) + 1 if len(last) else 0
        self._waiting = messages[end:].copy()
        return self._joined(messages[:end])

    def finish(self) -> np.ndarray:
        """Return the messages of the last moment."""
        rest, self._waiting = self._waiting, self._waiting[:0]
        return self._joined(rest)

    def _joined(self, messages: np.ndarray) -> np.ndarray:
        trades = int(np.count_nonzero(messages["kind"] == MessageKind.TRADE))
        out = np.zeros(len(messages) + 2 * trades, MESSAGE_DTYPE)
        used = np.zeros(len(messages), np.bool_)
        return out[: join_rows(messages, self._levels, self._shown, used, out)]


@entry
def join_rows(messages, levels, shown, used, out):  # type: ignore[no-untyped-def]
    """Copy messages to `out`, moment by moment; return how many stand there.

    messages: whole moments. levels, shown: int64 [side, price], the book before, and room to look
    at a picture. used: False per message; set for trades that are joined.
    """
    count, begin = 0, 0
    while begin < len(messages):
        end = begin + 1
        while end < len(messages) and messages["ts"][end] == messages["ts"][begin]:
            end += 1
        at = begin
        while at < end:
            kind = np.int64(messages["kind"][at])
            if kind == _SNAPSHOT or kind == _BOOK:
                last = at
                while last + 1 < end and messages["kind"][last + 1] == _LEVEL:
                    last += 1
                show(messages, levels, shown, at, last)
                count = join(messages, levels, shown, used, out, count, begin, end, at, _ANY)
                for side in range(2):
                    for price in range(1, _ONE):
                        levels[side, price] = shown[side, price]
                while at <= last:
                    out[count] = messages[at]
                    count += 1
                    at += 1
                continue
            if kind == _CHANGE or kind == _SET:
                count = join_change(messages, levels, shown, used, out, count, begin, end, at)
            elif kind != _TRADE:
                if kind == _LOST or (kind == _STATUS and messages["qty"][at] >= _CLOSED):
                    levels[:] = 0
                out[count] = messages[at]
                count += 1
            at += 1
        for at in range(begin, end):
            if messages["kind"][at] == _TRADE and not used[at]:
                out[count] = messages[at]
                count += 1
        begin = end
    return count


@inner
def is_level(messages, at):  # type: ignore[no-untyped-def]
    """Whether a message names a side and a price that a book has."""
    side, price = messages["side"][at], messages["price"][at]
    return 0 <= side <= 1 and 0 < price < _ONE


@inner
def show(messages, levels, shown, at, last):  # type: ignore[no-untyped-def]
    """Fill `shown` with the book at `at`, whose levels end at `last`."""
    shown[:] = 0
    low, high = np.int64(_ONE), np.int64(0)
    for later in range(at + 1, last + 1):
        if is_level(messages, later):
            side, price = np.int64(messages["side"][later]), np.int64(messages["price"][later])
            shown[side, price] = messages["qty"][later]
            if side == 0:
                low = min(low, price)
            else:
                high = max(high, price)
    flags = np.int64(messages["flags"][at])
    if flags & _MORE[0]:
        for level in range(low):
            shown[0, level] = levels[0, level]
    if flags & _MORE[1]:
        for level in range(high + 1, _ONE + 1):
            shown[1, level] = levels[1, level]


@inner
def join(  # type: ignore[no-untyped-def]
    messages, levels, shown, used, out, count, begin, end, at, only
):
    """Put out the trades of a moment that the message at `at` may have shown, each with its change.

    shown: the book after it; only: the price of the one level that it speaks of, or _ANY.
    """
    for trade in range(begin, end):
        if messages["kind"][trade] != _TRADE or used[trade] or not is_level(messages, trade):
            continue
        side, price = np.int64(messages["side"][trade]), np.int64(messages["price"][trade])
        if only != _ANY and (price != only or side != messages["side"][at]):
            continue
        qty = messages["qty"][trade]
        if 0 < qty <= levels[side, price] - shown[side, price]:
            count = put_out(messages, used, out, count, trade, at)
            levels[side, price] -= qty
    return count


@inner
def put_out(messages, used, out, count, trade, at):  # type: ignore[no-untyped-def]
    """Put out a joined trade and its change, which the message at `at` showed; return the count."""
    out[count] = messages[trade]
    out["flags"][count] |= _JOINED
    out[count + 1] = messages[at]
    out["kind"][count + 1] = _CHANGE
    out["side"][count + 1] = messages["side"][trade]
    out["price"][count + 1] = messages["price"][trade]
    out["qty"][count + 1] = -messages["qty"][trade]
    out["ahead"][count + 1] = 0
    out["flags"][count + 1] = 0
    used[trade] = True
    return count + 2


@inner
def join_change(  # type: ignore[no-untyped-def]
    messages, levels, shown, used, out, count, begin, end, at
):
    """Put out a CHANGE or SET, and before it the trades of the moment that it may have shown."""
    if not is_level(messages, at):
        out[count] = messages[at]
        return count + 1
    side, price = np.int64(messages["side"][at]), np.int64(messages["price"][at])
    is_set = messages["kind"][at] == _SET
    before = levels[side, price]
    after = messages["qty"][at] if is_set else before + messages["qty"][at]
    first = count
    if 0 <= after < before:
        shown[side, price] = after
        count = join(messages, levels, shown, used, out, count, begin, end, at, price)
    left = after - levels[side, price]
    if left != 0 or count == first:
        out[count] = messages[at]
        if not is_set and count != first:
            out["qty"][count] = left
        count += 1
    levels[side, price] = max(after, np.int64(0))
    return count
