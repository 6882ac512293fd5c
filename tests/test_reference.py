"""The reference held to tables that a trader can check by hand, and to its own invariants.

Prices in the tables are cents where they are small to read (`c(48)` is 4800), quantities are in
0.01 contract, cash in $0.000001: a price times a quantity is cash.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.account import Account
from reference.book import Ladder
from reference.fees import trade_fee
from reference.invariants import InvariantError, Watch, check
from reference.risk import TOKEN, Bucket
from reference.simulation import ReferenceSimulation
from reference.state import FROM_CLOCK, FROM_START, UNKNOWN_AHEAD, MarketState, Recorded
from reference.venue import Venue
from scenes import (
    BOOK,
    BUY,
    FOK,
    GTC,
    IOC,
    JOINED,
    POST_ONLY,
    REDUCE_ONLY,
    SELL,
    Scene,
    c,
    fills,
    kinds,
    last,
    opened,
)
from workloads import drive, make, send

from foldbook.engine.schema import (
    KEEP,
    NO_MARKET,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    MarketStatus,
    OrderFlag,
    Side,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.specs import (
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_08,
    NO_FEES,
)
from foldbook.engine.units import CASH_ONE

# Taking displayed depth.

WALKS = [
    # side, limit, qty, tif -> fills (cents, qty), what rests
    (BUY, 50, 100, GTC, [(50, 100)], 0),
    (BUY, 50, 400, GTC, [(50, 400)], 0),
    (BUY, 50, 900, GTC, [(50, 400)], 500),
    (BUY, 52, 900, GTC, [(50, 400), (51, 300)], 200),
    (BUY, 99, 1700, GTC, [(50, 400), (51, 300), (53, 1000)], 0),
    (BUY, 99, 2000, IOC, [(50, 400), (51, 300), (53, 1000)], 0),
    (BUY, 49, 100, GTC, [], 100),
    (BUY, 49, 100, IOC, [], 0),
    (BUY, 51, 700, FOK, [(50, 400), (51, 300)], 0),
    (BUY, 52, 701, FOK, [], 0),
    (SELL, 48, 600, GTC, [(48, 500)], 100),
    (SELL, 47, 600, IOC, [(48, 500), (47, 100)], 0),
    (SELL, 1, 1301, FOK, [], 0),
    (SELL, 1, 1300, FOK, [(48, 500), (47, 800)], 0),
]


@pytest.mark.parametrize(("side", "limit", "qty", "tif", "expected", "rests"), WALKS)
def test_taker_walks_the_displayed_depth(side, limit, qty, tif, expected, rests) -> None:
    """A marketable order pays each level's own price, best first, and no more than its limit."""
    simulation = opened()
    simulation.submit(0, side, c(limit), qty, tif)
    assert fills(simulation) == [(1, *fill) for fill in expected]
    assert sum(order.left for order in simulation.markets[0].queue(side)) == rests
    filled = sum(qty for _, qty in expected)
    endings = {GTC: [], IOC: ["CANCELED IMMEDIATE_OR_CANCEL"] if filled < qty else [], FOK: []}
    head = ["SUBMITTED", "ACCEPTED"]
    if tif == FOK and filled < qty:
        head = ["SUBMITTED", "REJECTED FOK_INSUFFICIENT_VOLUME"]
    assert kinds(simulation) == [*head, *["FILL"] * len(expected), *endings[tif]]


def test_fill_rows_of_a_walk() -> None:
    """Each row states what is left, the money it moved and the collateral it released."""
    simulation = opened(fees=KALSHI_2026_08)
    simulation.submit(0, BUY, c(51), 1000, client_id=77)
    accepted = last(simulation, JournalKind.ACCEPTED)
    assert (accepted["reserved"], accepted["left"], accepted["ahead"]) == (5_100_000, 1000, 0)
    rows = [row for row in simulation.journal if row["kind"] == JournalKind.FILL]
    fields = ("price", "qty", "left", "claim", "cash", "fee", "reserved", "client_id", "ahead")
    assert [tuple(row[name] for name in fields) for row in rows] == [
        (5000, 400, 600, 400, -2_000_000, 70_000, -2_040_000, 77, 0),
        (5100, 300, 300, 300, -1_530_000, 52_500, -1_530_000, 77, 0),
    ]
    assert [row["carry"] for row in rows] == [0, 21]
    for row in rows:
        assert row["liquidity"] == Liquidity.TAKER and row["evidence"] == Evidence.TAKER
        assert row["flags"] == OrderFlag.TAKES_DEPTH
        assert (row["cause_kind"], row["cause_row"]) == (CauseKind.JOURNAL, accepted["row"])
    assert simulation.reserved == 300 * 5100
    assert simulation.cash == 1000 * CASH_ONE - 3_530_000 - 122_500


