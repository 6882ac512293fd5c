"""Commands of the reference held to small cases: refusals, self-trades, groups, own limits."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from reference.groups import Group
from reference.simulation import ReferenceSimulation
from reference.state import FROM_CLOCK
from scenes import BOOK, BUY, FOK, GTC, IOC, POST_ONLY, SELL, Scene, c, fills, kinds, last, opened

from foldbook.engine.schema import (
    KEEP,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    MarketStatus,
    OrderFlag,
    Reason,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.specs import KALSHI_2021, KALSHI_2026_08, Risk
from foldbook.engine.units import CASH_ONE, SECOND

CANCEL_RESTING, CANCEL_ON_PAUSE = OrderFlag.CANCEL_RESTING, OrderFlag.CANCEL_ON_PAUSE


# Refusals.


def _limit(simulation: ReferenceSimulation, **limits: int) -> None:
    risk = attrs.evolve(simulation.models.risk, **limits)
    simulation.models = attrs.evolve(simulation.models, risk=risk)


def _empty_bucket(simulation: ReferenceSimulation) -> None:
    simulation.bucket.rate, simulation.bucket.full, simulation.bucket.level = 1, 10, 9


def _trigger_group(simulation: ReferenceSimulation) -> None:
    simulation.groups[1] = Group(1, 1, triggered=True)


Spoil = Any
REFUSALS: list[tuple[Reason, dict[str, Any], Spoil]] = [
    # the reason, what is wrong with the order, what is wrong with the world
    (Reason.MARKET_INACTIVE, {}, {"status": MarketStatus.CLOSED}),
    (Reason.EXCHANGE_PAUSED, {}, {"status": MarketStatus.PAUSED, "pause": TapeFlag.EXCHANGE}),
    (Reason.TRADING_PAUSED, {}, {"trusted": False}),
    (Reason.KILLED, {}, lambda simulation: setattr(simulation, "killed", True)),
    (Reason.RISK_LOSS, {}, lambda simulation: _limit(simulation, max_loss=1)),
    (Reason.RATE_LIMIT, {}, _empty_bucket),
    (Reason.MARKET_ORDER, {"price": KEEP}, {}),
    (Reason.INVALID_PRICE, {"price": 5250}, {}),
    (Reason.INVALID_QTY, {"qty": 0}, {}),
    (Reason.INVALID_ORDER, {"expires": 1}, {}),
    (Reason.DUPLICATE_CLIENT_ID, {"client_id": 5}, {}),
    (Reason.GROUP_NOT_FOUND, {"group": 9}, {}),
    (Reason.GROUP_LIMIT, {"group": 1}, _trigger_group),
    (Reason.RISK_ORDER_QTY, {}, lambda simulation: _limit(simulation, max_order_qty=799)),
    (Reason.RISK_OPEN_ORDERS, {}, lambda simulation: _limit(simulation, max_open_orders=1)),
    (Reason.RISK_POSITION, {}, lambda simulation: _limit(simulation, max_position=799)),
    (Reason.RISK_NOTIONAL, {}, lambda simulation: _limit(simulation, max_notional=1)),
    (Reason.POST_ONLY_CROSS, {"flags": POST_ONLY}, {}),
    (Reason.INSUFFICIENT_BALANCE, {}, lambda simulation: setattr(simulation, "cash", 2_000_000)),
    (Reason.FOK_INSUFFICIENT_VOLUME, {"tif": FOK}, {}),
]


@pytest.mark.parametrize("first", range(len(REFUSALS)), ids=[row[0].name for row in REFUSALS])
def test_refusals_come_in_their_order(first) -> None:
    """An order that breaks rule n and every later one is refused for rule n."""
    simulation = opened()
    simulation.observer = None
    simulation.submit(0, BUY, c(40), 10, client_id=5)
    simulation.starting_cash += 1
    order: dict[str, Any] = {"side": BUY, "price": c(52), "qty": 800}
    for _, terms, spoil in reversed(REFUSALS[first:]):
        order |= terms
        if callable(spoil):
            spoil(simulation)
        else:
            for name, value in spoil.items():
                setattr(simulation.markets[0], name, value)
    if first == len(REFUSALS) - 3:  # post-only and FOK are an invalid order of themselves
        order["tif"] = GTC
    elif first > 9:
        order["flags"] = 0
    simulation.submit(0, **order)
    assert Reason(simulation.journal[-1]["reason"]) == REFUSALS[first][0]


@pytest.mark.parametrize(("own", "expected"), [(49, "REJECTED POST_ONLY_CROSS"), (51, "ACCEPTED")])
def test_post_only_orders_do_not_meet_own_ones(own, expected) -> None:
    """A post-only bid at 49 is refused for an own offer there as for anybody's."""
    simulation = opened()
    simulation.submit(0, SELL, c(own), 10)
    simulation.submit(0, BUY, c(49), 10, flags=POST_ONLY)
    assert kinds(simulation)[-1] == expected


