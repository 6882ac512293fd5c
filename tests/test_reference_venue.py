"""The reference's venue held to small cases: fees, queues, settlement, restoration, latency."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from reference.fees import fill_fee
from reference.invariants import Watch
from reference.latency import AMEND, CANCEL, ORDER, delay_of, delivery_times, draw
from reference.queue_models import moved
from reference.simulation import ReferenceSimulation
from reference.state import UNKNOWN_AHEAD, TapeRow
from scenes import BOOK, BUY, IOC, SELL, Scene, c, kinds, last, opened
from tapes import TapeBuilder
from workloads import drive, make

from foldbook.engine.fees import KALSHI_2026_08_OTHER, FeeSchedule, Rebate
from foldbook.engine.schema import (
    Evidence,
    JournalKind,
    MarketStatus,
    Reason,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.specs import (
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_08,
    Delay,
    Feed,
    Latency,
    Models,
    Queue,
)
from foldbook.engine.units import SECOND

# Fees (SPEC 5.2; ../shared/kalshi/messages/fee_vectors.json).

CENTS = FeeSchedule("CENTS", rounding=100, precision=10_000, rebate=Rebate.CENTS)
PUBLISHED = [
    # trade fee as the venue's page gives it, qty, cash of each of three fills -> net fees, carries
    (8_500, 100, -55_000, [15_000, 5_000, 15_000], [6_500, 3_000, 9_500]),
    (4_100, 30, -150_000, [10_000, 0, 10_000], [5_900, 1_800, 7_700]),
    (500, 3, -9_903, [10_097, 97, 97], [9_597, 9_194, 8_791]),
]


@pytest.mark.parametrize(("trade", "qty", "cash", "expected", "carries"), PUBLISHED)
def test_published_orders_of_three_fills(trade, qty, cash, expected, carries) -> None:
    """What an order was rounded up by comes back in whole cents, once it is more than one."""
    scaled = trade * 10**10 // qty
    carry, seen = 0, []
    for _ in range(3):
        fee, carry = fill_fee(CENTS, scaled, qty, cash, carry)
        assert (cash - fee) % 10_000 == 0
        seen.append((fee, carry))
    assert seen == list(zip(expected, carries, strict=True))


NET_FEES = [
    # schedule, price, qty, cash, carry -> fee, carry
    (KALSHI_2021, 5500, 100, -550_000, 0, 20_000, 0),
    (KALSHI_2021, 550, 100, -55_000, 0, 15_000, 0),
    (KALSHI_2026_03, 550, 100, -55_000, 0, 5_000, 1_300),
    (KALSHI_2026_03, 550, 100, -55_000, 8_700, 5_000, 10_000),
    (KALSHI_2026_03, 550, 100, -55_000, 8_701, 5_000, 10_001),
    (KALSHI_2026_08, 550, 100, -55_000, 0, 3_700, 61),
    (KALSHI_2026_08, 550, 100, -55_000, 50, 3_600, 11),
    (KALSHI_2026_08_OTHER, 550, 100, -55_000, 0, 5_000, 1_361),
    (KALSHI_2026_08_OTHER, 550, 100, -55_000, 9_000, 5_000, 10_361),
]


@pytest.mark.parametrize(("schedule", "price", "qty", "cash", "carry", "fee", "after"), NET_FEES)
def test_net_fees(schedule, price, qty, cash, carry, fee, after) -> None:
    """1 contract at 5.5 cents: 0.00363825 rounded up, the balance to its precision, the rebate."""
    assert fill_fee(schedule, schedule.scaled(price, False), qty, cash, carry) == (fee, after)


def test_makers_pay_their_own_rate() -> None:
    """100 at 48: 1.75 % of 0.2496 is 0.4368 cents; from the FEE row on half of that."""
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.TRADE, BUY, c(47), 100, flags=TapeFlag.JOINED)
    scene.less(2, BUY, 47, 100)
    scene.add(3, TapeKind.FEE, qty=0, ahead=8_750)
    scene.add(4, TapeKind.TRADE, BUY, c(47), 100, flags=TapeFlag.JOINED)
    scene.less(4, BUY, 47, 100)
    fees = attrs.evolve(KALSHI_2026_08, maker_ppm=17_500, precision=1)
    simulation = scene.run(fees=fees)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 200)
    simulation.advance_until(4)
    charged = [row["fee"] for row in simulation.journal if row["kind"] == JournalKind.FILL]
    assert charged == [4_368, 2_184] and simulation.state()["account"]["fees"] == 6_552


# Queue models.


def _double(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    return ahead - 2 * qty


MOVES = [
    # model, front, before, qty, the row's ahead -> how much of qty stood in front
    (Queue.optimistic, 300, 500, 100, -1, 100),
    (Queue.optimistic, 60, 500, 100, -1, 60),
    (Queue.proportional, 300, 500, 100, -1, 60),
    (Queue.proportional, 300, 300, 100, -1, 100),
    (Queue.proportional, 0, 300, 100, -1, 0),
    (Queue.power(2), 300, 500, 100, -1, 69),
    (Queue.power(3), 300, 500, 100, -1, 77),
    (Queue.power(3), 100, 110, 110, -1, 100),
    (Queue.log, 300, 500, 100, -1, 51),
    (Queue.log, 500, 500, 100, -1, 100),
    (Queue.rebuilt, 300, 500, 100, 0, 100),
    (Queue.rebuilt, 300, 500, 100, 250, 50),
    (Queue.rebuilt, 300, 500, 100, 300, 0),
    (Queue.rebuilt, 300, 500, 100, 999, 0),
    (Queue.rebuilt, 300, 500, 100, -1, 0),
    (Queue.of(_double), 300, 500, 100, -1, 200),
    (Queue.of(_double), 150, 500, 100, -1, 150),
    (Queue.of(lambda *_: 999), 150, 500, 100, -1, 0),
]


@pytest.mark.parametrize(("queue", "front", "before", "qty", "ahead", "expected"), MOVES)
def test_queue_models(queue, front, before, qty, ahead, expected) -> None:
    """Of 500 there are 300 in front: 3/5 of a decrease, 9/13, 27/35, log 301 : log 201."""
    row = TapeRow(0, 0, qty, ahead, 4800, 0, TapeKind.DECREASE, BUY, 0)
    assert moved(queue, front, before, row) == expected


@pytest.mark.parametrize(
    ("queue", "flags", "ahead", "guessed"),
    [
        (Queue.conservative, 0, 500, 0),
        (Queue.optimistic, 0, 200, 300),
        (Queue.proportional, 0, 350, 150),
        (Queue.rebuilt, 0, 400, 0),
        (Queue.rebuilt, TapeFlag.GUESSED, 400, 100),
    ],
)
def test_fills_state_what_was_guessed(queue, flags, ahead, guessed) -> None:
    """Half of a level of 1000 is in front; 300 go, then a trade passes what is left by 20.

    A trade's own decrease guesses nothing, and the order that moves begins anew.
    """
    scene = Scene().book(1, BOOK).more(2, BUY, 48, 500)
    scene.add(3, TapeKind.DECREASE, BUY, c(48), 300, ahead=400, flags=flags)
    scene.trade(4, BUY, 48, ahead + 20)
    simulation = scene.run(queue=queue)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(3)
    order = simulation.markets[0].open[1]
    assert (order.ahead, order.guessed) == (ahead, guessed)
    simulation.advance_until(4)
    row = last(simulation, JournalKind.FILL)
    assert (row["evidence"], row["qty"], row["guessed"]) == (Evidence.QUEUE, 20, guessed)
    assert (order.ahead, order.guessed) == (0, guessed)
    simulation.amend(0, 1, c(47))
    assert order.guessed == 0


def test_a_gap_forgets_what_was_guessed() -> None:
    """After a gap nothing is known, and nothing was guessed either."""
    scene = Scene().book(1, BOOK).less(2, BUY, 48, 100)
    scene.add(3, TapeKind.GAP)
    simulation = scene.run(queue=Queue.optimistic)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(2)
    order = simulation.markets[0].open[1]
    assert (order.ahead, order.guessed) == (400, 0)
    order.guessed = 5
    simulation.advance_until(3)
    assert (order.ahead, order.guessed) == (UNKNOWN_AHEAD, 0)


# What was taken comes back.


def test_restoration() -> None:
    """10 ns after the last taking a market shows its depth again, but where an own bid stands."""
    scene = Scene().book(1, BOOK).more(5, BUY, 40, 1).more(20, BUY, 40, 1)
    simulation = scene.run(restored_after=10)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(51), 400)
    simulation.advance_until(5)
    simulation.submit(0, BUY, c(51), 300)
    assert simulation.markets[0].restore_at == 15
    simulation.submit(0, BUY, c(50), 10)
    simulation.advance_until(15)
    assert simulation.markets[0].restore_at == 15
    simulation.advance_until(16)
    row = simulation.journal[-1]
    assert (row["kind"], row["ts"], row["market"]) == (JournalKind.RESTORED, 15, 0)
    market = simulation.state()["markets"][0]
    assert market["taken"] == {(1, 5000): 400} and market["visible_ask"] == 5100


@pytest.mark.parametrize("how", ["gap", "close"])
def test_restoration_is_called_off(how) -> None:
    """After a gap or the close there is nothing to give back."""
    scene = Scene().book(1, BOOK)
    if how == "gap":
        scene.add(2, TapeKind.GAP)
    else:
        scene.status(2, MarketStatus.CLOSED)
    simulation = scene.run(restored_after=10)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 10)
    simulation.advance_until(99)
    assert "RESTORED" not in kinds(simulation)


# Settlement.

RESULTS = [
    # results (payout, flags) of 333 YES at 50 -> (cash, fee) of each row, realised in the end
    ([(3700, 0)], [(1_232_100, 2_100)], -432_900),
    ([(3700, 0), (3700, 0)], [(1_232_100, 2_100)], -432_900),
    ([(10_000, 0), (0, 0)], [(3_330_000, 0), (-3_330_000, 0)], -1_665_000),
    ([(0, 0), (10_000, 0)], [(0, 0), (3_330_000, 0)], 1_665_000),
    ([(3700, 0), (5000, 0), (0, TapeFlag.VOID)],
     [(1_232_100, 2_100), (432_900, 2_900), (0, -5_000)], 0),
    ([(0, TapeFlag.VOID), (0, 0)], [(1_665_000, 0), (-1_665_000, 0)], -1_665_000),
]  # fmt: skip


@pytest.mark.parametrize(("results", "paid", "realised"), RESULTS)
def test_results_may_be_amended_or_void(results, paid, realised) -> None:
    """Each result pays its difference to the ones before, in whole cents; void pays the cost."""
    scene = Scene().book(1, BOOK).status(2, MarketStatus.CLOSED)
    for ts, (payout, flags) in enumerate(results, 3):
        scene.status(ts, MarketStatus.SETTLED, payout, flags=flags)
        scene.status(ts, MarketStatus.DISPUTED)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 333)
    simulation.advance_until(2)
    mid2 = simulation.markets[0].mid2
    before = simulation.cash
    simulation.advance_until(9)
    rows = [row for row in simulation.journal if row["kind"] == JournalKind.SETTLED]
    assert [(row["cash"], row["fee"]) for row in rows] == paid
    assert {row["qty"] for row in rows} == {333}
    market = simulation.markets[0]
    assert market.realised == realised and market.position == market.cost == 0
    assert simulation.cash - before == sum(cash - fee for cash, fee in paid)
    assert market.status == MarketStatus.SETTLED
    payouts = [2 * payout for payout, flags in results if not flags]
    assert market.mid2 == (payouts[-1] if payouts else mid2)
    assert market.settled_position == 333 and market.settled_cost == 1_665_000
    assert market.settled_cash == sum(cash for cash, _ in paid)


# Latency.


def test_draws() -> None:
    """x = 5; for 0: 6, 302007, ...: the numbers of section 10, written out."""
    modulus = 2**31 - 1
    x = 5
    for value in (7, ORDER):
        x = (x + value + 1) % modulus
        x = (x * x + 48271 * x + 12345) % modulus
        x = (x * x + 48271 * x + 12345) % modulus
    assert draw(5, 7, ORDER) == x == draw(5 + modulus, 7, ORDER)
    assert len({draw(5, number, salt) for number in range(100) for salt in range(1, 5)}) == 400


def test_kinds_of_delay() -> None:
    """Constant, drawn with the request's number, and that of the last time before now."""
    drawn = Delay.empirical([3, 5, 7])
    recorded = Delay.recorded([10, 20], [1, 2])
    models = Models(KALSHI_2021, latency=Latency(Delay.constant(4), drawn, recorded), seed=9)
    assert delay_of(models, ORDER, 1, 0) == 4
    assert delay_of(models, AMEND, 6, 0) == (3, 5, 7)[draw(9, 6, AMEND) % 3]
    times = (0, 9, 10, 19, 20, 99)
    assert [delay_of(models, CANCEL, 1, now) for now in times] == [1, 1, 1, 1, 2, 2]


