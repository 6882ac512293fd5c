"""Positions and settlements in the venue's terms, from the journal: what its statements would list.

Selling YES at p is booked as buying NO at 1 - p, and a pair of both is worth a dollar at once
(SPEC 6.1, 6.2). Nothing here knows a book or an order: fills, settlements and their fees are all.
Money in $0.000001, quantities in 0.01 contract, unless a field says cents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from .fees import CENT
from .schema import JournalKind, MarketStatus, Side, TapeFlag, TapeKind
from .tables import Table
from .units import PRICE_ONE

if TYPE_CHECKING:
    from .result import Result


class MarketResult(IntEnum):
    """How a market was settled."""

    NO = 0
    YES = 1
    SCALAR = 2
    """A payout between none and a dollar."""
    VOID = 3
    """Each position is paid back what it cost."""


class PositionRow(NamedTuple):
    """What the venue lists of one market (SPEC 6.1).

    position: signed, + YES, - NO. total_traded: cost of all legs acquired, those that closed
    something too. shares: legs acquired, YES and NO. market_exposure: cost of what is open, by
    average cost (how the venue divides it after a partial close is not documented). realized_pnl:
    without fees. fees_paid: of all fills. updated: ts of the last fill or settlement, ns.
    """

    ticker: str
    position: int
    total_traded: int
    shares: int
    market_exposure: int
    realized_pnl: int
    fees_paid: int
    updated: int


class EventRow(NamedTuple):
    """The sums of an event's markets, as the venue lists them (SPEC 6.1)."""

    event: str
    total_cost: int
    total_cost_shares: int
    event_exposure: int
    realized_pnl: int
    fees_paid: int


class SettlementRow(NamedTuple):
    """What the venue lists of one settled market that was traded (SPEC 6.3).

    yes_count, yes_total_cost, no_count, no_total_cost: gross, all legs ever acquired. revenue:
    whole cents paid for what was open. value: cents paid for one YES contract, -1 if void.
    fee_cost: of the fills. remainder: what the payout exceeds whole cents by, $0.000001, which the
    venue keeps as a settlement fee. pnl: of the market, all of it.
    """

    ticker: str
    settled: int
    market_result: MarketResult
    yes_count: int
    yes_total_cost: int
    no_count: int
    no_total_cost: int
    revenue: int
    value: int
    fee_cost: int
    remainder: int
    pnl: int


class Settled(NamedTuple):
    """How a market ended: ts in ns, payout of one YES contract in $0.0001."""

    ts: int
    payout: int
    is_void: bool = False

    @property
    def result(self) -> MarketResult:
        """Return the name of the outcome."""
        if self.is_void:
            return MarketResult.VOID
        named = {0: MarketResult.NO, PRICE_ONE: MarketResult.YES}
        return named.get(self.payout, MarketResult.SCALAR)


@attrs.define
class Legs:
    """One market's legs: gross counts and costs of both, and what is open at average cost."""

    counts: list[int] = attrs.Factory(lambda: [0, 0])
    costs: list[int] = attrs.Factory(lambda: [0, 0])
    position: int = 0
    exposure: int = 0
    realized: int = 0
    fees: int = 0
    paid: int = 0
    updated: int = 0

    def acquire(self, side: Side, price: int, qty: int) -> None:
        """Buy YES (BUY) at `price`, or NO (SELL) at a dollar less `price`: pairs redeem first."""
        leg = price if side == Side.BUY else PRICE_ONE - price
        held = -self.position if side == Side.BUY else self.position
        pairs = min(qty, max(held, 0))
        basis = self.exposure * pairs // held if pairs else 0
        self.realized += PRICE_ONE * pairs - leg * pairs - basis
        self.exposure += leg * (qty - pairs) - basis
        self.position += qty if side == Side.BUY else -qty
        self.counts[side] += qty
        self.costs[side] += leg * qty

    def settle(self, cash: int) -> None:
        """Pay `cash` for what is open."""
        self.realized += cash - self.exposure
        self.paid += cash
        self.position = self.exposure = 0

    @property
    def total_traded(self) -> int:
        """Cost of all legs, $0.000001."""
        return self.costs[0] + self.costs[1]