def test_client_ids_are_used_once() -> None:
    """An id is free until an order was accepted with it, and then taken in every market."""
    simulation = Scene().book(1, BOOK).book(1, BOOK, market=1).run(markets=2)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(40), 0, client_id=7)
    simulation.submit(0, BUY, c(40), 10, client_id=7)
    simulation.cancel(0, 2)
    simulation.submit(1, BUY, c(40), 10, client_id=7)
    simulation.submit(1, BUY, c(40), 10, client_id=0)
    simulation.submit(1, BUY, c(40), 10, client_id=0)
    answers = [word for word in kinds(simulation) if word[:8] in ("ACCEPTED", "REJECTED")]
    assert answers == [
        "REJECTED INVALID_QTY", "ACCEPTED", "REJECTED DUPLICATE_CLIENT_ID", "ACCEPTED", "ACCEPTED",
    ]  # fmt: skip


# Self-trades.

MEETINGS = [
    # own offer (cents), more behind it, then a bid (cents, qty, flags) -> fills, the own one, rest
    (49, 0, 50, 100, 0, [], "open", 0),
    (49, 0, 50, 100, CANCEL_RESTING, [(50, 100)], "canceled", 0),
    (50, 0, 50, 400, 0, [(50, 400)], "open", 0),
    (50, 0, 50, 500, 0, [(50, 400)], "open", 0),
    (50, 100, 50, 500, 0, [(50, 400)], "open", 0),
    (50, 100, 50, 500, CANCEL_RESTING, [(50, 400), (50, 100)], "canceled", 0),
    (50, 100, 50, 600, CANCEL_RESTING, [(50, 400), (50, 100)], "canceled", 100),
    (51, 0, 50, 500, 0, [(50, 400)], "open", 100),
    (52, 0, 53, 900, 0, [(50, 400), (51, 300)], "open", 0),
    (52, 0, 53, 900, CANCEL_RESTING, [(50, 400), (51, 300), (53, 200)], "canceled", 0),
]


@pytest.mark.parametrize(
    ("own", "behind", "limit", "qty", "flags", "expected", "becomes", "rests"), MEETINGS
)
def test_own_orders_do_not_trade(
    own, behind, limit, qty, flags, expected, becomes, rests
) -> None:  # fmt: skip
    """An order takes what stands before the own one; then one of the two is canceled."""
    scene = Scene().book(1, BOOK)
    if behind:
        scene.more(2, SELL, own, behind)
    simulation = scene.run()
    simulation.advance_until(1)
    simulation.submit(0, SELL, c(own), 50)
    simulation.advance_until(2)
    simulation.submit(0, BUY, c(limit), qty, flags=flags)
    assert fills(simulation) == [(2, *fill) for fill in expected]
    assert (1 in simulation.markets[0].open) == (becomes == "open")
    assert sum(order.left for order in simulation.markets[0].queue(BUY)) == rests
    accepted = last(simulation, JournalKind.ACCEPTED)
    missing = qty - sum(filled for _, filled in expected) - rests
    if missing or becomes == "canceled":
        row = last(simulation, JournalKind.CANCELED)
        maker = (Reason.MAKER_SELF_TRADE, 1, 50)
        taker = (Reason.TAKER_SELF_TRADE, 2, missing)
        assert (row["reason"], row["order"], row["qty"]) == (maker if not missing else taker)
        assert (row["cause_market"], row["cause_row"]) == (0, accepted["row"])