def test_commands_arrive_after_the_rows_of_their_time() -> None:
    """Sent at 1 with a delay of 9: at 10 the offer is gone by a row of that time."""
    scene = Scene().book(1, BOOK).less(10, SELL, 50, 400).more(11, SELL, 50, 70)
    simulation = scene.run(latency=Latency.constant(9))
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 100)
    assert kinds(simulation) == ["SUBMITTED"] and simulation.markets[0].in_flight == 1
    assert simulation.state()["account"]["flights"] == 1 and simulation.reserved == 0
    simulation.advance_until(10)
    assert kinds(simulation) == ["SUBMITTED"]
    simulation.advance_until(11)
    assert kinds(simulation) == ["SUBMITTED", "ACCEPTED", "FILL"]
    accepted, fill = simulation.journal[-2:]
    assert (accepted["ts"], fill["ts"]) == (10, 11) and fill["evidence"] == Evidence.BEYOND
    assert simulation.places()[-2] == 7


def test_commands_overtake() -> None:
    """A fast cancel finds no order yet; at one time commands arrive as they were sent."""
    scene = Scene().book(1, BOOK).more(50, BUY, 40, 1)
    simulation = scene.run(latency=Latency.constant(10, amend=5, cancel=2))
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(40), 100, expires=20)
    simulation.cancel(0, 1)
    simulation.advance_until(6)
    simulation.amend(0, 1, qty=50)
    simulation.advance_until(9)
    simulation.cancel(0, 1)
    simulation.advance_until(50)
    answers = [(row["ts"], word) for row, word in zip(simulation.journal[1:], kinds(simulation),
               strict=True) if "REQUESTED" not in word]  # fmt: skip
    assert answers == [
        (1, "SUBMITTED"), (3, "CANCEL_REJECTED ORDER_NOT_OPEN"), (11, "ACCEPTED"),
        (11, "AMENDED"), (11, "CANCELED USER"),
    ]  # fmt: skip
    assert [row["left"] for row in simulation.journal[-3:]] == [100, 50, 0]


