"""Own limits and the venue's rate limit, through the simulation, by numbers checked by hand.

Run as a script, this file is the process with the JIT off: it prints what its tables give.
"""

from __future__ import annotations

from typing import Any

import pytest
from desk import desk, last, told
from processes import interpreted
from scenes import BOOK, BUY, IOC, SELL, Scene, c

from foldbook.engine import MarketStatus, Reason, Simulation, strategy, verbs
from foldbook.engine.backtest import Backtest
from foldbook.engine.compiled import JIT_DISABLED
from foldbook.engine.kernels import layout
from foldbook.engine.schema import JournalKind
from foldbook.engine.specs import KALSHI_2026_08, WRITE_TOKENS, Latency, Risk
from foldbook.engine.units import CASH_ONE, SECOND

OK = ""
LIMITS = [
    # limits; orders: "B price x qty" and so on; what each is answered
    ("order qty", {"max_order_qty": 100}, "B40x100 B40x101 S60x101 B50x101", "ok qty qty qty"),
    ("open orders", {"max_open_orders": 2}, "B40x1 B50x1 S60x1 B40x1 -1 B40x1",
     "ok ok ok open ok ok"),
    ("open orders in all markets", {"max_open_orders": 2}, "B40x1 b40x1 B40x1 b40x1",
     "ok ok open open"),
    ("position of orders", {"max_position": 100}, "B40x60 B41x40 B30x1 S60x100 S61x1",
     "ok ok position ok position"),
    ("position held", {"max_position": 100}, "B50x60 B40x41 B40x40 S60x160 S60x1",
     "ok position ok ok position"),
    ("position in each market", {"max_position": 100}, "B40x100 b40x100 b40x1",
     "ok ok position"),
    ("short", {"max_position": 100}, "S48x100 S60x1 B40x200 B40x1", "ok position ok position"),
    # 60 at 50 cost 300,000; 100 at 40 reserve 400,000; a sale that closes reserves nothing.
    ("notional", {"max_notional": 700_000}, "B50x60 B40x100 B01x1 S60x60 S60x1",
     "ok ok notional ok notional"),
    ("notional of one order", {"max_notional": 399_999}, "B40x100 B39x100 b40x3",
     "notional ok notional"),
    ("notional of a sale", {"max_notional": 400_000}, "S60x100 S60x1", "ok notional"),
    ("two limits", {"max_order_qty": 50, "max_position": 40}, "B40x51 B40x41 B40x40",
     "qty position ok"),
    ("none", {}, "B40x999 b40x999 B50x1", "ok ok ok"),
]  # fmt: skip
WORDS = {
    "qty": Reason.RISK_ORDER_QTY, "open": Reason.RISK_OPEN_ORDERS,
    "position": Reason.RISK_POSITION, "notional": Reason.RISK_NOTIONAL,
}  # fmt: skip


def two_markets(**options: Any) -> Simulation:
    """Return a simulation that stands in front of BOOK in two markets."""
    scene = Scene().book(1, BOOK).book(1, BOOK, market=1)
    for second in range(1, 200):
        scene.more(second * SECOND, BUY, 20, 1)
    sim = desk(scene, 2, **options)
    sim.advance(until=1)
    return sim


def answers(limits: dict[str, int], orders: str) -> list[str]:
    """Send orders, "B" in the first market and "b" in the second, "-1" cancels one; the answers."""
    sim = two_markets(risk=Risk(**limits))
    ids, said = [], []
    for order in orders.split():
        first = len(sim.journal())
        if order.startswith("-"):
            sim.cancel(ids[int(order[1:]) - 1])
        else:
            side = BUY if order[0] in "Bb" else SELL
            price, qty = order[1:].split("x")
            terms = (int(order[0] in "bs"), side, c(int(price)), int(qty))
            expected = sim.would_reject(*terms)
            ids.append(sim.submit(*terms))
        reason = Reason(sim.journal().rows[first + 1]["reason"])
        names = [name for name, each in WORDS.items() if each == reason]
        said.append(names[0] if names else "ok" if reason in (0, Reason.USER) else reason.name)
        if not order.startswith("-"):
            assert (expected or 0) == reason
    return said


@pytest.mark.parametrize(("name", "limits", "orders", "expected"), LIMITS)
def test_limits(name, limits, orders, expected) -> None:
    """Each limit takes what just reaches it, and refuses one unit more."""
    assert answers(limits, orders) == expected.split(), name


def test_the_limits_without_the_jit() -> None:
    """The same kernels as plain Python answer alike."""
    assert interpreted(__file__) == " ".join(expected for *_, expected in LIMITS).split()


AMENDS = [
    # limits, amend of a bid of 100 at 40 with a bid of 50 at 30 behind it -> answer
    ({"max_order_qty": 120}, {"qty": 120}, "AMENDED"),
    ({"max_order_qty": 120}, {"qty": 121}, "AMEND_REJECTED RISK_ORDER_QTY"),
    ({"max_open_orders": 2}, {"qty": 200}, "AMENDED"),
    ({"max_position": 160}, {"qty": 110}, "AMENDED"),
    ({"max_position": 160}, {"qty": 111}, "AMEND_REJECTED RISK_POSITION"),
    ({"max_notional": 570_000}, {"price": c(42)}, "AMENDED"),
    ({"max_notional": 569_999}, {"price": c(42)}, "AMEND_REJECTED RISK_NOTIONAL"),
    ({"max_notional": 550_000}, {"price": c(39)}, "AMENDED"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "change", "expected"), AMENDS)