# What an account cannot pay.


def test_a_taker_who_cannot_pay_is_canceled() -> None:
    """Two fills of 40 and 60 at 50 cost 1 + 2 cents of fees where one of 100 would cost 2.

    The own offer in between closes a position, so that canceling it frees nothing.
    """
    scene = Scene().book(1, {SELL: {40: 50}}).book(2, {SELL: {50: 40}}).more(3, SELL, 50, 60)
    simulation = scene.run(cash=200_000 + 10_000 + 520_000, fees=KALSHI_2021)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(40), 50)
    simulation.advance_until(2)
    simulation.submit(0, SELL, c(50), 50)
    simulation.advance_until(3)
    assert simulation.cash == 520_000 and simulation.reserved == 0
    simulation.submit(0, BUY, c(50), 100, IOC, CANCEL_RESTING)
    assert fills(simulation)[1:] == [(3, 50, 40)]
    assert kinds(simulation)[-3:] == ["FILL", "CANCELED MAKER_SELF_TRADE", "CANCELED MARGIN"]
    row = simulation.journal[-1]
    assert (row["order"], row["qty"], row["cause_kind"]) == (3, 60, CauseKind.JOURNAL)
    assert simulation.cash == 520_000 - 40 * 5000 - 10_000


def test_a_maker_who_cannot_pay_is_passed_over() -> None:
    """The first bid spends what there is and has no fee; the second fills as if it were alone."""
    fees = attrs.evolve(KALSHI_2026_08, maker_ppm=17_500)
    scene = Scene().book(1, BOOK)
    scene.add(2, TapeKind.TRADE, BUY, c(47), 120, flags=TapeFlag.JOINED)
    scene.less(2, BUY, 47, 120)
    simulation = scene.run(cash=150 * 4800, fees=fees)
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 100)
    simulation.submit(0, BUY, c(48), 50)
    simulation.advance_until(2)
    assert kinds(simulation)[-2:] == ["CANCELED MARGIN", "FILL"]
    assert fills(simulation) == [(2, 48, 50)]
    canceled, filled = simulation.journal[-2:]
    assert (canceled["order"], canceled["qty"], canceled["reserved"]) == (1, 100, -480_000)
    assert (filled["claim"], filled["fee"]) == (120, 2_200)
    assert canceled["cause_row"] == filled["cause_row"] == 6


# Decreases and amends.

DECREASES = [
    # qty, to -> the answer, total and left of an order of 200 with 50 filled
    (50, False, "AMENDED", 150, 100),
    (150, False, "CANCELED AMENDED_TO_FILLED", 200, 0),
    (151, False, "AMEND_REJECTED INVALID_QTY", 200, 150),
    (0, False, "AMEND_REJECTED INVALID_QTY", 200, 150),
    (-1, False, "AMEND_REJECTED INVALID_QTY", 200, 150),
    (50, True, "AMENDED", 100, 50),
    (150, True, "AMENDED", 200, 150),
    (0, True, "CANCELED AMENDED_TO_FILLED", 200, 0),
    (151, True, "AMEND_REJECTED INVALID_QTY", 200, 150),
    (-1, True, "AMEND_REJECTED INVALID_QTY", 200, 150),
]


@pytest.mark.parametrize(("qty", "to", "answer", "total", "left"), DECREASES)
def test_decreases(qty, to, answer, total, left) -> None:
    """A decrease by or to a quantity keeps the order where it stands."""
    simulation = Scene().book(1, BOOK).trade(2, BUY, 48, 500).more(3, BUY, 48, 9).run()
    simulation.tape[-3] = simulation.tape[-3]._replace(qty=550)
    simulation.observer = None
    simulation.advance_until(1)
    simulation.submit(0, BUY, c(48), 200, flags=CANCEL_ON_PAUSE)
    simulation.submit(0, BUY, c(48), 100)
    simulation.advance_until(3)
    order = simulation.markets[0].issued[0]
    assert (order.left, order.place) == (150, 1)
    simulation.decrease(0, 1, qty, to)
    assert kinds(simulation)[-2:] == ["DECREASE_REQUESTED", answer]
    assert (order.qty, order.left, order.place) == (total, left, 1)
    request, row = simulation.journal[-2:]
    flags = CANCEL_ON_PAUSE | (OrderFlag.REDUCE_TO if to else 0)
    fields = ("price", "qty", "left", "flags")
    assert tuple(request[name] for name in fields) == (4800, qty, 150, flags)
    assert row["flags"] == CANCEL_ON_PAUSE and row["price"] == 4800 and row["left"] == left
    if answer == "AMENDED":
        assert (row["qty"], row["reserved"]) == (total, -4800 * (150 - left))
    elif left == 0:
        assert row["qty"] == 150
    else:
        assert row["qty"] == qty


