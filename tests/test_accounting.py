"""Positions and settlements in the venue's terms: recorded statements, and identities."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Maker, Taker

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Market, Side
from foldbook.engine.accounting import (
    EventRow,
    MarketResult,
    PositionRow,
    SettlementRow,
    event_rows,
    legs,
    position_rows,
    settlement_rows,
)
from foldbook.engine.fees import KALSHI_2026_03, KALSHI_2026_05, KALSHI_FEES
from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    TAPE_DTYPE,
    JournalKind,
    MarketStatus,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.units import PRICE_ONE, contracts, dollars, price

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
MESSAGES = DATA.parent / "kalshi" / "messages"
BUY, SELL = Side.BUY, Side.SELL


def recorded(path: Path) -> Any:
    """Return the values of a private recording; skip the test where it is not."""
    if not path.exists():
        pytest.skip(f"{path} is not here: set FOLDBOOK_DATA to the folder of private recordings")
    return json.loads(path.read_text())


def statements(name: str) -> Any:
    messages = recorded(MESSAGES / "rest_positions_settlements.json")["messages"]
    return next(each["payload"] for each in messages if each["name"] == name)


Fill = tuple[Side, int, int, int]
"""Side in YES terms, price $0.0001, quantity 0.01 contract, fee $0.000001."""


def run(fills: list[Fill], ticker: str = "KXA-1-X", payout: int | None = None,
        flags: int = 0, paid: int | None = None) -> Any:  # fmt: skip
    """Return what accounting reads of a result: one market, its fills, and how it was settled.

    payout: of one YES contract, $0.0001; paid: of the position as a whole, if that does not follow.
    """
    rows = np.zeros(len(fills), JOURNAL_DTYPE)
    rows["kind"] = JournalKind.FILL
    for row, (side, at, qty, fee) in zip(rows, fills, strict=True):
        row["side"], row["price"], row["qty"], row["fee"] = side, at, qty, fee
    rows["ts"] = 1 + np.arange(len(fills))
    tape = np.zeros(0 if payout is None else 1, TAPE_DTYPE)
    if payout is not None:
        tape["kind"], tape["qty"] = TapeKind.STATUS, MarketStatus.SETTLED
        tape["price"], tape["ts"], tape["flags"] = payout, 100, flags
        held = sum(qty if side == BUY else -qty for side, _, qty, _ in fills)
        end = np.zeros(int(held != 0), JOURNAL_DTYPE)
        end["kind"], end["qty"], end["ts"] = JournalKind.SETTLED, abs(held), 100
        worth = payout * held if held > 0 else (PRICE_ONE - payout) * -held
        end["cash"] = worth if paid is None else paid
        rows = np.concatenate([rows, end])
    return SimpleNamespace(
        journal=SimpleNamespace(rows=rows),
        session=SimpleNamespace(markets=(Market(ticker),), tape=SimpleNamespace(rows=tape)),
        simulation=SimpleNamespace(events=len(tape)),
    )


def taken(schedule, side: Side, at: int, qty: int) -> Fill:
    """Return a taker fill with its fee."""
    leg = at if side == BUY else PRICE_ONE - at
    return side, at, qty, schedule.fill(at, qty, -leg * qty, False)[0]


# By hand.


def test_a_sale_is_booked_as_buying_no():
    """Buy 10 at .40, sell 4 at .50: legs 4.00 + 4 x .50 = 6.00, four pairs redeem 4.00 that cost
    1.60 + 2.00, and six stay for 2.40."""
    (row,) = position_rows(run([(BUY, 4000, 1000, 5), (SELL, 5000, 400, 7)]))
    assert row == PositionRow("KXA-1-X", 600, dollars("6.00"), 1400, dollars("2.40"),
                              dollars("0.40"), 12, 2)  # fmt: skip


def test_a_sale_beyond_the_position_opens_no():
    """Buy 10 at .40, sell 15 at .50: ten pairs earn 1.00, five NO stay for 2.50."""
    (row,) = position_rows(run([(BUY, 4000, 1000, 0), (SELL, 5000, 1500, 0)]))
    assert row[1:6] == (-500, dollars("11.50"), 2500, dollars("2.50"), dollars("1.00"))


def test_a_partial_close_takes_its_part_of_the_average_cost():
    """Ten at .40 and ten at .60 cost .50 each: closing five at .70 earns 1.00, the rest cost
    7.50. First in, first out would earn 1.50."""
    fills = [(BUY, 4000, 1000, 0), (BUY, 6000, 1000, 0), (SELL, 7000, 500, 0)]
    (row,) = position_rows(run(fills))
    assert (row.position, row.market_exposure, row.realized_pnl) == (
        1500, dollars("7.50"), dollars("1.00")
    )  # fmt: skip


SETTLED = [
    # fills, payout, flags -> result, counts and costs, revenue in cents, value, remainder, pnl
    ([(BUY, 7000, 1200, 176_400)], 10_000, 0,
     (MarketResult.YES, 1200, "8.40", 0, "0", 1200, 100, 0, "3.4236")),
    ([(SELL, 8000, 500, 56_000)], 0, 0,
     (MarketResult.NO, 0, "0", 500, "1.00", 500, 0, 0, "3.944")),
    # flat before the end: a pair of both was paid a dollar long ago
    ([(BUY, 4000, 1000, 0), (SELL, 5000, 1000, 0)], 10_000, 0,
     (MarketResult.YES, 1000, "4", 1000, "5", 0, 100, 0, "1")),
    # a tie pays .50: 0.33 contracts are worth 16.5 cents, of which the venue pays 16
    ([(BUY, 4000, 33, 0)], 5000, 0, (MarketResult.SCALAR, 33, "0.132", 0, "0", 16, 50, 5000,
                                     "0.028")),
    # scalar .24 to YES and .76 to NO
    ([(SELL, 3000, 100, 0)], 2400, 0, (MarketResult.SCALAR, 0, "0", 100, "0.70", 76, 24, 0,
                                       "0.06")),
]  # fmt: skip


@pytest.mark.parametrize(("fills", "payout", "flags", "expected"), SETTLED)
def test_settlement_rows_by_hand(fills, payout, flags, expected):
    """Gross legs, whole cents, and the P&L of the market."""
    result, yes, yes_cost, no, no_cost, revenue, value, remainder, pnl = expected
    fee = sum(fill[3] for fill in fills)
    assert list(settlement_rows(run(fills, payout=payout, flags=flags))) == [
        SettlementRow("KXA-1-X", 100, result, yes, dollars(yes_cost), no, dollars(no_cost),
                      revenue, value, fee, remainder, dollars(pnl))
    ]  # fmt: skip


def test_a_void_market_pays_back_the_cost():
    """Ten at .40, declared void: 4.00 come back, and the fee is lost."""
    ran = run([(BUY, 4000, 1000, 100)], payout=0, flags=TapeFlag.VOID, paid=dollars(4))
    (row,) = settlement_rows(ran)
    assert (row.market_result, row.value, row.revenue, row.pnl) == (
        MarketResult.VOID,
        -1,
        400,
        -100,
    )


def test_settled_markets_leave_the_positions():
    """The venue lists positions of unsettled markets only; asked for, a settled one has nothing
    open and its payout realised."""
    ran = run([(BUY, 4000, 1000, 0)], payout=10_000)
    assert list(position_rows(ran)) == []
    (row,) = position_rows(ran, settled=True)
    assert (row.position, row.market_exposure, row.realized_pnl) == (0, 0, dollars(6))


def test_events_are_the_sums_of_their_markets():
    """One market in its event: the row of the event repeats its figures."""
    (row,) = event_rows(run([(BUY, 4000, 1000, 5), (SELL, 5000, 400, 7)], ticker="KXA-1-X"))
    assert row == EventRow("KXA-1", dollars(6), 1400, dollars("2.40"), dollars("0.40"), 12)


def test_an_empty_run_has_empty_tables():
    """Nothing traded, nothing listed."""
    ran = run([], payout=0)
    assert (len(position_rows(ran)), len(settlement_rows(ran)), len(event_rows(ran))) == (0, 0, 0)


# Identities.

FILLS = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9999), st.integers(1, 500),
              st.integers(0, 10**5)), min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(FILLS, st.sampled_from([0, 10_000, 5000, 2400, 3333]))
def test_money_is_conserved(fills, payout):
    """realized + total_traded - exposure is a dollar a pair; the statement of a settled market
    tells the change of cash to the last digit, its remainder included."""
    (open_row,) = position_rows(run(fills))
    (each,) = legs(run(fills).journal.rows).values()
    pairs = PRICE_ONE * min(each.counts)
    assert open_row.realized_pnl + open_row.total_traded - open_row.market_exposure == pairs
    assert open_row.position == each.counts[0] - each.counts[1]
    assert (open_row.market_exposure == 0) == (open_row.position == 0)
    (row,) = settlement_rows(run(fills, payout=payout))
    (closed,) = position_rows(run(fills, payout=payout), settled=True)
    assert row.pnl + row.remainder == closed.realized_pnl - closed.fees_paid


@pytest.mark.parametrize("strategy", [Maker(), Taker()], ids=["maker", "taker"])
def test_a_run_agrees_with_its_own_books(strategy):
    """The statements of a run are what the kernels' position tracker says: P&L, fees and cash."""
    session = synthetic.session(seed=5, markets=3, minutes=5)
    result = Backtest(session, strategy, every="1s").run()
    rows = {row.ticker: row for row in position_rows(result, settled=True)}
    assert rows
    for own in result.positions:
        if own.market in rows:
            row = rows[own.market]
            assert (row.position, row.market_exposure) == (own.qty, own.cost)
            assert (row.realized_pnl, row.fees_paid) == (own.realised, own.fees)
    assert len(settlement_rows(result)) == len(rows)
    earned = sum(row.pnl + row.remainder for row in settlement_rows(result))
    assert result.simulation.positions.cash == result.config.cash + earned