def test_depth_is_taken_once() -> None:
    """What an own fill took stays hidden until the record has taken it back."""
    scene = Scene().book(1, BOOK).less(2, SELL, 50, 250).more(3, SELL, 50, 100)
    scene.less(4, SELL, 50, 250).more(5, SELL, 50, 40)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 300, IOC)
    seen = []
    for ts in (1, 2, 3, 4, 5):
        simulation.advance_until(ts)
        state = simulation.state()["markets"][0]
        seen.append((state["asks"].get(5000, 0), state["taken"].get((1, 5000), 0)))
    assert seen == [(400, 300), (150, 150), (250, 150), (0, 0), (40, 0)]


def test_snapshot_keeps_what_was_taken_up_to_its_new_levels() -> None:
    """A re-snapshot of the same book shows no new depth; a smaller level gives back the rest."""
    same, smaller = BOOK, {BUY: {48: 500}, SELL: {50: 120, 51: 300}}
    simulation = Scene().book(1, BOOK).book(2, same).book(3, smaller).run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 300, IOC)
    simulation.advance_until(2)
    assert simulation.state()["markets"][0]["taken"] == {(1, 5000): 300}
    simulation.advance_until(3)
    assert simulation.state()["markets"][0]["taken"] == {(1, 5000): 120}
    assert simulation.state()["markets"][0]["visible_ask"] == 5100


# Resting orders.

QUEUES = [
    # trades in order -> fills (order, cents, qty) of two bids at 48, 100 and 200, behind 500
    ([500], []),
    ([501], [(1, 48, 1)]),
    ([550], [(1, 48, 50)]),
    ([600], [(1, 48, 100)]),
    ([650], [(1, 48, 100), (2, 48, 50)]),
    ([400, 250], [(1, 48, 100), (2, 48, 50)]),
    ([400, 150, 50, 300], [(1, 48, 50), (1, 48, 50), (2, 48, 200)]),
    ([900], [(1, 48, 100), (2, 48, 200)]),
]


@pytest.mark.parametrize(("trades", "expected"), QUEUES)
def test_queue_fills_only_beyond_what_stood_ahead(trades, expected) -> None:
    """Own orders join behind the level; a trade reaches them only with what is left beyond it."""
    scene = Scene().book(1, BOOK).more(2, BUY, 48, 1000)
    for number, qty in enumerate(trades):
        scene.trade(3 + number, BUY, 48, qty)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.submit(0, BUY, c(48), 200)
    simulation.advance_to_row(len(scene))
    assert fills(simulation) == expected
    for row in simulation.journal:
        if row["kind"] == JournalKind.FILL:
            assert (row["liquidity"], row["evidence"]) == (Liquidity.MAKER, Evidence.QUEUE)
            assert row["fee"] == 0 and row["flags"] == 0


@pytest.mark.parametrize(
    ("decrease", "ahead", "filled"), [(0, 500, 0), (500, 500, 0), (700, 300, 0), (900, 100, 100)]
)
def test_cancels_come_from_behind_first(decrease, ahead, filled) -> None:
    """A decrease shortens the queue ahead only when the level shrinks below it."""
    scene = Scene().book(1, BOOK).more(2, BUY, 48, 500)
    if decrease:
        scene.less(3, BUY, 48, decrease)
    scene.add(4, TapeKind.TRADE, BUY, c(48), 200, flags=JOINED)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 900)
    simulation.advance_until(3)
    assert simulation.markets[0].open[1].ahead == ahead
    simulation.advance_until(4)
    assert sum(qty for _, _, qty in fills(simulation)) == filled


def test_trade_through_fills_better_orders_first() -> None:
    """A sale down to 48 fills the own bid at 49 first, then what is left beyond the queue at 48."""
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.TRADE, BUY, c(48), 460, flags=JOINED)
    scene.less(2, BUY, 48, 460)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(49), 100)
    simulation.submit(0, BUY, c(48), 900)
    simulation.markets[0].open[2].ahead = 200
    simulation.advance_until(2)
    rows = [row for row in simulation.journal if row["kind"] == JournalKind.FILL]
    fields = ("order", "price", "qty", "evidence", "claim", "ahead")
    assert [tuple(row[name] for name in fields) for row in rows] == [
        (1, 4900, 100, Evidence.THROUGH, 460, 0),
        (2, 4800, 160, Evidence.QUEUE, 160, 200),
    ]
    assert simulation.markets[0].open[2].ahead == 0


@pytest.mark.parametrize("flag", [TapeFlag.UNJOINED, TapeFlag.BLOCK])
def test_trades_off_the_queue_fill_nothing(flag) -> None:
    """Unjoined and block trades neither fill nor advance own orders."""
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.TRADE, BUY, c(47), 5000, flags=flag)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(2)
    assert fills(simulation) == [] and simulation.markets[0].open[1].ahead == 500