def test_what_is_due_at_one_time_has_an_order() -> None:
    """At 21: first the expiry, then the arrival, then the restoration."""
    scene = Scene().book(1, BOOK).more(50, BUY, 40, 1)
    simulation = scene.run(latency=Latency.constant(10), restored_after=10)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(50), 40, IOC)
    simulation.submit(0, BUY, c(30), 100, expires=21)
    simulation.advance_until(11)
    simulation.submit(0, BUY, c(31), 100)
    simulation.advance_until(50)
    assert kinds(simulation)[-3:] == ["EXPIRED", "ACCEPTED", "RESTORED"]
    assert [row["ts"] for row in simulation.journal[-3:]] == [21, 21, 21]


def test_an_order_may_be_too_late() -> None:
    """An expiry is looked at on arrival: at the very time of its expiry an order is refused."""
    for expires, answer in ((11, "REJECTED INVALID_ORDER"), (12, "ACCEPTED")):
        simulation = Scene().book(1, BOOK).run(latency=Latency.constant(10))
        simulation.advance_until(1)
        simulation.submit(0, BUY, c(40), 100, expires=expires)
        simulation.advance_until(12)
        assert kinds(simulation)[1] == answer


def test_a_batch_travels_together() -> None:
    """Requests of a batch are drawn for with the number of its first."""
    delays = list(range(1, 200))
    simulation = Scene().book(1, BOOK).run(latency=Latency(Delay.empirical(delays)), seed=3)
    simulation.advance_until(1)
    simulation.begin_batch()
    for _ in range(3):
        simulation.submit(0, BUY, c(40), 10)
    simulation.end_batch()
    simulation.submit(0, BUY, c(40), 10)
    simulation.advance_until(300)
    arrived = sorted(row["ts"] for row in simulation.journal if row["kind"] == JournalKind.ACCEPTED)
    batch = 1 + delays[draw(3, 1, ORDER) % 199]
    assert arrived == sorted([batch, batch, batch, 1 + delays[draw(3, 4, ORDER) % 199]])