# Recorded statements.


def by_ticker(name: str, kind: str) -> dict[str, Any]:
    key = "ticker" if kind == "market_positions" else "event_ticker"
    return {row[key]: row for row in statements(name)[kind]}


TRADES: dict[str, list[Fill]] = {
    # Known: both prices are recorded, and both fees follow from them.
    "KXUSTESTSREADING-26-SD": [
        taken(KALSHI_2026_03, BUY, 6400, 700), taken(KALSHI_2026_03, SELL, 6200, 700)],
    # Not recorded: fills that make the recorded totals of 77 and 29 pairs; fees as recorded.
    "KXAISPIKE-26B-1550": [
        (BUY, 9000, 7700, 1_448_100), (SELL, 5666, 7600, 0), (SELL, 5665, 100, 0)],
    "KXCODINGMODEL-26DEC-GOOG": [(BUY, 5300, 2900, 470_000), (SELL, 4700, 2900, 0)],
}  # fmt: skip


@pytest.mark.parametrize("ticker", TRADES)
def test_recorded_positions(ticker):
    """The three recorded positions and their events: flat, so that the P&L is a dollar a pair less
    what was traded, whatever the prices were."""
    market = by_ticker("positions", "market_positions")[ticker]
    event = by_ticker("positions", "event_positions")[ticker.rpartition("-")[0]]
    (row,) = position_rows(run(TRADES[ticker], ticker=ticker))
    assert row == PositionRow(
        ticker,
        contracts(market["position_fp"]),
        dollars(market["total_traded_dollars"]),
        contracts(event["total_cost_shares_fp"]),
        dollars(market["market_exposure_dollars"]),
        dollars(market["realized_pnl_dollars"]),
        dollars(market["fees_paid_dollars"]),
        row.updated,
    )
    (sums,) = event_rows(run(TRADES[ticker], ticker=ticker))
    assert sums == EventRow(
        event["event_ticker"],
        dollars(event["total_cost_dollars"]),
        contracts(event["total_cost_shares_fp"]),
        dollars(event["event_exposure_dollars"]),
        dollars(event["realized_pnl_dollars"]),
        dollars(event["fees_paid_dollars"]),
    )


