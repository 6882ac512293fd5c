"""Join the best bid and wait: the shortest strategy that trades."""

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Gateway, Side, contracts, dollars


class JoinBestBid:
    """Rest one bid at the best price; once it is filled, the next."""

    def __init__(self, size: int = contracts(10)):
        self.size = size

    def on_book(self, sim: Gateway, market: str) -> None:
        book = sim.book(market)
        if book.best_bid and not sim.orders.open(market):
            sim.submit(market, Side.BUY, price=book.best_bid, qty=self.size)


if __name__ == "__main__":
    session = synthetic.session(seed=7)
    result = Backtest(session, JoinBestBid(), cash=dollars(1000)).run()
    print(result.summary())
    print()
    print(result.explain(result.fills[0]))
    assert result.replay().digest == result.digest
