"""The messages of one Polymarket market, in YES terms, a moment (one ts) at a time.

Both tokens speak of one book, and the last word counts: a statement that the other token makes at
the same time is a check.
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.schema import MarketStatus, Side
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


class Moments:
    """Takes the frames of one market in order and hands messages to its import."""

    def __init__(self, imported: ImportedMarket):
        self.imported = imported
        imported.is_counting = False
        self._levels: Levels = ({}, {})
        self._step: int | None = None
        self._is_anchored = False
        self._ts = -1
        self._latest = -1
        self._stated: dict[tuple[int, int], tuple[int, bool]] = {}
        self._book: tuple[bool, Levels] | None = None
        self._trades: set[tuple[str, int, int, int, bool]] = set()
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
        messages = np.repeat(_message(origin, MessageKind.LEVEL), len(levels) + 1)
        messages["kind"][0] = MessageKind.BOOK
        messages["qty"][0] = len(levels)
        for column, name in enumerate(("side", "price", "qty")):
            messages[name][1:] = [level[column] for level in levels]
        self._keep(messages)
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
        self._keep(_message(origin, MessageKind.SET, side=side, price=price, qty=qty))
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
        self._is_anchored = False
        self._stated, self._book = {}, None
        self._keep(_message(origin, MessageKind.LOST))

    def trade(
        self, origin: Origin, side: int, price: int, qty: int, transaction: str | None
    ) -> None:
        """Take a trade. side: the maker's. One that the other token reports too counts once."""
        self._begin(origin)
        if transaction is not None:
            told = (transaction, side, price, qty)
            if (*told, not origin.is_yes) in self._trades:
                self.imported.counts["mirrored_trades"] += 1
                return
            self._trades.add((*told, origin.is_yes))
        self._keep(_message(origin, MessageKind.TRADE, side=side, price=price, qty=qty))

    def tick(self, origin: Origin, step: int) -> None:
        """Take a new step of the price grid; prices that are finer refine it all the same."""
        if step == self._step:
            return
        self._step = step
        self._begin(origin)
        message = _message(origin, MessageKind.GRID, price=step, flags=int(MessageFlag.LOOSE))
        message["ahead"] = step
        self._keep(message)

    def settle(self, origin: Origin, payout: int) -> None:
        """The market closes and settles."""
        self._begin(origin)
        for status, price in ((MarketStatus.CLOSED, 0), (MarketStatus.SETTLED, payout)):
            self._keep(_message(origin, MessageKind.STATUS, price=price, qty=int(status)))

    def finish(self, ending: np.ndarray) -> None:
        """Hand over what waits and what ends the market, and store it."""
        self._flush()
        self.imported.add(ending)
        self.imported.finish()

    @property
    def ts(self) -> int:
        """The latest ts so far, ns; -1 before the first."""
        return self._latest

    def _begin(self, origin: Origin) -> None:
        """Forget what was said at another time."""
        if origin.ts != self._ts:
            self._ts = origin.ts
            self._latest = max(self._latest, origin.ts)
            self._stated, self._book = {}, None
            self._trades = set()

    def _keep(self, messages: np.ndarray) -> None:
        self._waiting.append(messages)
        self._count += len(messages)
        if self._count >= FLUSHED_MESSAGES:
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