@pytest.mark.parametrize("has_trade", [False, True])
def test_quoted_through(has_trade) -> None:
    """An offer at or below an own bid at the end of a burst fills it at the bid's price."""
    scene = Scene().book(1, BOOK)
    if has_trade:
        scene.add(2, TapeKind.TRADE, SELL, c(50), 1, flags=TapeFlag.UNJOINED)
    scene.less(3, BUY, 48, 500).more(3, SELL, 48, 70).more(3, SELL, 49, 50)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(49), 100, flags=POST_ONLY)
    simulation.submit(0, BUY, c(48), 60)
    simulation.advance_until(3)
    assert fills(simulation) == [(1, 49, 70), (1, 49, 30)]
    row = last(simulation, JournalKind.FILL)
    assert row["evidence"] == (Evidence.THROUGH if has_trade else Evidence.BEYOND)
    assert (row["liquidity"], row["claim"]) == (Liquidity.MAKER, 50)
    assert row["flags"] == POST_ONLY | OrderFlag.TAKES_DEPTH
    assert row["cause_row"] == simulation.markets[0].tape_rows - 1
    assert simulation.state()["markets"][0]["taken"] == {(1, 4800): 70, (1, 4900): 30}


def test_a_crossing_that_is_gone_by_the_end_of_its_burst_fills_nothing() -> None:
    """Quotes are looked at when the burst is over: nobody decides within it."""
    scene = Scene().book(1, BOOK).more(2, SELL, 48, 70).less(2, SELL, 48, 70)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(2)
    assert fills(simulation) == []


def test_gap_ends_trust_and_queue_positions() -> None:
    """After a gap nothing fills and no order enters; a snapshot puts orders at the level's end."""
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.GAP)
    scene.add(3, TapeKind.TRADE, BUY, c(40), 9999, flags=JOINED)
    scene.book(4, {BUY: {48: 30}, SELL: {50: 400}})
    scene.add(4, TapeKind.RECOVERED)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 300)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(2)
    state = simulation.state()["markets"][0]
    assert not state["bids"] and not state["taken"] and not state["trusted"]
    assert state["mid2"] == 9800 and simulation.markets[0].open[2].ahead == UNKNOWN_AHEAD
    simulation.submit(0, BUY, c(48), 100)
    assert kinds(simulation)[-1] == "REJECTED TRADING_PAUSED"
    simulation.advance_until(4)
    assert len(fills(simulation)) == 1 and simulation.markets[0].open[2].ahead == 30


# Money.

NETTINGS = [
    # trades (side, cents, contracts) -> position, cost, realised, cash moved, in dollars
    ([(BUY, 36, 132), (SELL, 92, 132)], 0, 0, 73.92, 73.92),
    ([(BUY, 64, 7), (SELL, 62, 7)], 0, 0, -0.14, -0.14),
    ([(BUY, 40, 10)], 10, 4.0, 0, -4.0),
    ([(BUY, 40, 10), (BUY, 50, 10)], 20, 9.0, 0, -9.0),
    ([(BUY, 40, 10), (BUY, 50, 10), (SELL, 60, 5)], 15, 6.75, 0.75, -6.0),
    ([(SELL, 40, 10)], -10, 6.0, 0, -6.0),
    ([(SELL, 40, 10), (SELL, 30, 10)], -20, 13.0, 0, -13.0),
    ([(SELL, 40, 10), (BUY, 30, 4)], -6, 3.6, 0.4, -3.2),
    ([(SELL, 40, 10), (BUY, 30, 10)], 0, 0, 1.0, 1.0),
    ([(BUY, 40, 10), (SELL, 60, 15)], -5, 2.0, 2.0, 0.0),
    ([(SELL, 40, 10), (BUY, 30, 12)], 2, 0.6, 1.0, 0.4),
]


@pytest.mark.parametrize(("trades", "position", "cost", "realised", "moved"), NETTINGS)
def test_netting(trades, position, cost, realised, moved) -> None:
    """Selling YES buys NO; a pair redeems one dollar at once; the basis is the average cost.

    The first two rows are real accounts (SPEC 6.2): realised 73.92 and -0.14.
    """
    scene = Scene()
    for ts, (side, cents, qty) in enumerate(trades, 1):
        scene.book(ts, {Side(1 - side): {cents: qty * 100}})
    simulation = scene.run()
    for ts, (side, cents, qty) in enumerate(trades, 1):
        simulation.advance_until(ts)
        simulation.submit(0, side, c(cents), qty * 100, FOK)
    market = simulation.markets[0]
    assert market.position == position * 100
    assert market.cost == round(cost * CASH_ONE)
    assert market.realised == round(realised * CASH_ONE)
    assert simulation.cash - 1000 * CASH_ONE == round(moved * CASH_ONE)


def test_basis_of_a_partial_close_is_rounded_down() -> None:
    """Three units for 100 in all: closing one takes 33 of the cost, and the others keep 67."""
    simulation = opened(tick=1)
    market = simulation.markets[0]
    market.position, market.cost = 3, 100
    assert simulation._move_position(market, SELL, 40, 1) == 40
    assert (market.cost, market.realised, market.position) == (67, 7, 2)


