"""The recorded book of a session at any time."""

from __future__ import annotations

import numpy as np

from foldbook.engine.schema import Side
from foldbook.engine.session import Session
from foldbook.engine.units import decimal_price, decimal_qty

from .standing import Standing


def book_at(
    session: Session, market: str | int, ts: int, *, clock: str = "exchange"
) -> dict[str, list[list[str]]]:
    """Return the recorded book after every row with a time <= ts, best level first.

    ts: ns. clock: "exchange" looks at the ts of the rows, "receive" at their recv. The result has
    `yes_bids` and `yes_asks`, lists of [price in dollars, contracts] as decimal strings.
    """
    if clock not in ("exchange", "receive"):
        raise ValueError(f"clock: {clock!r} is neither 'exchange' nor 'receive'")
    index = session.market_index(market)
    rows = session.tape.rows
    if clock == "exchange":
        rows = rows[: np.searchsorted(rows["ts"], ts, side="right")]
        rows = rows[rows["market"] == index]
    else:
        rows = rows[(rows["market"] == index) & (rows["recv"] <= ts)]
    standing = Standing.at_the_start(session.markets[index])
    standing.fold(rows)
    levels = standing.levels
    books = [(int(price), int(levels[side, price])) for side in Side
             for price in np.flatnonzero(levels[side])[:: -1 if side == Side.BUY else 1]]
    bids = int(np.count_nonzero(levels[Side.BUY]))
    text = [[decimal_price(price), decimal_qty(qty)] for price, qty in books]
    return {"yes_bids": text[:bids], "yes_asks": text[bids:]}