def test_limits_of_amends(limits, change, expected) -> None:
    """An amend is checked as the order would be, and not beside what it was."""
    sim = two_markets(risk=Risk(**limits))
    id = sim.submit(0, BUY, c(40), 100)
    sim.submit(0, BUY, c(30), 50)
    sim.amend(id, **change)
    assert last(sim) == expected


@pytest.mark.parametrize(("limit", "expected"), [(40_000, "REJECTED RISK_LOSS"),
                                                 (40_001, "ACCEPTED")])  # fmt: skip
def test_the_loss_limit(limit, expected) -> None:
    """400 bought at 50 are worth 49 at the mid: four cents of loss. Cancels still pass."""
    sim = two_markets(risk=Risk(max_loss=limit))
    id = sim.submit(1, BUY, c(20), 1)
    sim.submit(0, BUY, c(50), 400)
    assert sim.reward.value == 1000 * CASH_ONE - 400 * 100
    sim.submit(1, BUY, c(40), 1)
    assert last(sim) == expected
    sim.amend(id, c(21))
    assert last(sim) == "AMENDED"
    sim.cancel(id)
    assert last(sim) == "CANCELED USER"


def test_the_loss_limit_lets_go_when_the_loss_is_gone() -> None:
    """It looks at the value now: the bid goes to 49, and the mid with it."""
    scene = Scene().book(1, BOOK).more(2, BUY, 49, 10).less(3, BUY, 49, 10)
    sim = desk(scene, risk=Risk(max_loss=30_000), fees=KALSHI_2026_08)
    sim.advance(until=1)
    sim.submit(0, SELL, c(48), 1)
    sim.submit(0, BUY, c(50), 100)
    said = []
    for ts in (1, 2, 3):
        sim.advance(until=ts)
        lost = 1000 * CASH_ONE - sim.reward.value
        said.append((lost >= 30_000, sim.would_reject(0, BUY, c(20), 1) == Reason.RISK_LOSS))
    assert said == [(each, each) for each, _ in said]


# The bucket of tokens.


def tokens(sim: Simulation) -> float:
    """What the bucket held after the last answer."""
    return sim.bus.memory[layout.BUCKET] / SECOND


def test_the_bucket_of_a_tier() -> None:
    """Basic: 100 a second and two seconds' worth: twenty orders at once, ten more a second."""
    sim = two_markets(risk=Risk(tokens_per_second=WRITE_TOKENS["basic"]))
    said = []
    for second in (1, 2, 10):
        sim.advance(until=second * SECOND)
        for _ in range(25):
            sim.submit(0, BUY, c(50), 1, tif=IOC)
            said.append(last(sim))
    sent = ["RATE" in word for word in said]
    assert [sent[part : part + 25].count(False) for part in (0, 25, 50)] == [20, 10, 20]
    assert sent[:20] == [False] * 20 and sent[25:35] == [False] * 10


def test_what_commands_cost() -> None:
    """Orders, amends and decreases 10, cancels 2; refusals the same, but for the rate's own."""
    sim = two_markets(risk=Risk(tokens_per_second=5, burst_seconds=20))
    assert tokens(sim) == 100
    costs = []

    def cost(act: Any) -> None:
        before = tokens(sim)
        act()
        costs.append((before - tokens(sim), last(sim)))

    cost(lambda: sim.submit(0, BUY, c(40), 100))
    id = sim.orders.open()[0].id
    cost(lambda: sim.submit(0, BUY, 4001, 100))
    cost(lambda: sim.amend(id, c(41)))
    cost(lambda: sim.amend(id, 4001))
    cost(lambda: sim.decrease(id, by=10))
    cost(lambda: sim.decrease(id, by=1000))
    cost(lambda: sim.submit(0, BUY, c(50), 10))
    cost(lambda: sim.decrease(id, to=0))
    cost(lambda: sim.cancel(id))
    cost(lambda: sim.submit(0, BUY, c(40), 100))
    assert costs == [
        (10, "ACCEPTED"), (10, "REJECTED INVALID_PRICE"), (10, "AMENDED"),
        (10, "AMEND_REJECTED INVALID_PRICE"), (10, "AMENDED"),
        (10, "AMEND_REJECTED INVALID_QTY"), (10, "FILL"), (10, "CANCELED AMENDED_TO_FILLED"),
        (2, "CANCEL_REJECTED ORDER_NOT_OPEN"), (10, "ACCEPTED"),
    ]  # fmt: skip
    assert tokens(sim) == 8
    id = sim.orders.open()[0].id
    cost(lambda: sim.submit(0, BUY, c(40), 100))
    cost(lambda: sim.amend(id, c(41)))
    cost(lambda: sim.decrease(id, by=1))
    cost(lambda: sim.cancel(id))
    assert costs[-4:] == [
        (0, "REJECTED RATE_LIMIT"), (0, "AMEND_REJECTED RATE_LIMIT"),
        (0, "AMEND_REJECTED RATE_LIMIT"), (2, "CANCELED USER"),
    ]  # fmt: skip