FEES = [
    # SPEC 5.3: the published table rounds up to the cent, 100 contracts and one
    *[(KALSHI_2021, cents, 10_000, fee) for cents, fee in [
        (1, 70_000), (5, 340_000), (10, 630_000), (25, 1_320_000), (45, 1_740_000),
        (50, 1_750_000), (75, 1_320_000), (80, 1_120_000), (85, 900_000), (99, 70_000),
    ]],
    (KALSHI_2021, 5, 100, 10_000),
    (KALSHI_2021, 25, 100, 20_000),
    (KALSHI_2021, 50, 100, 20_000),
    # the fee parts of real fills before August 2026, rounded up to $0.0001
    (KALSHI_2026_03, 15, 600, 53_600),
    (KALSHI_2026_03, 12, 800, 59_200),
    # the newest rule, $0.000001: 0.00363825 is charged as 0.003639
    (KALSHI_2026_08, 5.5, 100, 3_639),
    (NO_FEES, 50, 10_000, 0),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "cents", "qty", "fee"), FEES)
def test_published_fees(schedule, cents, qty, fee) -> None:
    """The published and the recorded fees come out to the last digit."""
    assert trade_fee(schedule, schedule.scaled(int(cents * 100), False), qty) == fee


def test_fee_rows_change_the_taker_rate() -> None:
    """A FEE row sets the market's rate from then on."""
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.FEE, qty=35_000)
    simulation = scene.run(fees=KALSHI_2021)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 100, IOC)
    simulation.advance_until(2)
    simulation.submit(0, BUY, c(50), 100, IOC)
    charged = [row["fee"] for row in simulation.journal if row["kind"] == JournalKind.FILL]
    assert charged == [20_000, 10_000]


COLLATERAL = [
    # position, resting (side, cents, qty) in order of arrival -> reserved
    (0, [(BUY, 40, 100)], 400_000),
    (0, [(SELL, 60, 100)], 400_000),
    (0, [(BUY, 40, 100), (SELL, 60, 100)], 800_000),
    (100, [(SELL, 60, 100)], 0),
    (100, [(SELL, 60, 150)], 50 * 4000),
    (100, [(SELL, 60, 100), (SELL, 55, 100)], 100 * 4000),
    (100, [(SELL, 55, 100), (SELL, 60, 100)], 100 * 4000),
    (100, [(BUY, 40, 100)], 400_000),
    (-100, [(BUY, 40, 130), (SELL, 60, 10)], 30 * 4000 + 10 * 4000),
    (-100, [(BUY, 40, 60), (BUY, 45, 60)], 20 * 4000),
]


@pytest.mark.parametrize(("position", "orders", "reserved"), COLLATERAL)
def test_collateral(position, orders, reserved) -> None:
    """An order reserves the leg that it would acquire; what closes the position costs nothing."""
    opening = {BUY: {50: 100}} if position < 0 else {SELL: {50: 100}}
    simulation = Scene().book(1, opening).run()
    simulation.advance_until(1)
    if position:
        simulation.submit(0, BUY if position > 0 else SELL, c(50), abs(position), IOC)
    for side, cents, qty in orders:
        simulation.submit(0, side, c(cents), qty)
    assert simulation.markets[0].position == position
    assert simulation.reserved == reserved
    assert sum(row["reserved"] for row in simulation.journal) == reserved


@pytest.mark.parametrize(
    ("cash", "accepted"), [(5_070_000 - 1, False), (5_070_000, True), (9_000_000, True)]
)
def test_balance_covers_limit_and_fees(cash, accepted) -> None:
    """400 at 50 and 600 resting at 50 need $5.00, and 7 cents of fee for the part that takes."""
    simulation = opened(cash=cash, fees=KALSHI_2026_08)
    simulation.submit(0, BUY, c(50), 1000)
    assert kinds(simulation)[1] == ("ACCEPTED" if accepted else "REJECTED INSUFFICIENT_BALANCE")


# Refusals (their order: test_reference_commands).

GRIDS = [
    # centre, edge, width, price -> allowed
    (100, 10, 1000, 4810, False),
    (100, 10, 1000, 4800, True),
    (100, 10, 1000, 990, True),
    (100, 10, 1000, 1000, True),
    (100, 10, 1000, 1010, False),
    (100, 10, 1000, 9000, True),
    (100, 10, 1000, 9010, True),
    (100, 10, 1000, 8990, False),
    (10, 10, 0, 10, True),
    (10, 10, 0, 5, False),
    (10, 10, 0, 0, False),
    (10, 10, 0, 10_000, False),
    (10, 10, 0, -10, False),
]


@pytest.mark.parametrize(("centre", "edge", "width", "price", "allowed"), GRIDS)
def test_grids(centre, edge, width, price, allowed) -> None:
    """Tapered grids are fine at both edges and coarse between, their borders included."""
    market = MarketState(Recorded(0, 10, 0))
    market.centre_step, market.edge_step, market.edge_width = centre, edge, width
    assert market.on_grid(price) == allowed


