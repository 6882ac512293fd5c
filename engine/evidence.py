"""What a run earned, by how much each fill is to be believed.

A fill of qty at a price acquires its leg: YES at the price, or NO at one dollar less the price. At
the end a YES is worth the market's final value v and a NO one dollar less v, so that a pair is
worth its dollar whenever it was redeemed: what each fill earned needs no other fill, and the sums
are exact. v is the payout of a settled market, else its last mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .kernels.layout import MID2
from .schema import Evidence, JournalKind, Side
from .tables import Table
from .units import PRICE_ONE

if TYPE_CHECKING:
    from .result import Result


class EvidencePnl(NamedTuple):
    """What the fills of one evidence class earned.

    qty: 0.01 contract; fees, pnl: $0.000001, pnl after fees. The row of Evidence.NONE is the
    remainder: what belongs to no fill.
    """

    evidence: Evidence
    fills: int
    qty: int
    fees: int
    pnl: int


def pnl_by_evidence(result: Result) -> Table[EvidencePnl]:
    """Return what each evidence class earned, strongest first; the rows add up to the run's P&L.

    The last row, Evidence.NONE, is the remainder: the half units that values at a mid are rounded
    down by, fees of settlements, and where a position is valued otherwise than at its market's
    final value (Mark.CLOSE, a market declared void), the difference.
    """
    rows = result.journal.rows[result.journal.numbers(JournalKind.FILL)]
    bus = result.simulation.bus
    markets = range(len(result.session.markets))
    marks = np.array([bus.memory[bus.base(market) + MID2] for market in markets])
    bought = rows["side"] == Side.BUY
    price = rows["price"].astype(np.int64)
    leg = np.where(bought, price, PRICE_ONE - price)
    final2 = np.where(bought, marks[rows["market"]], 2 * PRICE_ONE - marks[rows["market"]])
    earned2 = rows["qty"] * (final2 - 2 * leg) - 2 * rows["fee"]
    table: list[tuple[int, ...]] = []
    for evidence in Evidence:
        if evidence is not Evidence.NONE:
            of_class = rows["evidence"] == evidence
            sums = (_sum(column[of_class]) for column in (rows["qty"], rows["fee"], earned2))
            qty, fees, twice = sums
            table.append((evidence, int(of_class.sum()), qty, fees, twice // 2))
    rest = result.simulation.venue.reward.value - result.config.cash - sum(row[-1] for row in table)
    moved = result.journal.rows[result.journal.numbers(JournalKind.SETTLED)]
    table.append((Evidence.NONE, 0, 0, _sum(moved["fee"]), rest))
    columns = dict(zip(EvidencePnl._fields, zip(*table, strict=True), strict=True))
    return Table(EvidencePnl, columns, {"evidence": Evidence})


def _sum(column: np.ndarray) -> int:
    """Return a sum that no int64 limits."""
    return sum(column.tolist())
