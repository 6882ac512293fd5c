"""Collateral of mutually exclusive events, by hand: both engines over one tape, byte for byte.

One contract of each market; NO@.60 is a sale of YES at .40. Fees are none, money is in dollars.
"""

from __future__ import annotations

import numpy as np
import pytest
from compiled_run import CompiledRun
from drives import Command, Workload, drive
from reference.state import FROM_START
from scenes import BUY, IOC, SELL, Scene, c
from test_kernels_agree import assert_agree
from workloads import make

from foldbook.engine import Backtest, Config, Market, Models, dollars
from foldbook.engine.kernels import layout
from foldbook.engine.lifecycle import check_journal
from foldbook.engine.schema import (
    NO_TIME,
    CauseKind,
    JournalKind,
    Mark,
    MarketStatus,
    Reason,
    TapeFlag,
)
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import NO_FEES

A, B, C, D = range(4)
TEN = 1000
BOOKS = {
    A: {BUY: {40: TEN}, SELL: {45: TEN}},
    B: {BUY: {30: TEN}, SELL: {35: TEN}},
    C: {BUY: {20: TEN}, SELL: {50: TEN}},
    D: {BUY: {48: TEN}, SELL: {50: TEN}},
}
"""A, B and C are of one event, D is of none."""
MARKETS = (Market("E-A", event="E"), Market("E-B", event="E"), Market("E-C", event="E"),
           Market("F-D"))  # fmt: skip
NO_A, NO_B, NO_C = (A, SELL, 40), (B, SELL, 30), (C, SELL, 20)
SPEC = (NO_A, NO_B)
"""The venue's example: NO@.60 and NO@.70."""
RETURNED = JournalKind.COLLATERAL_RETURNED


def opened(*settled: tuple[int, int], flags: int = 0) -> Scene:
    """Return a tape with all four books, then one SETTLED row for each (market, cents)."""
    scene = Scene()
    for market, book in BOOKS.items():
        scene.book(market + 1, book, market)
    for number, (market, cents) in enumerate(settled):
        scene.status(100 + number, MarketStatus.SETTLED, c(cents), market, flags)
    return scene


def run(scene: Scene, *orders: tuple[int, ...], cash: str = "5.00", returns: bool = True,
        markets: tuple[Market, ...] = MARKETS) -> np.ndarray:  # fmt: skip
    """Send orders (market, side, cents[, contracts]) at 10, IOC, and return the journal."""
    commands = []
    for market, side, cents, *contracts in orders:
        qty = 100 * contracts[0] if contracts else 100
        terms = {"side": int(side), "price": c(cents), "qty": qty, "tif": int(IOC), "flags": 0,
                 "expires": NO_TIME, "client_id": 0, "group": 0}  # fmt: skip
        commands.append(Command("time", 10, "submit", {"market": market, **terms}, FROM_START))
    models = Models(NO_FEES, collateral_return=returns)
    rows = scene.rows()
    workload = Workload(0, rows, markets, dollars(cash), models, Mark.MID, tuple(commands))
    return assert_agree(workload)