def test_reduce_only_never_rests_and_never_opens() -> None:
    """With 100 held, a reduce-only sale is taken for 100 or less, IOC, and on no other terms."""
    simulation = opened()
    simulation.submit(0, BUY, c(50), 100, IOC)
    simulation.submit(0, SELL, c(55), 70, GTC, REDUCE_ONLY)
    simulation.submit(0, SELL, c(55), 101, IOC, REDUCE_ONLY)
    simulation.submit(0, SELL, c(55), 100, IOC, REDUCE_ONLY)
    simulation.submit(0, BUY, c(40), 1, IOC, REDUCE_ONLY)
    answers = [word for word in kinds(simulation) if word not in ("SUBMITTED", "FILL")]
    invalid, ended = "REJECTED INVALID_ORDER", "CANCELED IMMEDIATE_OR_CANCEL"
    assert answers == ["ACCEPTED", invalid, invalid, "ACCEPTED", ended, invalid]


def test_commands_to_orders_that_are_gone() -> None:
    """A second cancel is refused by name; a number never issued is the caller's mistake."""
    simulation = opened()
    simulation.submit(0, BUY, c(45), 100, client_id=5)
    simulation.cancel(0, 1)
    simulation.cancel(0, 1)
    simulation.amend(0, 1, qty=50)
    assert kinds(simulation)[2:] == [
        "CANCEL_REQUESTED", "CANCELED USER",
        "CANCEL_REQUESTED", "CANCEL_REJECTED ORDER_NOT_OPEN",
        "AMEND_REQUESTED", "AMEND_REJECTED ORDER_NOT_OPEN",
    ]  # fmt: skip
    row = simulation.journal[-1]
    assert (row["order"], row["price"], row["qty"]) == (1, KEEP, 50)
    assert row["client_id"] == row["side"] == row["left"] == 0 and row["expires"] == KEEP
    for number in (0, 2, -1):
        with pytest.raises(LookupError, match="never submitted"):
            simulation.cancel(0, number)


def test_a_market_without_a_row_is_inactive() -> None:
    """Before its first row a market takes nothing, whatever its neighbour does."""
    scene = Scene().book(1, BOOK).book(9, BOOK, market=1)
    simulation = scene.run(markets=2)
    assert simulation.now == 1
    for market in (0, 1):
        simulation.submit(market, BUY, c(45), 100)
        assert kinds(simulation)[-1] == "REJECTED MARKET_INACTIVE"
    simulation.advance_until(5)
    simulation.submit(1, BUY, c(45), 100)
    simulation.cancel(1, 1)
    assert kinds(simulation)[-3:] == [
        "REJECTED MARKET_INACTIVE", "CANCEL_REQUESTED", "CANCEL_REJECTED MARKET_INACTIVE",
    ]  # fmt: skip


# Amends.

AMENDS = [
    # price, total -> the answer, the order in front, left of order 1, its ahead
    (KEEP, 150, "AMENDED", 1, 100, 400),
    (KEEP, 200, "AMENDED", 1, 150, 400),
    (c(48), KEEP, "AMENDED", 1, 150, 400),
    (KEEP, 201, "AMENDED", 2, 151, 460),
    (c(49), KEEP, "AMENDED", 1, 150, 0),
    (c(47), KEEP, "AMENDED", 2, 150, 800),
    (KEEP, 50, "CANCELED AMENDED_TO_FILLED", 2, 0, 400),
    (c(50), 50, "CANCELED AMENDED_TO_FILLED", 2, 0, 400),
    (4850, 50, "AMEND_REJECTED INVALID_PRICE", 1, 150, 400),
    (KEEP, 49, "AMEND_REJECTED INVALID_QTY", 1, 150, 400),
    (KEEP, 0, "AMEND_REJECTED INVALID_QTY", 1, 150, 400),
    (c(52), KEEP, "AMEND_REJECTED SELF_CROSS", 1, 150, 400),
    (KEEP, 10**9, "AMEND_REJECTED INSUFFICIENT_BALANCE", 1, 150, 400),
]


@pytest.mark.parametrize(("price", "qty", "answer", "front", "left", "ahead"), AMENDS)
def test_amends(price, qty, answer, front, left, ahead) -> None:
    """Less at the same price keeps the place; anything else goes to the back of its level.

    Order 1 bids 200 at 48 and has 50 filled, order 2 stands behind it, an own offer rests at 52.
    """
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.TRADE, BUY, c(48), 550, flags=JOINED)
    scene.less(2, BUY, 48, 40)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 200)
    simulation.submit(0, BUY, c(48), 100)
    simulation.submit(0, SELL, c(52), 100)
    simulation.advance_until(2)
    order = simulation.markets[0].issued[0]
    order.ahead = 400
    simulation.amend(0, 1, price, qty)
    assert kinds(simulation)[-1] == answer
    assert simulation.markets[0].queue(BUY)[0].number == front
    assert (order.left, order.ahead) == (left, ahead)


