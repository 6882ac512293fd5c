"""A run in progress, for people: as text, and as a picture."""

from __future__ import annotations

import numpy as np

from foldbook.engine import Side
from foldbook.engine.simulation import Simulation
from foldbook.engine.units import decimal_cash, decimal_price, decimal_qty

LEVELS = 8


def text(simulation: Simulation) -> str:
    """Return the book with the own orders beside it, the position and the value, as lines."""
    book = simulation.book()
    own = {(order.side, order.price): order for order in simulation.orders.open(0)}
    lines = []
    for side, levels in ((1, book.asks(LEVELS)[::-1]), (0, book.bids(LEVELS))):
        for price, qty in levels:
            order = own.get((Side(side), price))
            mark = f"  own {decimal_qty(order.left)}" if order else ""
            lines.append(f"{'bid' if side == 0 else 'ask'} {decimal_price(price)} "
                         f"{decimal_qty(qty):>12}{mark}")
        if side == 1:
            lines.append("-" * 24)
    position = simulation.positions.qty(0)
    lines.append(f"position {decimal_qty(position)}  value {decimal_cash(simulation.reward.value)}")
    return "\n".join(lines)


def picture(simulation: Simulation) -> np.ndarray:
    """Return the same as a picture: uint8, shape (height, width, 3)."""
    raise NotImplementedError