def moved(journal: np.ndarray) -> list[tuple[str, int, int]]:
    """Return (kind, market, cents) of the rows that move cash."""
    rows = journal[1:][journal[1:]["cash"] != 0]
    return [(JournalKind(row["kind"]).name, int(row["market"]), int(row["cash"]) // 10_000)
            for row in rows]  # fmt: skip


def test_two_no_in_one_event_cost_the_dollar_less():
    """NO@.60 costs .60, NO@.70 then .70 less the dollar that one of the two is sure to pay: .30 in
    all. The row is caused by the fill, which stands right before it."""
    journal = run(opened(), *SPEC)
    assert moved(journal) == [("FILL", A, -60), ("FILL", B, -70), ("COLLATERAL_RETURNED", B, 100)]
    row, fill = journal[-1], journal[-2]
    assert (fill["kind"], row["kind"]) == (JournalKind.FILL, RETURNED)
    cause = (row["cause_kind"], row["cause_market"], row["cause_row"])
    assert cause == (CauseKind.JOURNAL, B, fill["row"])


@pytest.mark.parametrize(
    ("returns", "markets"),
    [(False, MARKETS), (True, tuple(Market(each.ticker) for each in MARKETS)),
     (True, (Market("E-A", event="E"), Market("G-B", event="G"), *MARKETS[2:]))],
    ids=["off", "no event", "two events"],
)  # fmt: skip
def test_without_the_setting_or_a_common_event_nothing_is_returned(returns, markets):
    """Each NO costs its price."""
    journal = run(opened(), *SPEC, returns=returns, markets=markets)
    assert moved(journal) == [("FILL", A, -60), ("FILL", B, -70)]


def test_the_largest_position_is_not_returned():
    """3 + 2 + 1 contracts: whichever market pays, the account is paid for three of six at least."""
    journal = run(opened(), (*NO_A, 3), (*NO_B, 2), NO_C)
    assert journal[journal["kind"] == RETURNED]["cash"].tolist() == [dollars(2), dollars(1)]


def test_yes_positions_return_nothing():
    """YES of A loses where NO of B pays nothing: only pairs of NO are sure."""
    assert RETURNED not in run(opened(), (A, BUY, 45), NO_B)["kind"]


def test_what_was_returned_blocks_a_sale_that_cannot_pay_it_back():
    """1.31 buys both NO and leaves 1.01; 1.00 of it buys YES of D. Selling NO of A pays .55 and
    takes back 1.00, which is more than there is: MARGIN. With .44 more it goes through."""
    orders = (*SPEC, (D, BUY, 50, 2), (A, BUY, 45))
    journal = run(opened(), *orders, cash="1.31")
    assert journal[-1]["kind"] == JournalKind.CANCELED
    assert journal[-1]["reason"] == Reason.MARGIN
    assert moved(journal)[-1] == ("FILL", D, -100)
    journal = run(opened(), *orders, cash="1.75")
    assert moved(journal)[-2:] == [("FILL", A, 55), ("COLLATERAL_RETURNED", A, -100)]


def test_what_is_returned_pays_for_the_fill():
    """Only the collateral of the order itself must be there before: .60 + .70 of 1.30."""
    assert len(moved(run(opened(), *SPEC, cash="1.30"))) == 3
    assert run(opened(), *SPEC, cash="1.29")[-1]["reason"] == Reason.INSUFFICIENT_BALANCE


@pytest.mark.parametrize(
    ("settled", "expected"),
    [
        # C pays, or none: A's dollar was returned before, B's is new.
        ([(A, 0), (B, 0)], [(A, 100), (A, -100), (B, 100)]),
        # A pays: its NO gets nothing, and B's dollar was returned before.
        ([(A, 100), (B, 0)], [(B, 100), (B, -100)]),
        # C is not held, and still decides that A and B will both be paid.
        ([(C, 100), (A, 0), (B, 0)], [(C, 100), (A, 100), (A, -100), (B, 100), (B, -100)]),
        # A pays a quarter: three quarters are left for one of the others.
        ([(A, 25), (B, 75)], [(A, 75), (A, -75), (B, 25), (B, -25)]),
        # First NO, then corrected to YES, which makes B sure.
        ([(A, 0), (A, 100), (B, 0)],
         [(A, 100), (A, -100), (A, -100), (A, 100), (B, 100), (B, -100)]),
    ],
    ids=["none", "one held", "one not held", "scalar", "corrected"],
)  # fmt: skip
def test_settlement_pays_what_was_not_returned(settled, expected):
    """After the settlement nothing is owed, and cash is start - cost + payouts."""
    journal = run(opened(*settled), *SPEC)
    assert [(market, cents) for _, market, cents in moved(journal)[3:]] == expected
    payouts = dict(settled)
    paid = sum(100 - payouts[market] for market in (A, B))
    assert sum(cents for *_, cents in moved(journal)) == paid - 60 - 70
    assert journal[journal["kind"] == RETURNED]["cash"].sum() == 0


def test_a_settled_market_of_no_position_causes_the_return_itself():
    """C settles without a SETTLED row: the cause is the row of the tape."""
    row = run(opened((C, 100)), *SPEC)[-1]
    cause = (row["cause_kind"], row["cause_market"], row["cause_row"])
    assert (row["kind"], row["market"], cause) == (RETURNED, C, (CauseKind.TAPE, C, 3))


def test_a_void_market_pays_its_cost_and_counts_as_one_that_paid_nothing():
    """A is paid back .60 and takes back its dollar: the one case that costs cash."""
    journal = run(opened((A, 0), flags=TapeFlag.VOID), *SPEC)
    assert moved(journal)[3:] == [("SETTLED", A, 60), ("COLLATERAL_RETURNED", A, -100)]


@pytest.mark.parametrize("seed", range(20))
def test_results_that_fit_conserve_cash(seed):
    """Drawn positions and results in any order: cash is start - cost + payouts, no row of a result
    costs cash, and at the end nothing is owed. (The reference's invariants watch each row.)"""
    rng = np.random.default_rng(seed)
    orders = []
    for _ in range(12):
        market = int(rng.integers(4))
        side = (BUY, SELL, SELL)[rng.integers(3)]
        cents = next(iter(BOOKS[market][1 - side]))
        orders.append((market, side, cents, int(rng.integers(1, 4))))
    payouts = [[0, 0, 0], [100, 0, 0], [0, 0, 100], [30, 70, 0], [20, 20, 20]][rng.integers(5)]
    settled = [(int(market), [*payouts, 40][market]) for market in rng.permutation(4)]
    journal = run(opened(*settled), *orders, cash="20.00")
    fills = journal[journal["kind"] == JournalKind.FILL]
    cost, position = 0, [0] * 4
    for row in fills:
        leg = row["price"] if row["side"] == BUY else 10_000 - row["price"]
        cost += int(leg) * int(row["qty"])
        position[row["market"]] += int(row["qty"]) * (1 if row["side"] == BUY else -1)
    pairs = int(fills["qty"].sum()) - sum(abs(held) for held in position)
    paid = sum(held * c(cents) if held > 0 else -held * c(100 - cents)
               for held, cents in zip(position, [*payouts, 40], strict=True))  # fmt: skip
    assert journal["cash"].sum() == dollars(20) - cost + 10_000 * pairs // 2 + paid
    returned = journal[journal["kind"] == RETURNED]["cash"]
    assert returned.sum() == 0 and (np.cumsum(returned) >= 0).all()


@pytest.mark.parametrize("seed", [0, 2, 38, 90])
def test_a_rebuild_knows_what_is_owed(seed):
    """Tape and journal of a random workload whose event returns collateral make its state again,
    the markets' parts of what is returned included; the journal obeys the table."""
    workload = make(seed)
    run = CompiledRun(workload)
    drive(run, workload)
    journal = run.bus.journal()
    assert RETURNED in journal.rows["kind"]
    check_journal(journal.rows)
    fresh = CompiledRun(workload).bus
    fresh.rebuild(journal.rows[1:], journal.places[1:], len(workload.rows))
    ours, theirs = (bus.state[layout.DRIVER_WORDS :] for bus in (run.bus, fresh))
    assert ours.tobytes() == theirs.tobytes()
    ends = layout.ACCOUNT_END + layout.POSITION_WORDS * np.arange(len(workload.markets))
    parts = run.bus.state[ends + layout.POSITION_RETURNED]
    assert parts.sum() == run.bus.state[layout.RETURNED]


class Seller:
    """Sells one contract of NO in A and B each, once."""

    def on_book(self, sim, market):
        if sim.now == 4:
            sim.submit(A, SELL, c(40), 100)
            sim.submit(B, SELL, c(30), 100)


def result():
    """Return a run of the seller, with A, B and C settled to C."""
    scene = opened((C, 100), (A, 0), (B, 0))
    session = Session(Tape(scene.rows()), MARKETS, name="event")
    return Backtest(session, Seller(), cash=dollars(5), fees=NO_FEES, collateral_return=True).run()


def test_what_is_returned_is_owed():
    """Cash has the dollar, the value does not: each NO is worth its mid, .575 + .675 before the
    result. Views, values of markets, replay and rebuild agree."""
    ran = result()
    before, after = 50, 100
    value = dollars("3.70") + dollars("0.575") + dollars("0.675")
    assert ran.values(np.array([before, after])).column("value").tolist() == [value, value]
    values = ran.market_values(np.array([before, after, 102]))
    assert (values.sum(axis=1) + dollars(5)).tolist() == [value, value, dollars("5.70")]
    venue = ran.simulation.venue
    assert (venue.positions.cash, venue.positions.returned) == (dollars("5.70"), 0)
    assert ran.simulation.venue.reward.value == dollars("5.70")
    assert sum(ran.pnl_by_evidence().column("pnl").tolist()) == dollars("0.70")
    rebuilt = ran.rebuild().bus.state[layout.DRIVER_WORDS :]
    assert rebuilt.tobytes() == ran.simulation.bus.state[layout.DRIVER_WORDS :].tobytes()
    assert ran.replay().digest == ran.digest
    assert "1.0000" not in str(ran.explain(0))


def test_the_setting_is_kept_in_a_header():
    """What a run returned, its journal says."""
    header = result().config.header()
    assert Config.from_header(header).models.collateral_return
    header["models"]["collateral_return"] = False
    assert not Config.from_header(header).models.collateral_return


def test_each_fill_may_write_a_row_more():
    """The room kept for one event counts the returns."""
    sizes = MARKETS, layout.Capacities(8), 1
    assert layout.slack(*sizes, True) - layout.slack(*sizes) == 4 * 8 + 2 * 101


def test_an_event_that_has_paid_more_than_a_dollar_owes_nothing_back() -> None:
    """A and B settle at 80 and 60 cents, which is more than a dollar: nothing is left that YES of C
    could pay, so its NO is sure of one dollar, and of not a cent beyond."""
    journal = run(opened((A, 80), (B, 60)), NO_A, NO_B, NO_C)
    returned = journal[journal["kind"] == RETURNED]
    assert returned["cash"].sum() == dollars(1)
