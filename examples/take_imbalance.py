"""Take the side with less depth at the touch: a taker that pays the spread and the fee."""

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Gateway, Outcome, Side, TimeInForce, contracts


class TakeImbalance:
    """Buy YES at the ask when the bid holds `times` as much, and NO in the mirrored case.

    size: of one order. limit: of the position, either way. rest_ns: time between two orders.
    """

    def __init__(
        self,
        size: int = contracts(5),
        limit: int = contracts(20),
        times: int = 8,
        rest_ns: int = 5_000_000_000,
    ):
        self.size = size
        self.limit = limit
        self.times = times
        self.rest_ns = rest_ns
        self.ready_at = 0

    def on_book(self, sim: Gateway, market: str) -> None:
        if sim.now < self.ready_at:
            return
        for outcome, sign in ((Outcome.YES, 1), (Outcome.NO, -1)):
            book = sim.book(market, outcome)
            room = self.limit - sign * sim.positions.qty(market)
            if not 0 < book.best_ask_qty * self.times < book.best_bid_qty or room <= 0:
                continue
            order = (market, Side.BUY, book.best_ask, min(self.size, room), outcome)
            if sim.would_reject(*order, tif=TimeInForce.IOC) is None:
                sim.submit(*order, tif=TimeInForce.IOC)
                self.ready_at = sim.now + self.rest_ns


if __name__ == "__main__":
    result = Backtest(synthetic.session(seed=7), TakeImbalance()).run()
    print(result.summary())
    bought = sum(fill.side == Side.BUY for fill in result.fills)
    print(f"\nbought YES {bought} times, NO {len(result.fills) - bought} times")