def test_amend_into_the_market_takes() -> None:
    """An amend to a crossing price walks, with the AMENDED row as cause; the rest rests."""
    simulation = opened()
    simulation.submit(0, BUY, c(45), 100)
    simulation.amend(0, 1, c(50), 600)
    assert fills(simulation) == [(1, 50, 400)]
    row = last(simulation, JournalKind.FILL)
    assert (row["left"], row["evidence"]) == (200, Evidence.TAKER)
    assert row["cause_row"] == last(simulation, JournalKind.AMENDED)["row"]
    assert simulation.reserved == 200 * 5000


# Time, close and settlement.


@pytest.mark.parametrize(("expires", "filled"), [(2, []), (3, [(1, 49, 100)]), (4, [(1, 49, 100)])])
def test_orders_live_through_their_last_instant(expires, filled) -> None:
    """An order that expires at 3 still trades at 3, and is gone before anything later."""
    scene = Scene().book(1, BOOK).trade(3, BUY, 48, 100).less(9, BUY, 47, 1)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(49), 200, expires=expires)
    simulation.advance_until(3)
    assert fills(simulation) == filled
    simulation.advance_until(9)
    row = last(simulation, JournalKind.EXPIRED)
    assert (row["ts"], row["left"], row["qty"]) == (expires, 0, 200)
    assert simulation.reserved == 0 and simulation.now == 9


def test_steps_by_time_expire_what_is_due_before_them() -> None:
    """A step to t runs expiries before t, in order of time, then market, then number."""
    scene = Scene().book(1, BOOK).book(1, BOOK, market=1).less(99, BUY, 47, 1)
    simulation = scene.run(markets=2)
    simulation.advance_until(1)
    for market, expires in ((1, 20), (1, 10), (0, 20), (0, 30)):
        simulation.submit(market, BUY, c(40), 100, expires=expires)
    simulation.advance_until(10)
    assert "EXPIRED" not in kinds(simulation)
    simulation.advance_until(30)
    expired = [
        (row["ts"], row["market"], row["order"])
        for row in simulation.journal
        if row["kind"] == JournalKind.EXPIRED
    ]
    assert expired == [(10, 1, 2), (20, 0, 1), (20, 1, 1)]
    assert simulation.now == 30


SETTLEMENTS = [
    # position, payout -> side of the row, cash, realised in the end
    (400, 10_000, BUY, 4_000_000, 2_000_000),
    (400, 0, BUY, 0, -2_000_000),
    (400, 3700, BUY, 1_480_000, -520_000),
    (-500, 10_000, SELL, 0, -2_600_000),
    (-500, 0, SELL, 5_000_000, 2_400_000),
    (-500, 3700, SELL, 3_150_000, 550_000),
]


@pytest.mark.parametrize(("position", "payout", "side", "cash", "realised"), SETTLEMENTS)
def test_settlement_pays(position, payout, side, cash, realised) -> None:
    """YES gets the payout, NO the complement; 400 YES cost 2.00, 500 NO cost 2.60."""
    scene = Scene().book(1, BOOK)
    scene.status(2, MarketStatus.CLOSED).status(3, MarketStatus.DETERMINED, payout)
    scene.status(4, MarketStatus.SETTLED, payout).status(5, MarketStatus.SETTLED, payout)
    simulation = scene.run()
    simulation.advance_until(1)
    if position > 0:
        simulation.submit(0, BUY, c(50), position)
    else:
        simulation.submit(0, SELL, c(48), -position)
    simulation.submit(0, BUY, c(30), 100)
    simulation.submit(0, SELL, c(70), 100)
    simulation.advance_until(2)
    assert kinds(simulation)[-2:] == ["CANCELED MARKET_CLOSED"] * 2
    assert simulation.reserved == 0
    before = simulation.cash
    value = simulation.value
    simulation.advance_until(5)
    row = last(simulation, JournalKind.SETTLED)
    assert (row["qty"], row["side"], row["price"], row["cash"]) == (
        abs(position), side, payout, cash,
    )  # fmt: skip
    assert simulation.cash == before + cash == simulation.value != value
    assert simulation.markets[0].realised == realised and simulation.markets[0].cost == 0
    assert kinds(simulation).count("SETTLED") == 1
    simulation.submit(0, BUY, c(50), 1)
    assert kinds(simulation)[-1] == "REJECTED MARKET_INACTIVE"


def test_close_freezes_the_mark() -> None:
    """The book of a closed market is empty, and its positions keep the last mark."""
    simulation = Scene().book(1, BOOK).status(2, MarketStatus.CLOSED).book(3, {}).run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 400)
    simulation.advance_until(3)
    state = simulation.state()["markets"][0]
    assert not state["bids"] and not state["asks"] and state["mid2"] == 9800
    assert simulation.value == 1000 * CASH_ONE - 400 * 100


