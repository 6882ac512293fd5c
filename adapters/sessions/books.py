"""The recorded book of a session at any time."""

from __future__ import annotations

import numpy as np

from foldbook.engine.schema import MarketStatus, Side, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.units import PRICE_ONE, decimal_price, decimal_qty


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
    levels = _levels(rows)
    books = [(int(price), int(levels[side, price])) for side in Side
             for price in np.flatnonzero(levels[side])[:: -1 if side == Side.BUY else 1]]
    bids = int(np.count_nonzero(levels[Side.BUY]))
    text = [[decimal_price(price), decimal_qty(qty)] for price, qty in books]
    return {"yes_bids": text[:bids], "yes_asks": text[bids:]}


def _levels(rows: np.ndarray) -> np.ndarray:
    """Return the quantities [side, price] after these rows of one market (semantics section 2)."""
    levels = np.zeros((2, PRICE_ONE + 1), np.int64)
    status = rows["kind"] == TapeKind.STATUS
    clears = np.isin(rows["kind"], (TapeKind.SNAPSHOT, TapeKind.GAP)) | (
        status & (rows["qty"] >= MarketStatus.CLOSED)
    )
    begin = np.flatnonzero(clears)
    rows = rows[begin[-1] :] if len(begin) else rows
    sets = rows[rows["kind"] == TapeKind.SNAPSHOT_LEVEL]
    levels[sets["side"], sets["price"]] = sets["qty"]
    for kind, sign in ((TapeKind.INCREASE, 1), (TapeKind.DECREASE, -1)):
        changes = rows[rows["kind"] == kind]
        np.add.at(levels, (changes["side"], changes["price"]), sign * changes["qty"])
    return levels