def test_a_decrease_of_what_is_gone_says_little() -> None:
    """Only its number is left of an order that is not open, and what was asked."""
    simulation = opened()
    simulation.submit(0, BUY, c(40), 200, client_id=3, flags=CANCEL_ON_PAUSE)
    simulation.cancel(0, 1)
    simulation.decrease(0, 1, 10, to=True)
    request, row = simulation.journal[-2:]
    assert request["flags"] == OrderFlag.REDUCE_TO and row["flags"] == 0
    for each in (request, row):
        assert (each["order"], each["qty"], each["price"], each["client_id"]) == (1, 10, 0, 0)
    assert row["reason"] == Reason.ORDER_NOT_OPEN


@pytest.mark.parametrize(
    ("expires", "answer", "becomes"),
    [
        (KEEP, "AMENDED", 50),
        (NO_TIME, "AMENDED", NO_TIME),
        (2, "AMENDED", 2),
        (1, "AMEND_REJECTED INVALID_ORDER", 50),
        (0, "AMEND_REJECTED INVALID_ORDER", 50),
    ],
)
def test_an_expiry_is_amended_in_place(expires, answer, becomes) -> None:
    """Only the expiry changes: the order stays before the own one behind it."""
    simulation = opened()
    simulation.submit(0, BUY, c(48), 10, expires=50)
    simulation.submit(0, BUY, c(48), 10)
    simulation.amend(0, 1, expires=expires)
    assert kinds(simulation)[-1] == answer
    first = simulation.markets[0].queue(BUY)[0]
    assert (first.number, first.expires, first.ahead) == (1, becomes, 500)
    request, row = simulation.journal[-2:]
    assert (request["price"], request["qty"], request["expires"]) == (KEEP, KEEP, expires)
    assert row["expires"] == (becomes if answer == "AMENDED" else expires)


# Groups and the kill switch.


def test_a_group_that_matched_its_limit_is_canceled() -> None:
    """100 + 50 within fifteen seconds reach 150; the group's orders go, in every market."""
    scene = Scene().book(0, BOOK).book(0, BOOK, market=1).more(15 * SECOND - 1, BUY, 40, 1)
    scene.more(15 * SECOND, BUY, 40, 1)
    simulation = scene.run(markets=2)
    simulation.advance_until(0)
    simulation.set_group(4, 150, cause=FROM_CLOCK)
    for market, group in ((1, 4), (0, 4), (0, 0)):
        simulation.submit(market, BUY, c(40), 10, group=group)
    simulation.submit(0, BUY, c(50), 100, group=4)
    simulation.advance_until(15 * SECOND - 1)
    simulation.submit(0, BUY, c(50), 60, group=4)
    assert kinds(simulation)[-4:] == [
        "FILL", "GROUP_TRIGGERED", "CANCELED GROUP_TRIGGERED", "CANCELED GROUP_TRIGGERED",
    ]  # fmt: skip
    fill, triggered, *canceled = simulation.journal[-4:]
    assert (triggered["market"], triggered["group"], triggered["qty"]) == (NO_MARKET, 4, 160)
    assert (triggered["cause_market"], triggered["cause_row"]) == (0, fill["row"])
    assert [(row["market"], row["order"]) for row in canceled] == [(0, 1), (1, 1)]
    for row in canceled:
        assert (row["cause_market"], row["cause_row"]) == (NO_MARKET, triggered["row"])
    simulation.submit(0, BUY, c(40), 10, group=4)
    assert kinds(simulation)[-1] == "REJECTED GROUP_LIMIT"
    simulation.set_group(4, 150)
    simulation.submit(0, BUY, c(50), 60, group=4)
    assert kinds(simulation)[-2:] == ["ACCEPTED", "FILL"]


