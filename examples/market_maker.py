"""A two-sided market maker with inventory skew: one rule, with hooks, called, and compiled.

Python and compiled code send the same orders, so their journals have one digest.
"""

from typing import Any, NamedTuple

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Gateway, MarketStatus, Side, cents, contracts, strategy, verbs
from foldbook.engine.compiled import compiled


class MarketMaker(NamedTuple):
    """Quote `edge` from the mid on both sides; at the position `limit` by `skew` against it."""

    size: int = contracts(10)
    limit: int = contracts(100)
    edge: int = cents("0.5")
    skew: int = cents(1)
    tick: int = cents(1)

    def on_book(self, sim: Gateway, market: str) -> None:
        book, position = sim.book(market), sim.positions.qty(market)
        if not book.is_trusted or book.status != MarketStatus.OPEN:
            return
        wanted = prices(self, book.best_bid, book.best_ask, position)
        for order in sim.orders.open(market):
            if order.price != wanted[order.side]:
                sim.cancel(order.id)
        quoted = {order.side for order in sim.orders.open(market)}
        for side, room in zip(Side, (self.limit - position, self.limit + position), strict=True):
            if wanted[side] and room > 0 and side not in quoted:
                sim.submit(market, side, wanted[side], min(self.size, room))

    def decide(self, sim: Gateway) -> None:
        for position in sim.positions:
            self.on_book(sim, position.market)


def prices(maker: MarketMaker, bid: int, ask: int, position: int) -> tuple[int, int]:
    """Return where to bid and to ask, 0 for no quote; neither trades at once."""
    if bid == 0 or ask == 10_000:
        return 0, 0
    mid2 = bid + ask - 2 * maker.skew * position // maker.limit
    low = min((mid2 // 2 - maker.edge) // maker.tick * maker.tick, ask - maker.tick)
    high = max(-((-mid2 // 2 - maker.edge) // maker.tick) * maker.tick, bid + maker.tick)
    return max(low, 0), high if high < 10_000 else 0


prices_compiled = compiled(prices)


@strategy(**MarketMaker()._asdict())
def market_maker(sim: Any, words: Any) -> None:
    maker = MarketMaker(words[0], words[1], words[2], words[3], words[4])
    for market in range(verbs.markets(sim)):
        if not verbs.is_open(sim, market):
            continue
        position = verbs.position(sim, market)
        bid, ask = verbs.best(sim, market, 0), verbs.best(sim, market, 1)
        wanted = prices_compiled(maker, bid, ask, position)
        for side in range(2):
            if verbs.best_order_price(sim, market, side) not in (0, wanted[side]):
                verbs.cancel(sim, market, verbs.best_order(sim, market, side))
        for side, room in enumerate((maker.limit - position, maker.limit + position)):
            if wanted[side] and room > 0 and not verbs.best_order(sim, market, side):
                verbs.submit(sim, market, side, wanted[side], min(maker.size, room))


if __name__ == "__main__":
    session = synthetic.session(seed=7)
    print("on each change:", Backtest(session, MarketMaker()).run())
    print("and compiled:  ", Backtest(session, market_maker).run())
    print("every 100 ms:  ", Backtest(session, MarketMaker().decide, every="100ms").run())
    print("and compiled:  ", Backtest(session, market_maker, every="100ms").run())