def test_the_bucket_is_refilled_to_the_nanosecond() -> None:
    """Empty at 1 s with 3 tokens a second: 10 are there after 3,333,333,334 ns and not before."""
    sim = two_markets(risk=Risk(tokens_per_second=3, burst_seconds=4))
    sim.advance(until=1 * SECOND)
    sim.submit(0, BUY, c(40), 100)
    sim.cancel(sim.orders.open()[0].id)
    assert tokens(sim) == 0
    sim.advance(until=1 * SECOND + 3_333_333_333)
    assert sim.would_reject(0, BUY, c(40), 1) == Reason.RATE_LIMIT
    sim.advance(until=1 * SECOND + 3_333_333_334)
    assert sim.would_reject(0, BUY, c(40), 1) is None
    sim.advance(until=150 * SECOND)
    sim.submit(0, BUY, c(40), 100)
    assert tokens(sim) == 12 - 10


def test_tokens_are_taken_on_arrival() -> None:
    """With latency the bucket is the venue's: two orders sent together, and the second too much."""
    sim = two_markets(risk=Risk(tokens_per_second=1, burst_seconds=10), latency=Latency.constant(9))
    sim.submit(0, BUY, c(40), 100)
    sim.submit(0, BUY, c(40), 100)
    assert tokens(sim) == 10
    sim.advance(until=11)
    assert told(sim) == [(10, "ACCEPTED"), (10, "REJECTED RATE_LIMIT")]


# The kill switch.


def test_the_kill_switch() -> None:
    """It cancels what is open in all markets and refuses orders and amends until it is off."""
    sim = two_markets()
    for market in (0, 1):
        sim.submit(market, BUY, c(40), 100, post_only=True)
    resting = sim.submit(0, SELL, c(60), 100)
    sim.kill()
    assert sim.orders.open() == []
    assert [word for _, word in told(sim)][-4:] == ["KILL_SET"] + ["CANCELED USER"] * 3
    assert sim.would_reject(0, BUY, c(40), 1) == Reason.KILLED
    sim.submit(0, BUY, c(40), 1)
    assert last(sim) == "REJECTED KILLED"
    sim.cancel(resting)
    assert last(sim) == "CANCEL_REJECTED ORDER_NOT_OPEN"
    child = sim.fork()
    sim.kill(False)
    sim.submit(0, BUY, c(40), 1)
    assert last(sim) == "ACCEPTED"
    assert child.would_reject(0, BUY, c(40), 1) == Reason.KILLED
    rows = sim.journal().rows
    switched = rows[rows["kind"] == JournalKind.KILL_SET]
    assert switched["qty"].tolist() == [1, 0] and set(switched["market"]) == {-1}


def test_the_kill_switch_in_a_market_that_is_paused_by_the_exchange() -> None:
    """What cannot be canceled stays, and is refused its amends."""
    scene = Scene().book(1, BOOK).status(2, MarketStatus.PAUSED, flags=64)
    scene.status(3, MarketStatus.OPEN)
    sim = desk(scene)
    sim.advance(until=1)
    id = sim.submit(0, BUY, c(40), 100)
    sim.advance(until=2)
    sim.kill()
    assert last(sim) == "CANCEL_REJECTED EXCHANGE_PAUSED"
    sim.advance(until=3)
    sim.amend(id, c(41))
    assert last(sim) == "AMEND_REJECTED KILLED"
    sim.decrease(id, by=1)
    assert last(sim) == "AMENDED"


# Compiled strategies.


class Bids:
    """Bids one more lot at each decision."""

    def __call__(self, sim: Simulation) -> None:
        sim.submit(0, BUY, c(40), 30)


@strategy()
def bids(sim, words):  # type: ignore[no-untyped-def]
    verbs.submit(sim, 0, 0, 4000, 30)


@pytest.mark.parametrize(
    "risk",
    [Risk(max_order_qty=29), Risk(max_open_orders=3), Risk(max_position=100),
     Risk(max_notional=500_000), Risk(tokens_per_second=4, burst_seconds=5)],
    ids=["qty", "open", "position", "notional", "rate"],
)  # fmt: skip
def test_compiled_strategies_are_limited_alike(risk) -> None:
    """The same limits inside the fused loop: one journal, with refusals in it."""
    session = two_markets().session
    slow = Backtest(session, Bids(), every="1s", risk=risk, order_capacity=300).run()
    fused = Backtest(session, bids, every="1s", risk=risk, order_capacity=300).run()
    assert slow.digest == fused.digest
    assert (slow.journal.rows["kind"] == JournalKind.REJECTED).sum() > 10


if __name__ == "__main__":
    assert JIT_DISABLED
    for _, limits, orders, _ in LIMITS:
        print(" ".join(answers(limits, orders)), flush=True)