def test_a_group_forgets_after_fifteen_seconds() -> None:
    """What was matched 15 s ago is out of the window, at 14.999999999 s it was in."""
    group = Group(1, 1)
    group.add(100, 7, FROM_CLOCK)
    group.add(100, 5, FROM_CLOCK)
    group.add(200, 1, FROM_CLOCK)
    assert [group.matched(15 * SECOND + ts) for ts in (99, 100, 199, 200)] == [13, 1, 1, 0]
    assert group.entries == [(100, 12), (200, 1)]


def test_a_group_keeps_thirty_two_entries() -> None:
    """The thirty-third makes one of the two oldest, at the later time."""
    group = Group(1, 1)
    for ts in range(33):
        group.add(ts, 1, FROM_CLOCK)
    assert len(group.entries) == 32 and group.entries[:2] == [(1, 2), (2, 1)]
    assert group.matched(15 * SECOND) == 33 and group.matched(15 * SECOND + 1) == 31


def test_the_kill_switch_refuses_orders_and_amends_only() -> None:
    """While it is on, orders can be canceled and decreased; it cancels nothing itself."""
    simulation = opened()
    simulation.submit(0, BUY, c(40), 100)
    simulation.kill(True, cause=FROM_CLOCK)
    simulation.submit(0, BUY, c(40), 100)
    simulation.amend(0, 1, qty=50)
    simulation.decrease(0, 1, 50)
    simulation.cancel(0, 1)
    simulation.kill(False)
    simulation.submit(0, BUY, c(40), 100)
    requests = ("SUBMITTED", "AMEND_REQUESTED", "DECREASE_REQUESTED", "CANCEL_REQUESTED")
    assert [word for word in kinds(simulation) if word not in requests] == [
        "ACCEPTED", "KILL_SET", "REJECTED KILLED", "AMEND_REJECTED KILLED", "AMENDED",
        "CANCELED USER", "KILL_SET", "ACCEPTED",
    ]  # fmt: skip
    rows = [row for row in simulation.journal if row["kind"] == JournalKind.KILL_SET]
    assert [(row["market"], row["qty"], row["cause_kind"]) for row in rows] == [
        (NO_MARKET, 1, CauseKind.TIMER), (NO_MARKET, 0, CauseKind.START),
    ]  # fmt: skip


# Own limits.

LIMITS = [
    # limits, then orders (side, cents, qty) -> answers; prices that rest; 0 cents: the own position
    ({"max_order_qty": 100}, [(BUY, 40, 100), (BUY, 40, 101)], ["", "RISK_ORDER_QTY"]),
    ({"max_open_orders": 2}, [(BUY, 40, 1)] * 3, ["", "", "RISK_OPEN_ORDERS"]),
    ({"max_position": 100}, [(BUY, 40, 60), (SELL, 60, 100), (BUY, 41, 41)],
     ["", "", "RISK_POSITION"]),
    ({"max_position": 100}, [(BUY, 50, 60), (SELL, 60, 160), (SELL, 60, 1)],
     ["", "", "RISK_POSITION"]),
    ({"max_notional": 700_000}, [(BUY, 50, 60), (BUY, 40, 100), (BUY, 1, 1), (SELL, 60, 60)],
     ["", "", "RISK_NOTIONAL", ""]),
    ({"max_notional": 300_000}, [(BUY, 50, 60), (SELL, 60, 60), (SELL, 60, 1)],
     ["", "", "RISK_NOTIONAL"]),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "orders", "expected"), LIMITS)
def test_own_limits(limits, orders, expected) -> None:
    """Each limit takes what just reaches it, and refuses one unit more."""
    simulation = opened(risk=Risk(**limits))
    answers = []
    for side, cents, qty in orders:
        simulation.submit(0, side, c(cents), qty)
        rejected = simulation.journal[-1]["kind"] == JournalKind.REJECTED
        answers.append(Reason(simulation.journal[-1]["reason"]).name if rejected else "")
    assert answers == expected


