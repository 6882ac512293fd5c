"""Tapes written by hand, for tables that a trader can check, and short readings of a journal.

Prices in tables are cents where they are small to read (`c(48)` is 4800), quantities are in 0.01
contract, cash in $0.000001: a price times a quantity is cash.
"""

from __future__ import annotations

from typing import Any

from reference.invariants import Watch
from reference.simulation import ReferenceSimulation
from tapes import TapeBuilder

from foldbook.engine.schema import (
    JournalKind,
    Mark,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from foldbook.engine.specs import NO_FEES, FeeSchedule, Market, Models
from foldbook.engine.units import CASH_ONE

BUY, SELL = Side.BUY, Side.SELL
GTC, IOC, FOK = TimeInForce
POST_ONLY, REDUCE_ONLY = OrderFlag.POST_ONLY, OrderFlag.REDUCE_ONLY
JOINED = TapeFlag.JOINED
BOOK = {BUY: {48: 500, 47: 800}, SELL: {50: 400, 51: 300, 53: 1000}}
"""The displayed book of most tables: 48 x 500 bid, 50 x 400 offered."""


def c(cents: int) -> int:
    """A price in cents as a price."""
    return cents * 100


class Scene(TapeBuilder):
    """A tape written burst by burst, and a simulation over it that is applied as it is read."""

    def book(self, ts: int, levels: dict[Side, dict[int, int]], market: int = 0) -> Scene:
        self.add(ts, TapeKind.SNAPSHOT, market=market)
        for side, ladder in levels.items():
            for cents, qty in ladder.items():
                self.add(ts, TapeKind.SNAPSHOT_LEVEL, side, c(cents), qty, market=market)
        return self

    def more(self, ts: int, side: Side, cents: int, qty: int) -> Scene:
        self.add(ts, TapeKind.INCREASE, side, c(cents), qty)
        return self

    def less(self, ts: int, side: Side, cents: int, qty: int) -> Scene:
        self.add(ts, TapeKind.DECREASE, side, c(cents), qty, ahead=-1)
        return self

    def trade(self, ts: int, side: Side, cents: int, qty: int) -> Scene:
        self.add(ts, TapeKind.TRADE, side, c(cents), qty, flags=JOINED)
        return self.less(ts, side, cents, qty)

    def status(
        self, ts: int, status: MarketStatus, payout: int = 0, market: int = 0, flags: int = 0
    ) -> Scene:
        self.add(ts, TapeKind.STATUS, qty=status, price=payout, market=market, flags=flags)
        return self

    def run(
        self, *, cash: int = 1000 * CASH_ONE, fees: FeeSchedule = NO_FEES, mark: Mark = Mark.MID,
        tick: int = 100, markets: int = 1, **models: Any,
    ) -> ReferenceSimulation:  # fmt: skip
        specs = tuple(Market(f"M{index}", tick=tick) for index in range(markets))
        return ReferenceSimulation(
            self.rows(), specs, cash=cash, models=Models(fees, **models), mark=mark,
            observer=Watch(full_every=1),
        )  # fmt: skip


def opened(**options: Any) -> ReferenceSimulation:
    """A simulation that stands at ts 1 in front of BOOK, with nothing behind it."""
    simulation = Scene().book(1, BOOK).run(**options)
    simulation.advance_to_row(1)
    return simulation


def fills(simulation: ReferenceSimulation) -> list[tuple[int, int, int]]:
    """(order, cents, qty) of every fill."""
    return [
        (row["order"], row["price"] // 100, row["qty"])
        for row in simulation.journal
        if row["kind"] == JournalKind.FILL
    ]


def kinds(simulation: ReferenceSimulation) -> list[str]:
    """The journal, as words."""
    words = []
    for row in simulation.journal[1:]:
        reason = f" {Reason(row['reason']).name}" if row["reason"] else ""
        words.append(JournalKind(row["kind"]).name + reason)
    return words


def last(simulation: ReferenceSimulation, kind: JournalKind) -> dict[str, int]:
    """The last journal row of a kind."""
    return [row for row in simulation.journal if row["kind"] == kind][-1]