def test_a_closed_market_refuses_what_arrives() -> None:
    """An order that was sent while the market was open comes too late for it."""
    simulation = Scene().book(1, BOOK).status(5, MarketStatus.CLOSED).run(
        latency=Latency.constant(10)
    )  # fmt: skip
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(40), 100)
    simulation.advance_until(12)
    assert Reason(simulation.journal[-1]["reason"]) == Reason.MARKET_INACTIVE
    assert simulation.journal[-1]["ts"] == 11


def test_known_times() -> None:
    """Answers are known later than they happen and never in another order; requests at once."""
    simulation = opened(latency=Latency(response=Delay.constant(5)))
    simulation.submit(0, BUY, c(40), 100)
    simulation.advance_until(4)
    simulation.cancel(0, 1)
    simulation.kill(True)
    assert kinds(simulation) == [
        "SUBMITTED", "ACCEPTED", "CANCEL_REQUESTED", "CANCELED USER", "KILL_SET",
    ]  # fmt: skip
    assert simulation.known_times() == [1, 1, 6, 6, 9, 9]


def test_delivery_times() -> None:
    """A burst comes whole with its last row; the offset is the smallest lag so far."""
    tape = TapeBuilder()
    rows = [(10, 0, 17), (10, 0, 15), (20, 0, 26), (20, 1, 24), (30, 1, 44), (31, 0, 36)]
    for ts, market, recv in rows:
        tape.add(ts, TapeKind.GAP, market=market, recv=recv)
    assert delivery_times(tape.rows(), Feed.RECORDED) == [10, 10, 21, 21, 40, 40]
    assert delivery_times(tape.rows(), Delay.constant(3)) == [13, 13, 23, 23, 33, 34]
    assert delivery_times(np.array([], tape.rows().dtype), Feed.RECORDED) == []


@pytest.mark.parametrize("seed", range(8))
def test_random_runs_are_known_in_order(seed) -> None:
    """Nothing is known before it happened, and nothing before what came earlier."""
    workload = make(seed, 500, 60)
    simulation: ReferenceSimulation = workload.reference(Watch(seed=seed))
    drive(simulation, workload)
    known = simulation.known_times()
    assert known == sorted(known)
    pairs = zip(known, simulation.journal, strict=True)
    assert all(time >= row["ts"] for time, row in pairs)
    for feed in (workload.models.latency.feed, Feed.RECORDED):
        delivered = delivery_times(workload.rows, feed)
        assert delivered == sorted(delivered)
        assert (np.array(delivered) >= workload.rows["ts"]).all()


def test_commands_may_outlast_the_tape() -> None:
    """A delay may be longer than the tape: what is in flight at its end stays there."""
    simulation = Scene().book(1, BOOK).more(2, BUY, 40, 1).run(latency=Latency.constant("10s"))
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(40), 100)
    simulation.advance_to_row(9)
    assert kinds(simulation) == ["SUBMITTED"] and simulation.now == 2
    simulation.advance_until(10 * SECOND + 2)
    assert kinds(simulation) == ["SUBMITTED", "ACCEPTED"]