def legs(rows: np.ndarray) -> dict[int, Legs]:
    """Return the legs of every market that journal rows (JOURNAL_DTYPE) trade, by market index."""
    found: dict[int, Legs] = {}
    kinds = (JournalKind.FILL, JournalKind.SETTLED)
    for row in rows[np.isin(rows["kind"], kinds)]:
        market = found.setdefault(int(row["market"]), Legs())
        market.updated = int(row["ts"])
        if row["kind"] == JournalKind.SETTLED:
            market.settle(int(row["cash"]))
        else:
            market.acquire(Side(int(row["side"])), int(row["price"]), int(row["qty"]))
            market.fees += int(row["fee"])
    return found


def position_rows(result: Result, *, settled: bool = False) -> Table[PositionRow]:
    """Return what the venue would list as positions at the end of a run, one row a traded market.

    settled: list markets that are settled too, with nothing open and their payout realised; the
    venue leaves them out unless asked.
    """
    ended = () if settled else settlements(result)
    return _positions(legs(result.journal.rows), _tickers(result), ended)


def event_rows(result: Result) -> Table[EventRow]:
    """Return the sums of `position_rows` by event: that of the market, else the ticker without its
    last part."""
    known = {market.ticker: market.event for market in result.session.markets}
    sums: dict[str, list[int]] = {}
    for row in position_rows(result):
        event = known[row.ticker] or row.ticker.rpartition("-")[0] or row.ticker
        total = sums.setdefault(event, [0] * 5)
        parts = (row.total_traded, row.shares, row.market_exposure, row.realized_pnl, row.fees_paid)
        sums[event] = [before + part for before, part in zip(total, parts, strict=True)]
    return _table(EventRow, [(event, *total) for event, total in sums.items()])


def settlement_rows(result: Result) -> Table[SettlementRow]:
    """Return what the venue would list as settlements, one row a settled market with fills.

    A market that was flat when it settled is listed too: its pairs were paid before.
    """
    return _settlements(legs(result.journal.rows), _tickers(result), settlements(result))


def settlements(result: Result) -> dict[int, Settled]:
    """Return how the markets of a run ended, by index: those settled before its end, as their last
    SETTLED row says."""
    rows = result.session.tape.rows[: result.simulation.events]
    rows = rows[(rows["kind"] == TapeKind.STATUS) & (rows["qty"] == MarketStatus.SETTLED)]
    found: dict[int, Settled] = {}
    for row in rows:
        is_void = bool(row["flags"] & TapeFlag.VOID)
        ended = Settled(int(row["ts"]), int(row["price"]), is_void)
        found[int(row["market"])] = ended
    return found


def _positions(
    markets: Mapping[int, Legs], tickers: Sequence[str], ended: Iterable[int]
) -> Table[PositionRow]:
    left_out = set(ended)
    return _table(
        PositionRow,
        [
            PositionRow(
                ticker=tickers[market],
                position=each.position,
                total_traded=each.total_traded,
                shares=sum(each.counts),
                market_exposure=each.exposure,
                realized_pnl=each.realized,
                fees_paid=each.fees,
                updated=each.updated,
            )
            for market, each in sorted(markets.items())
            if market not in left_out
        ],
    )


def _settlements(
    markets: Mapping[int, Legs], tickers: Sequence[str], ended: Mapping[int, Settled]
) -> Table[SettlementRow]:
    rows = []
    for market, how in sorted(ended.items()):
        if market not in markets:
            continue
        each = markets[market]
        revenue, remainder = divmod(each.paid, CENT)
        pairs = PRICE_ONE * min(each.counts)
        rows.append(
            SettlementRow(
                ticker=tickers[market],
                settled=how.ts,
                market_result=how.result,
                yes_count=each.counts[Side.BUY],
                yes_total_cost=each.costs[Side.BUY],
                no_count=each.counts[Side.SELL],
                no_total_cost=each.costs[Side.SELL],
                revenue=revenue,
                value=-1 if how.is_void else how.payout * 100 // PRICE_ONE,
                fee_cost=each.fees,
                remainder=remainder,
                pnl=pairs + revenue * CENT - each.total_traded - each.fees,
            )
        )
    return _table(SettlementRow, rows, {"market_result": MarketResult})


def _tickers(result: Result) -> list[str]:
    return [market.ticker for market in result.session.markets]


def _table(row_type: Any, rows: Sequence[tuple], enums: Any = None) -> Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(row_type._fields)
    return Table(row_type, dict(zip(row_type._fields, columns, strict=True)), enums)