def test_a_loss_limit_stops_new_orders() -> None:
    """400 bought at 50 are worth 49 at the mid: 4 cents are lost."""
    for limit, answer in ((40_000, "REJECTED RISK_LOSS"), (40_001, "ACCEPTED")):
        simulation = opened(risk=Risk(max_loss=limit))
        simulation.submit(0, BUY, c(50), 400)
        simulation.submit(0, BUY, c(40), 1)
        assert kinds(simulation)[-1] == answer


def test_the_rate_limit_is_a_bucket_of_tokens() -> None:
    """20 tokens at first, 2 come in a second; an order costs 10, a cancel 2; refusals cost alike.

    What is refused for the rate itself costs nothing, and a market's refusal comes first.
    """
    scene = Scene().book(0, BOOK)
    for second in (1, 4, 5, 90):
        scene.more(second * SECOND, BUY, 40, 1)
    simulation = scene.run(risk=Risk(tokens_per_second=2, burst_seconds=10))
    tokens = []

    def note() -> None:
        tokens.append((simulation.bucket.level, kinds(simulation)[-1].split("_")[-1]))

    simulation.advance_until(0)
    simulation.submit(0, BUY, c(40), 10)
    note()
    simulation.submit(0, BUY, c(40), 0)
    note()
    simulation.cancel(0, 1)
    note()
    simulation.advance_until(1 * SECOND)
    simulation.cancel(0, 2)
    note()
    simulation.advance_until(4 * SECOND)
    simulation.decrease(0, 1, 10)
    note()
    simulation.cancel(0, 1)
    note()
    simulation.advance_until(90 * SECOND)
    simulation.submit(0, BUY, c(40), 10)
    note()
    unit = 10**9
    assert tokens == [
        (10 * unit, "ACCEPTED"), (0, "QTY"), (0, "LIMIT"), (0, "OPEN"), (6 * unit, "LIMIT"),
        (4 * unit, "CANCELED USER"), (10 * unit, "ACCEPTED"),
    ]  # fmt: skip


# Pauses.


def test_pauses_cancel_what_asked_for_it() -> None:
    """CANCEL_ON_PAUSE orders go with the pause; all go when a deactivated market opens again."""
    scene = Scene().book(1, BOOK).status(2, MarketStatus.PAUSED).status(3, MarketStatus.OPEN)
    scene.status(4, MarketStatus.PAUSED, flags=TapeFlag.INACTIVE)
    scene.status(5, MarketStatus.PAUSED, flags=TapeFlag.EXCHANGE)
    scene.status(6, MarketStatus.OPEN)
    simulation = scene.run(cash=CASH_ONE)
    simulation.advance_until(1)
    for flags in (0, CANCEL_ON_PAUSE, 0):
        simulation.submit(0, BUY, c(40), 10, flags=flags)
    simulation.advance_until(2)
    assert kinds(simulation)[-1] == "CANCELED PAUSED" and sorted(simulation.markets[0].open) == [
        1,
        3,
    ]
    simulation.cancel(0, 1)
    assert kinds(simulation)[-1] == "CANCELED USER"
    simulation.advance_until(4)
    assert kinds(simulation)[-1] == "CANCELED USER"
    simulation.cancel(0, 1)
    assert kinds(simulation)[-1] == "CANCEL_REJECTED ORDER_NOT_OPEN"
    simulation.advance_until(5)
    answers = []
    for send in (
        simulation.cancel,
        simulation.amend,
        lambda *order: simulation.decrease(*order, 1),
    ):
        send(0, 3)
        answers.append(kinds(simulation)[-1])
    simulation.submit(0, BUY, c(40), 10)
    answers.append(kinds(simulation)[-1])
    assert {answer.split()[-1] for answer in answers} == {"EXCHANGE_PAUSED"}
    simulation.advance_until(6)
    row = simulation.journal[-1]
    assert (row["reason"], row["order"], row["cause_row"]) == (Reason.REACTIVATED, 3, 10)
    assert simulation.markets[0].pause == 0
