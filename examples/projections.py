"""Projections of one's own, in Python and compiled: they fold the same events as the built-in four.

Whoever listens changes nothing: with and without them the run has one digest.
"""

from collections.abc import Collection
from typing import Any

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, CompiledProjection, TapeKind, events
from foldbook.engine.units import decimal_price, decimal_qty
from foldbook.examples.join_best_bid import JoinBestBid


class Averages:
    """Volume and average price of the market's trades, and of own fills."""

    kinds: Collection[type] = (events.Trade, events.Fill)

    def __init__(self) -> None:
        self.qty = {"Trade": 0, "Fill": 0}
        self.paid = {"Trade": 0, "Fill": 0}

    def apply(self, event: Any) -> None:
        self.qty[type(event).__name__] += event.qty
        self.paid[type(event).__name__] += event.price * event.qty

    def __str__(self) -> str:
        return "\n".join(
            f"{kind:<6} {decimal_qty(qty):>10} at {decimal_price(self.paid[kind] // qty)}"
            for kind, qty in self.qty.items()
        )


def count_flow(words: Any, rows: Any, i: int) -> None:
    """Add up what takers sold and bought (words 0, 1), and count level changes (word 2)."""
    if rows[i]["kind"] == TapeKind.TRADE:
        words[rows[i]["side"]] += rows[i]["qty"]
    elif rows[i]["kind"] == TapeKind.INCREASE or rows[i]["kind"] == TapeKind.DECREASE:
        words[2] += 1


flow = CompiledProjection("flow", ["sold", "bought", "changes"], on_tape=count_flow)

if __name__ == "__main__":
    session = synthetic.session(seed=7)
    averages = Averages()
    result = Backtest(session, JoinBestBid(), projections=[averages, flow]).run()
    print(averages)
    sold, bought, changes = result.simulation.projection("flow").tolist()
    print(f"takers sold {decimal_qty(sold)} and bought {decimal_qty(bought)}; {changes} changes")
    alone = Backtest(session, JoinBestBid()).run()
    print("same digest without them:", alone.digest == result.digest)