MARKS = [
    # own trade (side, cents, qty), mark -> what the position is worth
    (BUY, 50, 400, Mark.MID, 400 * 4900),
    (SELL, 48, 300, Mark.MID, 300 * 5100),
    (BUY, 50, 400, Mark.CLOSE, 400 * 4800),
    (BUY, 53, 700, Mark.CLOSE, 500 * 4800 + 200 * 4700),
    (BUY, 53, 1700, Mark.CLOSE, 500 * 4800 + 800 * 4700),
    (SELL, 48, 500, Mark.CLOSE, 400 * 5000 + 100 * 4900),
]


@pytest.mark.parametrize(("side", "cents", "qty", "mark", "worth"), MARKS)
def test_value_at_a_mark(side, cents, qty, mark, worth) -> None:
    """The mid of the recorded book, or what the displayed other side would pay."""
    simulation = opened(mark=mark)
    simulation.submit(0, side, c(cents), qty, IOC)
    assert simulation.value - simulation.cash == worth


def test_half_units_are_rounded_down_for_both_outcomes() -> None:
    """At a mid of 49.005 cents, three units of YES and of NO are worth less than 3 dollars."""
    simulation = opened(tick=1)
    market = simulation.markets[0]
    market.mid2 = 9801
    worth = []
    for position in (3, -3):
        market.position = position
        worth.append(simulation.position_value(market))
    assert worth == [14_701, 15_298]


def test_drawdown_is_the_deepest_fall_from_a_peak() -> None:
    """100 YES bought at 50: value along mids 49, 60, 40, 55, 52."""
    scene = Scene().book(1, BOOK)
    for ts, mid in enumerate((60, 40, 55, 52), 2):
        scene.book(ts, {BUY: {mid - 1: 10}, SELL: {mid + 1: 10}})
    simulation = scene.run(cash=CASH_ONE)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 100, IOC)
    seen = []
    for ts in range(1, 6):
        simulation.advance_until(ts)
        account = simulation.state()["account"]
        seen.append((account["value"], account["peak"], account["drawdown"]))
    assert seen == [
        (990_000, 1_000_000, 10_000),
        (1_100_000, 1_100_000, 10_000),
        (900_000, 1_100_000, 200_000),
        (1_050_000, 1_100_000, 200_000),
        (1_020_000, 1_100_000, 200_000),
    ]


# The journal.


def test_causes_and_places() -> None:
    """Rows name their causes by market and row, and stand between tape rows."""
    scene = Scene().book(1, BOOK).more(2, BUY, 48, 10).trade(3, BUY, 48, 505)
    scene.status(4, MarketStatus.CLOSED)
    simulation = scene.run()
    start, tape, journal, timer = CauseKind
    simulation.advance_until(2)
    simulation.submit(0, BUY, c(47), 10, expires=2 + 10**9, cause=(tape, 0, 6))
    simulation.submit(0, BUY, c(48), 100, cause=FROM_CLOCK)
    simulation.markets[0].open[2].ahead = 500
    simulation.advance_to_row(8)
    simulation.advance_until(9)
    rows = [
        (
            JournalKind(row["kind"]).name, row["market"], row["row"],
            (row["cause_kind"], row["cause_market"], row["cause_row"]), place,
        )
        for row, place in zip(simulation.journal, simulation.places(), strict=True)
    ]  # fmt: skip
    assert rows == [
        ("CASH_MOVED", NO_MARKET, 0, FROM_START, 0),
        ("SUBMITTED", 0, 0, (tape, 0, 6), 7),
        ("ACCEPTED", 0, 1, (journal, 0, 0), 7),
        ("SUBMITTED", 0, 2, (timer, NO_MARKET, 0), 7),
        ("ACCEPTED", 0, 3, (journal, 0, 2), 7),
        ("FILL", 0, 4, (tape, 0, 7), 8),
        ("CANCELED", 0, 5, (tape, 0, 9), 10),
        ("CANCELED", 0, 6, (tape, 0, 9), 10),
    ]
    assert start == FROM_START[0]


def test_bursts_are_atomic() -> None:
    """A step by rows never stops within the rows of one market and time."""
    scene = Scene().book(1, BOOK).book(1, BOOK, market=1).less(2, BUY, 48, 1)
    simulation = scene.run(markets=2)
    stops = []
    for row in range(14):
        simulation.advance_to_row(row)
        stops.append(simulation.applied)
    assert stops == [0, *[6] * 6, *[12] * 6, 13]


# Random workloads.


