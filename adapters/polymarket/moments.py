"""The messages of one Polymarket market, in YES terms, a moment (one ts) at a time.

Both tokens speak of one book, and the last word counts: a statement that the other token makes at
the same time is a check. A trade is joined to a decrease of its moment, price and maker side.
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.schema import MarketStatus, Side, TapeFlag
from foldbook.engine.units import PRICE_ONE

from ..recordings import MESSAGE_DTYPE, ImportedMarket, MessageFlag, MessageKind

FLUSHED_MESSAGES = 1 << 15
"""Messages of a market that wait in memory."""

Levels = tuple[dict[int, int], dict[int, int]]
"""Quantity by price, for each Side."""


@attrs.frozen
class Origin:
    """Where a frame was read, when it was received, and which token it speaks of."""

    file: int
    row: int
    ts: int
    recv: int
    is_yes: bool


@attrs.frozen
class _Statement:
    """A SET of one level, or a BOOK with all of its levels."""

    origin: Origin
    levels: tuple[tuple[int, int, int], ...]
    is_book: bool


@attrs.frozen
class _Trade:
    origin: Origin
    side: int
    price: int
    qty: int


class Moments:
    """Takes the frames of one market in order and hands messages to its import."""

    def __init__(self, imported: ImportedMarket):
        self.imported = imported
        imported.is_counting = False
        self._levels: Levels = ({}, {})
        self._before: Levels = ({}, {})
        """The book before the moment that is being read."""
        self._step: int | None = None
        self._is_anchored = False
        self._ts = -1
        self._latest = -1
        self._statements: list[_Statement] = []
        self._trades: list[_Trade] = []
        self._others: list[np.ndarray] = []
        self._stated: dict[tuple[int, int], tuple[int, bool]] = {}
        self._book: tuple[bool, Levels] | None = None
        self._hashes: set[tuple[str, int, int]] = set()
        self._waiting: list[np.ndarray] = []
        self._count = 0

    def book(self, origin: Origin, levels: tuple[tuple[int, int, int], ...]) -> None:
        """Take a full book: (side, price, qty) of each level."""
        self._begin(origin)
        found: Levels = ({}, {})
        for side, price, qty in levels:
            found[side][price] = qty
        if self._book is not None and self._book[0] != origin.is_yes:
            agrees = self._book[1] == found
            self.imported.counts["agreeing" if agrees else "disagreeing"] += 1
            if agrees and found == self._levels:
                return
        self._book = (origin.is_yes, found)
        self._statements.append(_Statement(origin, levels, True))
        self._levels = (dict(found[0]), dict(found[1]))
        self._is_anchored = True

    def change(self, origin: Origin, side: int, price: int, qty: int) -> None:
        """Take the new size of a level."""
        self._begin(origin)
        before = self._stated.get((side, price))
        if before is not None and before[1] != origin.is_yes:
            agrees = before[0] == qty
            self.imported.counts["agreeing" if agrees else "disagreeing"] += 1
            if agrees:
                return
        self._stated[side, price] = (qty, origin.is_yes)
        self._statements.append(_Statement(origin, ((side, price, qty),), False))
        if qty:
            self._levels[side][price] = qty
        else:
            self._levels[side].pop(price, None)

    def check_best(self, origin: Origin, bid: int | None, ask: int | None) -> None:
        """Compare the best prices that a frame states (0 and one dollar: none) with the book.

        If they differ something was lost: the book is not trusted until the next full one.
        """
        if not self._is_anchored:
            return
        best = (max(self._levels[Side.BUY], default=0),
                min(self._levels[Side.SELL], default=PRICE_ONE))
        stated = (best[0] if bid is None else bid, best[1] if ask is None else ask)
        if stated != best:
            self.imported.counts["best_mismatch"] += 1
            self.lose(origin)

    def lose(self, origin: Origin) -> None:
        """End the trust in the book until the next full one."""
        self._flush_moment()
        self._is_anchored = False
        self._keep(_message(origin, MessageKind.LOST))

    def trade(
        self, origin: Origin, side: int, price: int, qty: int, transaction: str | None
    ) -> None:
        """Take a trade. side: the maker's. One that the other token reports too counts once."""
        self._begin(origin)
        if transaction is not None:
            key = (transaction, price, qty)
            if key in self._hashes and any(
                (each.side, each.price, each.qty) == (side, price, qty)
                and each.origin.is_yes != origin.is_yes for each in self._trades
            ):
                self.imported.counts["mirrored_trades"] += 1
                return
            self._hashes.add(key)
        self._trades.append(_Trade(origin, side, price, qty))

    def tick(self, origin: Origin, step: int) -> None:
        """Take a new step of the price grid; prices that are finer refine it all the same."""
        if step == self._step:
            return
        self._step = step
        self._begin(origin)
        message = _message(origin, MessageKind.GRID, price=step, flags=int(MessageFlag.LOOSE))
        message["ahead"] = step
        self._others.append(message)

    def settle(self, origin: Origin, payout: int) -> None:
        """The market closes and settles."""
        self._begin(origin)
        for status, price in ((MarketStatus.CLOSED, 0), (MarketStatus.SETTLED, payout)):
            self._others.append(_message(origin, MessageKind.STATUS, price=price, qty=int(status)))

    def finish(self, ending: np.ndarray) -> None:
        """Hand over what waits and what ends the market, and store it."""
        self._flush_moment()
        self._flush()
        self.imported.add(ending)
        self.imported.finish()

    @property
    def ts(self) -> int:
        """The latest ts so far, ns; -1 before the first."""
        return self._latest

    def _begin(self, origin: Origin) -> None:
        if origin.ts != self._ts:
            self._flush_moment()
            self._ts = origin.ts
            self._latest = max(self._latest, origin.ts)

    def _flush_moment(self) -> None:
        """Turn what was stated at one time into messages, trades before what they took."""
        waiting = self._trades
        levels = self._before
        for statement in self._statements:
            waiting = self._join(statement, levels, waiting)
        for trade in waiting:
            self._keep(_trade_message(trade, 0))
        for message in self._others:
            self._keep(message)
        self._statements, self._trades, self._others = [], [], []
        self._stated, self._book = {}, None
        self._hashes = set()
        self._before = (dict(self._levels[0]), dict(self._levels[1]))

    def _join(self, statement: _Statement, levels: Levels, trades: list[_Trade]) -> list[_Trade]:
        """Emit a statement, and before it each trade that it may have shown; return the others."""
        stated: Levels = ({}, {})
        for side, price, qty in statement.levels:
            stated[side][price] = qty
        left = []
        for trade in trades:
            before = levels[trade.side].get(trade.price, 0)
            is_named = statement.is_book or trade.price in stated[trade.side]
            after = stated[trade.side].get(trade.price, 0)
            if not is_named or before - after < trade.qty:
                left.append(trade)
                continue
            self._keep(_trade_message(trade, int(TapeFlag.JOINED)))
            self._keep(_message(statement.origin, MessageKind.CHANGE, side=trade.side,
                                price=trade.price, qty=-trade.qty))
            levels[trade.side][trade.price] = before - trade.qty
        if statement.is_book:
            self._keep(_book_messages(statement))
            for side in Side:
                levels[side].clear()
                levels[side].update(stated[side])
            return left
        [(ladder, price, qty)] = statement.levels
        if levels[ladder].get(price, 0) != qty or len(left) == len(trades):
            self._keep(_message(statement.origin, MessageKind.SET, side=ladder, price=price,
                                qty=qty))
        levels[ladder][price] = qty
        return left

    def _keep(self, messages: np.ndarray) -> None:
        self._waiting.append(messages)
        self._count += len(messages)
        # A joined trade and its change are kept one after the other: they must not be parted.
        if self._count >= FLUSHED_MESSAGES and messages["kind"][0] != MessageKind.TRADE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self.imported.add(np.concatenate(self._waiting))
        self._waiting, self._count = [], 0


def _message(
    origin: Origin, kind: MessageKind, *, side: int = 0, price: int = 0, qty: int = 0,
    flags: int = 0,
) -> np.ndarray:
    message = np.zeros(1, MESSAGE_DTYPE)
    message[0] = (origin.ts, origin.recv, qty, origin.row, price, 0, 0, origin.file, kind, side,
                  flags)
    return message


def _trade_message(trade: _Trade, flags: int) -> np.ndarray:
    return _message(trade.origin, MessageKind.TRADE, side=trade.side, price=trade.price,
                    qty=trade.qty, flags=flags)


def _book_messages(statement: _Statement) -> np.ndarray:
    messages = np.repeat(_message(statement.origin, MessageKind.LEVEL), len(statement.levels) + 1)
    messages["kind"][0] = MessageKind.BOOK
    messages["qty"][0] = len(statement.levels)
    for column, name in enumerate(("side", "price", "qty")):
        messages[name][1:] = [level[column] for level in statement.levels]
    return messages
