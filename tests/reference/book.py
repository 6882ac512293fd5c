"""The recorded book of one market, and what own fills took of it (docs/semantics.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedDict

from foldbook.engine.schema import Side
from foldbook.engine.units import PRICE_ONE


def opposite(side: int) -> Side:
    """Return the other side."""
    return Side.SELL if side == Side.BUY else Side.BUY


def matches(side: int, limit: int, price: int) -> bool:
    """Say whether an order of `side` with `limit` trades with the other side's `price`."""
    return price <= limit if side == Side.BUY else price >= limit


def leg_cost(side: int, price: int) -> int:
    """Return what one unit of the leg costs that `side` acquires at `price` (section 5)."""
    return price if side == Side.BUY else PRICE_ONE - price


class Ladder:
    """One side of the recorded book, and what own fills took of its levels (section 2)."""

    def __init__(self, side: Side):
        self.side = side
        self.qty: SortedDict = SortedDict()
        self.taken: dict[int, int] = {}

    def set(self, price: int, qty: int) -> None:
        """Set a level, and give back what was taken beyond it."""
        if qty:
            self.qty[price] = qty
        else:
            self.qty.pop(price, None)
        self.clamp(price)

    def clamp(self, price: int) -> None:
        """Apply `taken = min(taken, qty)` to one level."""
        taken = min(self.taken.get(price, 0), self.at(price))
        if taken:
            self.taken[price] = taken
        else:
            self.taken.pop(price, None)

    def take(self, price: int, qty: int) -> None:
        """Hide what an own fill took of a level."""
        self.taken[price] = self.taken.get(price, 0) + qty

    def at(self, price: int) -> int:
        """Return the recorded quantity of a level."""
        return self.qty.get(price, 0)

    def visible_at(self, price: int) -> int:
        """Return what can be seen of a level: recorded, less what own fills took."""
        return self.at(price) - self.taken.get(price, 0)

    def visible(self) -> Iterator[tuple[int, int]]:
        """Yield (price, visible quantity) of the levels that show any, best first."""
        for price in reversed(self.qty) if self.side == Side.BUY else iter(self.qty):
            shown = self.visible_at(price)
            if shown > 0:
                yield price, shown

    @property
    def nothing(self) -> int:
        """The price that stands for a missing best."""
        return 0 if self.side == Side.BUY else PRICE_ONE

    @property
    def recorded_best(self) -> int:
        """Best price with a recorded quantity."""
        if not self.qty:
            return self.nothing
        return self.qty.peekitem(-1 if self.side == Side.BUY else 0)[0]

    @property
    def visible_best(self) -> int:
        """Best price that shows any quantity."""
        return next(self.visible(), (self.nothing, 0))[0]

    def clear(self) -> None:
        """Empty the levels, and forget what was taken."""
        self.qty.clear()
        self.taken.clear()