@pytest.mark.parametrize("seed", range(8))
def test_a_workload_is_a_function_of_its_seed(seed) -> None:
    """The same seed gives the same tape, commands, journal and state, in steps of any size."""
    first, second = make(seed, 600, 60), make(seed, 600, 60)
    assert first.rows.tobytes() == second.rows.tobytes() and first.commands == second.commands
    one, other = first.reference(), second.reference()
    drive(one, first)
    for command in second.commands:
        target = command.at if command.by == "row" else other.applied
        for row in range(other.applied, target, 7):
            other.advance_to_row(row)
        if command.by == "row":
            other.advance_to_row(command.at)
        else:
            other.advance_until(command.at)
        send(other, command)
    other.advance_to_row(len(second.rows))
    assert one.digest() == other.digest() and one.state() == other.state()
    assert one.places() == other.places()
    check(one, seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_tapes_are_valid(seed) -> None:
    """Time never goes back, a market's burst is contiguous, joined trades precede a decrease."""
    rows = make(seed, commands=0).rows
    assert (np.diff(rows["ts"]) >= 0).all()
    for market in np.unique(rows["market"]):
        of_market = rows["market"] == market
        starts = np.flatnonzero(
            of_market & ~np.concatenate(([False], of_market[:-1] & (np.diff(rows["ts"]) == 0)))
        )
        assert (np.diff(rows["ts"][starts]) > 0).all()
    joined = np.flatnonzero(rows["flags"] & JOINED)
    after = rows[joined + 1]
    assert (after["kind"] == TapeKind.DECREASE).all()
    for name in ("ts", "market", "side", "price", "qty"):
        assert (rows[joined][name] == after[name]).all()
    leveled = rows[np.isin(rows["kind"], (TapeKind.INCREASE, TapeKind.DECREASE))]
    assert (leveled["qty"] > 0).all()


# A test of the tests: invariants that never fail would prove nothing.


def _skip_clamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ladder, "clamp", lambda self, price: None)


def _forget_collateral(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.account.collateral", lambda position, orders: 0)


def _ignore_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.refusals.lacks_balance", lambda account, market, order: False)


def _walk_past_own_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Venue, "_first_met", lambda self, market, order: None)


def _round_basis_up(monkeypatch: pytest.MonkeyPatch) -> None:
    move = Account._move_position

    def lose(self: ReferenceSimulation, market: MarketState, *args: int) -> int:
        held = market.position
        moved = move(self, market, *args)
        market.cost += abs(market.position) < abs(held)
        return moved

    monkeypatch.setattr(Account, "_move_position", lose)


def _fill_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    match = Venue._match_trade

    def again(self: ReferenceSimulation, *args: object) -> None:
        match(self, *args)
        match(self, *args)

    monkeypatch.setattr(Venue, "_match_trade", again)


def _forget_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    done = ReferenceSimulation._step_done

    def forget(self: ReferenceSimulation) -> None:
        self.peak = self.starting_cash
        done(self)

    monkeypatch.setattr(ReferenceSimulation, "_step_done", forget)


def _pay_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "_reserved_after", lambda self, market, order, qty: -(10**30))


def _overdraw_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Bucket, tokens: int) -> None:
        self.level -= tokens * TOKEN

    monkeypatch.setattr(Bucket, "take", take)


def _forget_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def fee(schedule: Any, scaled: int, qty: int, cash: int, carry: int) -> tuple[int, int]:
        return trade_fee(schedule, scaled, qty), 0

    monkeypatch.setattr("reference.account.fill_fee", fee)


def _take_any_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out = ReferenceSimulation._carry_out_submit

    def forget(self: ReferenceSimulation, *args: Any) -> None:
        self.client_ids.clear()
        carry_out(self, *args)

    monkeypatch.setattr(ReferenceSimulation, "_carry_out_submit", forget)


def _forget_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    check_groups = Account._check_groups

    def forget(self: Account) -> None:
        check_groups(self)
        for group in self.groups.values():
            group.triggered = False

    monkeypatch.setattr(Account, "_check_groups", forget)


def _keep_levels_after_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ladder, "clear", lambda self: None)


SABOTAGES = [
    (_skip_clamp, "took more than a level showed"),
    (_forget_collateral, "reserved 0 is not"),
    (_ignore_balance, "available cash is negative"),
    (_walk_past_own_orders, "crosses itself"),
    (_round_basis_up, "cash is not start|cost"),
    (_fill_twice, "the trade is used up"),
    (_forget_peaks, "peak|drawdown"),
    (_keep_levels_after_a_gap, "levels without trust"),
    (_pay_what_is_not_there, "available cash is negative"),
    (_overdraw_the_bucket, "bucket"),
    (_forget_the_precision, "finer than its precision"),
    (_take_any_client_id, "client id came before"),
    (_forget_triggers, "group is triggered|triggered already"),
]


@pytest.mark.parametrize(("sabotage", "message"), SABOTAGES)
def test_invariants_notice_a_broken_reference(sabotage, message, monkeypatch) -> None:
    """Each sabotage of one rule is noticed, with the seed in the report."""
    sabotage(monkeypatch)

    def run_some() -> None:
        for seed in range(12):
            workload = make(seed, 1000, 120)
            drive(workload.reference(Watch(seed=seed)), workload)

    with pytest.raises(InvariantError, match=message) as caught:
        run_some()
    assert "seed " in str(caught.value) and "journal: " in str(caught.value)
