"""Strategies for tests, each written twice: in Python over the gateway, and compiled over verbs.

A maker that leans against its position and takes when it holds too much, and a taker that follows
the imbalance of the touch. Both look at every market of the session, and ask for nothing random.
"""

from __future__ import annotations

from typing import Any

from foldbook.engine import (
    KALSHI_2026_08,
    MarketStatus,
    Side,
    Simulation,
    TimeInForce,
    contracts,
    strategy,
    verbs,
)

FEES = KALSHI_2026_08
_IOC = int(TimeInForce.IOC)
TICK = 100
SIZE = contracts(5)
LIMIT = contracts(12)


def is_open(sim: Simulation, market: int) -> bool:
    """Return whether a market trades and its book is trusted."""
    book = sim.book(market)
    return book.status == MarketStatus.OPEN and book.is_trusted


class Maker:
    """Quotes both sides at the touch, further away the more it holds; takes to get out.

    markets: the indices it trades in, or all. Works as a function called every so often, and with
    `Quoting` after each change of a book.
    """

    def __init__(self, markets: tuple[int, ...] | None = None, size: int = SIZE):
        self.markets = markets
        self.size = size

    def __call__(self, sim: Simulation) -> None:
        chosen = range(len(sim.session.markets)) if self.markets is None else self.markets
        for market in chosen:
            if is_open(sim, market):
                self.quote(sim, market)

    def quote(self, sim: Simulation, market: int) -> None:
        """Bring the quotes of one market to where they should be."""
        book = sim.book(market)
        bid, ask = book.best_bid, book.best_ask
        if bid == 0 or ask == 10_000:
            return
        held = sim.positions.qty(market)
        lean = max(-3, min(3, 4 * held // LIMIT))
        self.keep(sim, market, Side.BUY, bid - TICK * max(0, lean))
        self.keep(sim, market, Side.SELL, ask + TICK * max(0, -lean))
        if held > LIMIT:
            sim.submit(market, Side.SELL, book.best_bid, held // 2, tif=TimeInForce.IOC)
        elif held < -LIMIT:
            sim.submit(market, Side.BUY, book.best_ask, -held // 2, tif=TimeInForce.IOC)

    def keep(self, sim: Simulation, market: int, side: Side, price: int) -> None:
        """Have one order of a side at a price."""
        own = [order for order in sim.orders.open(market) if order.side == side]
        if own and own[0].price == price:
            return
        if own:
            sim.cancel(own[0].id)
        sim.submit(market, side, price, self.size)


class Quoting(Maker):
    """The maker after each change of any book."""

    def on_book(self, sim: Simulation, market: str) -> None:
        """Quote in every market."""
        self(sim)


@verbs.inner
def _keep(sim, market, side, price, size):  # type: ignore[no-untyped-def]
    order = verbs.best_order(sim, market, side)
    if order != 0:
        if verbs.best_order_price(sim, market, side) == price:
            return
        verbs.cancel(sim, market, order)
    verbs.submit(sim, market, side, price, size)


@strategy(size=SIZE, last=1000)
def compiled_maker(sim, words):  # type: ignore[no-untyped-def]
    """The maker of `Maker`, compiled; last: the highest market index that it trades in."""
    size, last = words[0], words[1]
    for market in range(min(verbs.markets(sim), last + 1)):
        if not verbs.is_open(sim, market):
            continue
        bid = verbs.best(sim, market, 0)
        ask = verbs.best(sim, market, 1)
        if bid == 0 or ask == 10_000:
            continue
        held = verbs.position(sim, market)
        lean = max(-3, min(3, 4 * held // LIMIT))
        _keep(sim, market, 0, bid - TICK * max(0, lean), size)
        _keep(sim, market, 1, ask + TICK * max(0, -lean), size)
        if held > LIMIT:
            terms = (verbs.best(sim, market, 0), held // 2, _IOC, 0)
            verbs.submit_as(sim, market, 1, terms)
        elif held < -LIMIT:
            terms = (verbs.best(sim, market, 1), -held // 2, _IOC, 0)
            verbs.submit_as(sim, market, 0, terms)


class Taker:
    """Buys what is scarce at the touch: takes a little where one side outweighs the other."""

    def __init__(self, size: int = SIZE):
        self.size = size

    def __call__(self, sim: Simulation) -> None:
        for market in range(len(sim.session.markets)):
            book = sim.book(market)
            bids, asks = book.best_bid_qty, book.best_ask_qty
            if not is_open(sim, market) or not bids or not asks:
                continue
            held = sim.positions.qty(market)
            if bids > 4 * asks and held < LIMIT:
                sim.submit(market, Side.BUY, book.best_ask, self.size, tif=TimeInForce.IOC)
            elif asks > 4 * bids and held > -LIMIT:
                sim.submit(market, Side.SELL, book.best_bid, self.size, tif=TimeInForce.IOC)


@strategy(size=SIZE)
def compiled_taker(sim, words):  # type: ignore[no-untyped-def]
    """The taker of `Taker`, compiled."""
    for market in range(verbs.markets(sim)):
        bids = verbs.best_qty(sim, market, 0)
        asks = verbs.best_qty(sim, market, 1)
        if not verbs.is_open(sim, market) or bids == 0 or asks == 0:
            continue
        held = verbs.position(sim, market)
        if bids > 4 * asks and held < LIMIT:
            terms = (verbs.best(sim, market, 1), words[0], _IOC, 0)
            verbs.submit_as(sim, market, 0, terms)
        elif asks > 4 * bids and held > -LIMIT:
            terms = (verbs.best(sim, market, 0), words[0], _IOC, 0)
            verbs.submit_as(sim, market, 1, terms)


class Recorder:
    """Has every hook, and notes each call: (hook, now, cause, what it was told)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, tuple[int, int, int], Any]] = []

    def note(self, hook: str, sim: Simulation, what: Any = None) -> None:
        """Note one call."""
        self.calls.append((hook, sim.now, sim.cause, what))

    def on_start(self, sim: Simulation) -> None:
        """Note it."""
        self.note("on_start", sim)

    def on_book(self, sim: Simulation, market: str) -> None:
        """Note it."""
        self.note("on_book", sim, market)

    def on_trade(self, sim: Simulation, trade: Any) -> None:
        """Note it."""
        self.note("on_trade", sim, trade)

    def on_fill(self, sim: Simulation, fill: Any) -> None:
        """Note it."""
        self.note("on_fill", sim, fill)

    def on_order(self, sim: Simulation, order: Any) -> None:
        """Note it."""
        self.note("on_order", sim, order)

    def on_timer(self, sim: Simulation, ts: int) -> None:
        """Note it."""
        self.note("on_timer", sim, ts)

    def on_market(self, sim: Simulation, event: Any) -> None:
        """Note it."""
        self.note("on_market", sim, event)

    def on_end(self, sim: Simulation) -> None:
        """Note it."""
        self.note("on_end", sim)