def test_every_accounting_vector():
    """Totals and P&L of all four identities, from the trades where they are recorded."""
    for vector in recorded(MESSAGES / "accounting_vectors.json")["identities"]:
        fills = [
            (BUY if action == "buy" else SELL, price(at.split()[0]), contracts(qty), 0)
            for action, outcome, qty, at in vector.get("trades", [])
            if outcome == "yes"
        ] or TRADES[vector["name"]]
        (row,) = position_rows(run(fills))
        assert row.total_traded == dollars(vector["total_traded"]), vector
        assert row.realized_pnl == dollars(vector["realized_pnl"]), vector
        assert row.shares == contracts(vector.get("shares", "264")), vector


def statement(payload: dict[str, Any]) -> tuple[int, ...]:
    """Return counts, costs, revenue and fee of a recorded settlement, in our units."""
    return (
        contracts(payload["yes_count_fp"]),
        dollars(payload["yes_total_cost_dollars"]),
        contracts(payload.get("no_count_fp", "0")),
        dollars(payload.get("no_total_cost_dollars", "0")),
        payload["revenue"],
        dollars(payload["fee_cost"]),
    )


def listed(row: SettlementRow) -> tuple[int, ...]:
    return (row.yes_count, row.yes_total_cost, row.no_count, row.no_total_cost, row.revenue,
            row.fee_cost)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fills", "payout", "pnl"),
    [
        # 141.78 of each: prices that make the recorded costs, the fee as recorded
        ("settlement_both_sides_netted",
         [(BUY, 6600, 14_178, 3_780_100), (SELL, 2000, 11_928, 0), (SELL, 1900, 2250, 0)],
         0, "-69.2239"),
        # 190.5248 is 111.00 at .88 and 104.32 at .89, and then the fee follows too
        ("settlement_one_sided_win",
         [taken(KALSHI_2026_05, BUY, 8800, 11_100), taken(KALSHI_2026_05, BUY, 8900, 10_432)],
         10_000, "23.2596"),
        # one recorded fill whose fee is not that of one fill (see test_fees): as recorded
        ("settlement_full_row", [(BUY, 9300, 3209, 146_500)], 10_000, "2.0998"),
    ],
)  # fmt: skip
def test_recorded_settlements(name, fills, payout, pnl):
    """The three settlements of other accounts: gross legs, revenue in cents, and their P&L."""
    payload = statements(name)
    (row,) = settlement_rows(run(fills, payout=payout))
    assert listed(row) == statement(payload)
    assert row.market_result.name.lower() == payload["market_result"]
    assert row.value == payload.get("value", row.value)
    assert row.pnl == dollars(pnl)


def test_every_recorded_settlement_of_the_account():
    """All rows of the August account: one taker fill each at its average cost gives counts, costs,
    revenue, value and, with the dated fees of the series, the fee."""
    path = DATA / "kalshi_small" / "portfolio_settlements_redacted.json"
    for payload in recorded(path)["payload"]["settlements"]:
        yes, yes_cost, no, no_cost, _, _ = statement(payload)
        leg, rest = divmod(yes_cost + no_cost, yes + no)
        assert rest == 0 and min(yes, no) == 0
        at = leg if yes else PRICE_ONE - leg
        since = datetime.fromisoformat(payload["settled_time"]) - datetime(1970, 1, 1, tzinfo=UTC)
        ts = (since.days * 86_400 + since.seconds) * 10**9
        schedule = KALSHI_FEES.at(payload["ticker"], ts)
        fill = taken(schedule, BUY if yes else SELL, at, yes + no)
        payout = PRICE_ONE if payload["market_result"] == "yes" else 0
        (row,) = settlement_rows(run([fill], ticker=payload["ticker"], payout=payout))
        assert listed(row) == statement(payload)
        assert row.value == payload["value"]
