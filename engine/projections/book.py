"""View of OrderBook: one market's visible book, in the terms of either outcome.

The one place where NO is mirrored: a NO price is one dollar less the YES price, and its bids are
the YES asks (SPEC 1.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..kernels.layout import (
    ACCOUNT,
    BEST_BUY,
    CLOSES_AT,
    GRID_CENTRE,
    GRID_EDGE,
    GRID_WIDTH,
    HEAD_BUY,
    LEFT,
    LEVEL_WORDS,
    MARKET_WORDS,
    MID2,
    NEXT,
    ORDER_WORDS,
    ORDERS,
    OWNER,
    QTY,
    RANK,
    STATUS,
    TAKEN,
    TICK,
    TOP,
    TRUSTED,
)
from ..schema import NO_TIME, MarketStatus, Outcome, Side
from ..units import PRICE_ONE


def mirror(side: int, price: int, outcome: int) -> tuple[int, int]:
    """Return (side, price) of an order in YES terms; the same function leads back.

    >>> mirror(Side.BUY, 3000, Outcome.NO) == (Side.SELL, 7000)
    True
    """
    return side ^ outcome, PRICE_ONE - price if outcome else price


class BookView:
    """One market's book as it can be traded against: recorded quantities less own takings.

    Prices in $0.0001, quantities in 0.01 contract. A missing bid is 0, a missing ask one dollar.
    """

    __slots__ = ("_base", "_bids", "_memory", "_outcome", "_rows", "_tick")

    def __init__(self, memory: memoryview, base: int, outcome: Outcome = Outcome.YES):
        self._memory = memory
        self._base = base
        self._outcome = outcome
        self._bids = int(outcome)
        self._rows = memory[base + TOP] + 1
        self._tick = memory[base + TICK]

    def _best(self, side: int) -> int:
        """Return the visible best rank of a YES side."""
        memory, base = self._memory, self._base
        rank: int = memory[base + BEST_BUY + side]
        at = base + MARKET_WORDS + LEVEL_WORDS * (side * self._rows + rank)
        while rank and memory[at + QTY] == memory[at + TAKEN]:
            rank -= 1
            at -= LEVEL_WORDS
        return rank

    @property
    def best_bid(self) -> int:
        """Highest visible bid; 0 if there is none."""
        return self._best(self._bids) * self._tick

    @property
    def best_ask(self) -> int:
        """Lowest visible ask; one dollar if there is none."""
        return PRICE_ONE - self._best(1 - self._bids) * self._tick

    @property
    def best_bid_qty(self) -> int:
        """Visible quantity at the best bid; 0 if there is none."""
        return self._visible(self._bids, self._best(self._bids))

    @property
    def best_ask_qty(self) -> int:
        """Visible quantity at the best ask; 0 if there is none."""
        return self._visible(1 - self._bids, self._best(1 - self._bids))

    @property
    def spread(self) -> int:
        """Best ask less best bid."""
        return self.best_ask - self.best_bid

    @property
    def mid2(self) -> int:
        """Twice the mid of the visible book."""
        return self.best_bid + self.best_ask

    @property
    def mark2(self) -> int:
        """Twice the mid at which the market is marked: of the recorded book, last trusted."""
        mark: int = self._memory[self._base + MID2]
        return 2 * PRICE_ONE - mark if self._outcome else mark

    @property
    def microprice(self) -> int:
        """Mid weighted by the opposite quantities at the touch, rounded down; mid if one is 0.

        (bid x ask qty + ask x bid qty) / (bid qty + ask qty).
        """
        bids, asks = self.best_bid_qty, self.best_ask_qty
        if not bids or not asks:
            return self.mid2 // 2
        return (self.best_bid * asks + self.best_ask * bids) // (bids + asks)

    @property
    def grid(self) -> tuple[int, int, int]:
        """(step in the centre, step at the edges, width of each edge) of the price grid now."""
        memory, base = self._memory, self._base
        return memory[base + GRID_CENTRE], memory[base + GRID_EDGE], memory[base + GRID_WIDTH]

    @property
    def closes_at(self) -> int | None:
        """When the market is due to close, ns, as far as is known by now; None if it is not."""
        due: int = self._memory[self._base + CLOSES_AT]
        return None if due == NO_TIME else due

    @property
    def status(self) -> MarketStatus:
        """Status of the market."""
        return MarketStatus(self._memory[self._base + STATUS])

    @property
    def is_trusted(self) -> bool:
        """Whether the record has no hole up to now: false before the first snapshot and in gaps."""
        return bool(self._memory[self._base + TRUSTED])

    def qty(self, side: Side, price: int) -> int:
        """Return the visible quantity at a price. Raises ValueError off the book's grid."""
        tick = self._tick
        if not 0 <= price <= PRICE_ONE or price % tick:
            raise ValueError(f"price {price} is not a multiple of {tick} from 0 to {PRICE_ONE}")
        yes_side, yes_price = mirror(side, price, self._outcome)
        rank = (PRICE_ONE - yes_price if yes_side else yes_price) // tick
        return self._visible(yes_side, rank)

    def bids(self, depth: int | None = None) -> list[tuple[int, int]]:
        """Return (price, qty) of the visible bids, best first; all, or `depth` of them."""
        tick = self._tick
        return [(rank * tick, qty) for rank, qty in self._ladder(self._bids, depth)]

    def asks(self, depth: int | None = None) -> list[tuple[int, int]]:
        """Return (price, qty) of the visible asks, best first; all, or `depth` of them."""
        tick = self._tick
        return [
            (PRICE_ONE - rank * tick, qty) for rank, qty in self._ladder(1 - self._bids, depth)
        ]

    def of(self, outcome: Outcome) -> BookView:
        """Return the same book in the terms of an outcome."""
        return type(self)(self._memory, self._base, outcome)

    def _visible(self, side: int, rank: int) -> int:
        at = self._base + MARKET_WORDS + LEVEL_WORDS * (side * self._rows + rank)
        return int(self._memory[at + QTY] - self._memory[at + TAKEN])

    def _ladder(self, side: int, depth: int | None) -> list[tuple[int, int]]:
        if depth is not None and depth < 0:
            raise ValueError(f"depth: {depth}; expected 0 or more")
        levels: list[tuple[int, int]] = []
        rank = self._best(side)
        while rank > 0 and (depth is None or len(levels) < depth):
            qty = self._visible(side, rank)
            if qty:
                levels.append((rank, qty))
            rank -= 1
        return levels

    def __repr__(self) -> str:
        return f"{type(self).__name__}(best_bid={self.best_bid}, best_ask={self.best_ask})"


class SharedBookView(BookView):
    """A book that several accounts trade on, as one of them sees it: orders of the others are as
    good as what is displayed, its own are not shown."""

    __slots__ = ()

    def _others(self, side: int) -> Iterator[tuple[int, int]]:
        """Yield (rank, open quantity) of the orders of other accounts, first to fill first."""
        memory, base = self._memory, self._base
        slot = memory[base + HEAD_BUY + side]
        while slot:
            at = memory[base + ORDERS] + ORDER_WORDS * slot
            if memory[at + OWNER] != memory[ACCOUNT]:
                yield memory[at + RANK], memory[at + LEFT]
            slot = memory[at + NEXT]

    def _best(self, side: int) -> int:
        return max(super()._best(side), next(self._others(side), (0, 0))[0])

    def _visible(self, side: int, rank: int) -> int:
        others = sum(left for at, left in self._others(side) if at == rank)
        return super()._visible(side, rank) + others
