"""Accounts that trade with each other: the reference, and what must hold whoever is who."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from agents import ORDERS_MAX
from compiled_run import CompiledRun
from desk import session_of
from scenes import BOOK, BUY, IOC, SELL, Scene, c
from test_kernels_agree import assert_agree
from workloads import Workload, drive, make

from foldbook.adapters import synthetic
from foldbook.engine import Accounts, Latency, Risk, Simulation, contracts, dollars
from foldbook.engine.errors import StrategyError
from foldbook.engine.kernels import layout
from foldbook.engine.lifecycle import check_journal
from foldbook.engine.result import send_again
from foldbook.engine.schema import (
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Outcome,
    Reason,
    SelfTrade,
    TimeInForce,
)
from foldbook.engine.simulation import next_change
from foldbook.engine.specs import NO_FEES

TOGETHER = frozenset(
    {"takes depth, an order and depth again", "one trade fills two accounts",
     "a resting order cannot pay", "asks for an order of another", "settles two accounts",
     "gives way behind another's order", "goes past its own order to another's",
     "triggers the group of another", "an amend trades", "two lots of one order"}
)  # fmt: skip
"""What workloads of several accounts show that those of one do not."""


# The reference.


@pytest.mark.slow
def test_kernels_and_reference_agree_on_every_byte(seeds) -> None:
    """Journals, places and states of all accounts are equal; nothing is filled twice, and what they
    own together changes by nothing but what they do with others."""
    found: set[str] = set()
    chosen = seeds[::4]
    for seed in chosen:
        rows = assert_agree(make(seed, 2000, 300, 2 + seed // 4 % 2))
        check_journal(rows)
        found |= occurrences(rows)
    assert len(chosen) < 50 or TOGETHER - found == set()


@pytest.mark.bounds
@pytest.mark.parametrize("seed", range(1000, 1004))
def test_kernels_stay_within_their_arrays(seed) -> None:
    """With just enough order slots for three accounts, no index leaves its array."""
    assert_agree(make(seed, 1000, 200, 3), order_capacity=ORDERS_MAX)


def occurrences(rows: np.ndarray) -> set[str]:
    """Name what a journal shows of accounts that meet."""
    names = rows.dtype.names or ()
    journal = [dict(zip(names, values, strict=True)) for values in rows.tolist()]
    at = {(row["market"], row["row"]): row for row in journal}
    owner: dict[tuple[int, int], int] = {}
    lots: Counter[tuple[int, int]] = Counter()
    by_cause: dict[tuple[int, ...], list[dict[str, int]]] = {}
    found = set()
    for row in journal:
        kind, key = row["kind"], (row["market"], row["order"])
        cause = (row["cause_kind"], row["cause_market"], row["cause_row"])
        earlier = at[cause[1:]] if cause[0] == CauseKind.JOURNAL else None
        by_cause.setdefault(cause, []).append(row)
        before = by_cause[cause][:-1]
        if kind == JournalKind.SUBMITTED:
            owner[key] = row["account"]
        elif row["order"] and row["account"] != owner[key]:
            found.add("asks for an order of another")
        elif kind == JournalKind.FILL:
            same = [each for each in (*before, row) if each["price"] == row["price"]]
            evidence = [each["evidence"] for each in same]
            if evidence[-3:] == [Evidence.TAKER, Evidence.ACCOUNT, Evidence.TAKER]:
                found.add("takes depth, an order and depth again")
            if row["evidence"] == Evidence.QUEUE and {each["account"] for each in before} - {
                row["account"]
            }:
                found.add("one trade fills two accounts")
            if row["evidence"] == Evidence.ACCOUNT and row["liquidity"] == Liquidity.TAKER:
                assert earlier is not None
                if earlier["kind"] == JournalKind.AMENDED:
                    found.add("an amend trades")
                if any(each["reason"] == Reason.MAKER_SELF_TRADE for each in before):
                    found.add("goes past its own order to another's")
            elif row["evidence"] == Evidence.ACCOUNT:
                lots[key] += 1
                if lots[key] == 2:
                    found.add("two lots of one order")
        elif kind == JournalKind.CANCELED and earlier is not None:
            if row["reason"] == Reason.MARGIN and earlier["account"] != row["account"]:
                found.add("a resting order cannot pay")
            if row["reason"] == Reason.TAKER_SELF_TRADE and any(
                each["evidence"] == Evidence.ACCOUNT for each in before
            ):
                found.add("gives way behind another's order")
        elif kind == JournalKind.GROUP_TRIGGERED:
            assert earlier is not None
            if earlier["cause_kind"] == CauseKind.JOURNAL:
                taken = at[earlier["cause_market"], earlier["cause_row"]]
                if taken["account"] != row["account"]:
                    found.add("triggers the group of another")
        elif kind == JournalKind.SETTLED and before and before[-1]["account"] != row["account"]:
            found.add("settles two accounts")
    return found


# One run, got again.


def fresh(run: CompiledRun, workload: Workload) -> CompiledRun:
    """Return a run of a workload that has not begun."""
    return CompiledRun(attrs.evolve(workload, commands=()))


@pytest.mark.parametrize("seed", [2, 5, 8, 9, 14])
def test_a_run_is_rebuilt_replayed_and_forked(seed) -> None:
    """From its journal alone, at any moment; by its requests sent again; from a copy in the
    middle: state and journal are the same to the byte."""
    workload = make(seed, 1200, 200, 3)
    accounts = 1 + len(workload.others)
    run = CompiledRun(workload)
    halfway = None

    def look(number: int) -> None:
        nonlocal halfway
        if number == len(workload.commands) // 2:
            halfway = run.bus.fork()
        if number % 7 == 0:
            journal, bus = run.bus.journal(), fresh(run, workload).bus
            rows, places = journal.rows[accounts:], journal.places[accounts:]
            bus.rebuild(rows, places, run.bus.memory[layout.CURSOR])
            bus.use(0)
            run.bus.use(0)
            differs = np.flatnonzero(bus.state != run.bus.state)
            differs = differs[(differs >= layout.DRIVER_WORDS) & (differs != layout.NOW)]
            assert not len(differs), f"seed {seed}, command {number}: words {differs}"

    drive(run, workload, look)
    journal = run.bus.journal()
    again = fresh(run, workload)
    send_again(SimpleNamespace(bus=again.bus), journal)  # type: ignore[arg-type]
    again.bus.advance(run.bus.memory[layout.NOW], len(workload.rows))
    assert again.bus.journal().digest == journal.digest
    assert again.bus.state_bytes() == run.bus.state_bytes()
    twin = fresh(run, workload)
    assert halfway is not None
    twin.bus = halfway
    commands = workload.commands[len(workload.commands) // 2 + 1 :]
    drive(twin, attrs.evolve(workload, commands=commands))
    assert twin.bus.journal().digest == journal.digest
    assert twin.bus.state_bytes() == run.bus.state_bytes()


@pytest.mark.parametrize("seed", [1, 3, 6, 12])
def test_the_words_of_each_account_are_its_own(seed) -> None:
    """Counters and totals of every account are what its orders and markets add up to, and what is
    parked of the one in use is zero."""
    workload = make(seed, 1000, 200, 3)
    run = CompiledRun(workload)
    count = len(workload.markets)

    def check(number: int) -> None:
        for account in range(3):
            run.use(account)
            word = run.bus.state.tolist()
            owned = 0
            for market, seen in enumerate(run.state(account)["markets"]):
                held = sum(map(len, seen["orders"].values()))
                desk = word[layout.desk_offset(count, market) :]
                sent = _flying(word, market, account)
                assert desk[layout.HELD] == held + sent, f"seed {seed}, command {number}"
                assert desk[layout.REQUESTS] >= desk[layout.ANSWERS]
                owned += held
            assert word[layout.OPEN_ORDERS] == owned
            desks = [layout.desk_offset(count, market) for market in range(count)]
            assert word[layout.POSITIONS_VALUE] == sum(word[desk + layout.VALUE] for desk in desks)
            size = layout.table_offset(count) - layout.HEADER_END
            parked = word[layout.PARKED] + size * account
            assert not any(word[parked : parked + size])

    drive(run, workload, check)


def _flying(word: list[int], market: int, account: int) -> int:
    """Return how many orders of an account are on their way to a market."""
    first, size = word[layout.FLIGHTS], layout.FLIGHT_WORDS
    ends = first + size * word[layout.FLIGHT_COUNT]
    flights = [word[at : at + size] for at in range(first, ends, size)]
    wanted = [JournalKind.SUBMITTED, market, account]
    return sum([each[layout.REQUEST], each[layout.OF_MARKET], each[layout.OF_ACCOUNT]] == wanted
               for each in flights)  # fmt: skip


# Who is who.


def test_one_account_is_a_simulation() -> None:
    """A single trading account writes the journal, and is the state, of a plain simulation."""
    session = synthetic.session(seed=3, events=4_000, minutes=2)
    alone = Simulation(session, cash=dollars(80), restored_after="1s")
    together = Accounts(session, [{"cash": dollars(80)}], trading=True, restored_after="1s")
    step = (session.end - session.start) // 40
    for number in range(1, 41):
        alone.advance(session.start + number * step)
        together.advance(session.start + number * step)
        for sim in (alone, together[0]):
            take_and_rest(sim)
    assert together.journal().digest == together[0].journal().digest == alone.journal().digest
    assert together.bus.state_bytes() == alone.bus.state_bytes()
    assert len(alone.journal()) > 100


def take_and_rest(sim: Simulation) -> None:
    """Take the best ask and rest a bid."""
    book = sim.book(0)
    if book.best_bid and book.best_ask < 10_000:
        sim.submit(0, BUY, book.best_ask, contracts(3), tif=TimeInForce.IOC)
        sim.submit(0, BUY, book.best_bid, contracts(2))
        for order in sim.orders.open(0)[3:]:
            sim.cancel(order.id)


@pytest.mark.parametrize("seed", range(6))
def test_numbers_of_accounts_are_names(seed) -> None:
    """If accounts change their numbers, each has the rows that it had, all but what says where in
    the journal they stand."""
    workload = make(seed, 1200, 200, 3)
    models = attrs.evolve(workload.models, risk=Risk(), latency=Latency())
    workload = attrs.evolve(workload, models=models)
    cash = [workload.cash, *(amount for amount, _ in workload.others)]
    swapped = (2, 0, 1)
    money = [cash[swapped.index(number)] for number in range(3)]
    commands = tuple(
        each._replace(account=swapped[each.account]) for each in workload.commands
    )
    runs = []
    for number, (amounts, sent) in enumerate(((cash, workload.commands), (money, commands))):
        others = tuple((amount, Risk()) for amount in amounts[1:])
        each = attrs.evolve(workload, cash=amounts[0], others=others, commands=sent)
        run = CompiledRun(each)
        drive(run, each)
        rows = run.bus.journal().rows
        whose = [swapped[account] if number else account for account in range(3)]
        runs.append([told(rows[rows["account"] == account]) for account in whose])
    assert runs[0] == runs[1], f"seed {seed}"


def told(rows: np.ndarray) -> list[tuple[Any, ...]]:
    """Return rows without what says where they, or their causes, stand, and whose they are."""
    plain = rows[rows["kind"] != JournalKind.RESTORED].copy()
    for name in ("row", "cause_row", "account"):
        plain[name] = 0
    return plain.tolist()  # type: ignore[no-any-return]


# What each sees.


def pair(scene: Scene, **shared: Any) -> tuple[Accounts, Simulation, Simulation]:
    """Return two accounts with a hundred dollars each over a scene, before its first row."""
    each = [{"cash": dollars(100)}] * 2
    accounts = Accounts(session_of(scene), each, trading=True, fees=NO_FEES, **shared)
    return accounts, accounts[0], accounts[1]


def test_each_sees_the_orders_of_the_other() -> None:
    """The book of an account is what is displayed and what the others rest; its own is not in it.

    Everything else that it sees is its own.
    """
    accounts, one, other = pair(Scene().book(1, BOOK).more(5, SELL, 55, 100))
    accounts.advance(1)
    bid = one.submit(0, BUY, c(49), 300)
    one.submit(0, BUY, c(48), 200)
    other.submit(0, SELL, c(52), 50)
    assert one.book(0).bids() == [(c(48), 500), (c(47), 800)]
    assert other.book(0).bids() == [(c(49), 300), (c(48), 700), (c(47), 800)]
    assert one.book(0).asks(3) == [(c(50), 400), (c(51), 300), (c(52), 50)]
    assert (other.book(0).best_bid, other.book(0).best_bid_qty) == (c(49), 300)
    assert other.book(0, Outcome.NO).asks(1) == [(c(51), 300)]
    assert other.book(0).qty(BUY, c(48)) == 700 and one.book(0).qty(BUY, c(48)) == 500
    assert one.book(0).mark2 == other.book(0).mark2 == c(98)
    assert [order.price for order in one.orders.open()] == [c(49), c(48)]
    assert [order.price for order in other.orders.open()] == [c(52)]
    assert other.orders.get(bid) is None and other.orders.count(0) == 1
    assert (one.positions.reserved, other.positions.reserved) == (500 * 4900 - 20_000, 50 * 4800)
    other.submit(0, SELL, c(49), 100)
    assert one.positions.qty(0) == 100 and other.positions.qty(0) == -100
    assert one.reward.value == dollars(100) and other.reward.value == dollars(100)
    assert (accounts.now, one.now, other.now) == (1, 1, 1)


def test_orders_of_others_count_for_refusals() -> None:
    """Post-only meets an order of another; FOK counts it; another's order is none of ours."""
    accounts, one, other = pair(Scene().book(1, BOOK))
    accounts.advance(1)
    resting = one.submit(0, SELL, c(49), 100)
    assert other.would_reject(0, BUY, c(49), 10, post_only=True) == Reason.POST_ONLY_CROSS
    assert one.would_reject(0, BUY, c(49), 10, post_only=True) == Reason.POST_ONLY_CROSS
    fok = {"tif": TimeInForce.FOK}
    assert other.would_reject(0, BUY, c(50), 500, **fok) is None
    assert other.would_reject(0, BUY, c(50), 501, **fok) == Reason.FOK_INSUFFICIENT_VOLUME
    assert one.would_reject(0, BUY, c(50), 401, **fok) == Reason.FOK_INSUFFICIENT_VOLUME
    other.cancel(resting)
    last = accounts.journal().rows[-1]
    assert (last["account"], last["kind"], last["reason"], last["left"], last["price"]) == (
        1, JournalKind.CANCEL_REJECTED, Reason.ORDER_NOT_OPEN, 0, 0,
    )  # fmt: skip
    assert len(one.orders) == 1
    moved = other.submit(0, BUY, c(47), 10)
    other.amend(moved, price=c(49))
    assert other.positions.qty(0) == 10
    one.amend(resting, price=c(48))
    assert one.positions.qty(0) == -10 - 90


def test_would_reject_is_what_submitting_says() -> None:
    """At random moments, for orders of all sorts around what others rest."""
    session = synthetic.session(seed=11, events=3_000, minutes=2)
    rng = random.Random("trading would reject")
    settings = [{"cash": dollars(cash)} for cash in (20, 2_000, 20_000)]
    accounts = Accounts(session, settings, trading=True)
    seen: Counter[Reason | None] = Counter()
    step = (session.end - session.start) // 300
    for number in range(1, 301):
        accounts.advance(session.start + number * step)
        account = rng.randrange(3)
        book = accounts[account].book(0)
        side = rng.choice((BUY, SELL))
        price = (book.best_bid, book.best_ask)[rng.randrange(2)] + rng.choice((-100, 0, 0, 100))
        tif = rng.choice(tuple(TimeInForce))
        flags = {"post_only": tif == TimeInForce.GTC and rng.random() < 0.3,
                 "self_trade": rng.choice(tuple(SelfTrade))}  # fmt: skip
        order = (0, side, price, contracts(rng.choice((1, 50, 800))))
        reason = accounts[account].would_reject(*order, tif=tif, **flags)
        twin = accounts.fork()
        twin[account].submit(*order, tif=tif, **flags)
        mine = twin[account].journal().rows
        mine = mine[np.isin(mine["kind"], (JournalKind.ACCEPTED, JournalKind.REJECTED))]
        assert (Reason(mine[-1]["reason"]) or None) == reason, f"step {number}: {order}"
        seen[reason] += 1
        if rng.random() < 0.7:
            accounts[account].submit(*order, tif=tif, **flags)
    wanted = {Reason.POST_ONLY_CROSS, Reason.INSUFFICIENT_BALANCE, Reason.FOK_INSUFFICIENT_VOLUME}
    assert wanted <= set(seen) and seen[None] > 50, seen
    traded = accounts.journal().rows["evidence"] == Evidence.ACCOUNT
    assert traded.sum() > 10


def test_a_balance_covers_the_fees_of_the_whole_walk() -> None:
    """What an order of another costs in fees counts: 10 at $0.49 are $4.90, and the fee of 7 % of
    10 x 0.49 x 0.51 = 0.17493 is charged as $0.18."""
    session = session_of(Scene().book(1, BOOK))
    for cash, reason in ((5_080_000, None), (5_079_999, Reason.INSUFFICIENT_BALANCE)):
        accounts = Accounts(session, [{}, {"cash": cash}], trading=True)
        accounts.advance(1)
        accounts[0].submit(0, SELL, c(49), contracts(10))
        assert accounts[1].would_reject(0, BUY, c(49), contracts(10)) == reason


class Log:
    """A strategy, or a projection, that writes down what it is told; joins or takes at its time."""

    def __init__(self, side: Any = None, price: int = 0, tif: Any = TimeInForce.GTC):
        self.order = (side, price, tif)
        self.told: list[str] = []

    def on_timer(self, sim: Simulation, ts: int) -> None:
        side, price, tif = self.order
        sim.submit(0, side, price, 100, tif=tif)

    def on_start(self, sim: Simulation) -> None:
        sim.timer(2 if self.order[2] == TimeInForce.GTC else 3)

    def on_fill(self, sim: Simulation, fill: Any) -> None:
        self.told.append(f"fill {fill.account} {fill.qty} at {sim.now}")

    def on_order(self, sim: Simulation, order: Any) -> None:
        self.told.append(f"{type(order).__name__} {order.account}")

    def on_trade(self, sim: Simulation, trade: Any) -> None:
        self.told.append(f"trade {trade.qty}")


def test_strategies_play_together_and_hear_of_themselves() -> None:
    """One rests, the other takes that a nanosecond later: each hears of its own half, at once, and
    both of the tape; the journal is that of the same commands by hand."""
    scene = Scene().book(1, BOOK).trade(5, BUY, 48, 10).more(9, BUY, 40, 5)
    accounts, _, _ = pair(scene)
    maker, taker = Log(SELL, c(49)), Log(BUY, c(49), IOC)
    accounts.play([maker, taker])
    assert maker.told == ["Accepted 0", "fill 0 100 at 3", "trade 10"]
    assert taker.told == ["Accepted 1", "fill 1 100 at 3", "trade 10"]
    assert [one.positions.qty(0) for one in accounts] == [-100, 100]
    by_hand, one, other = pair(scene)
    by_hand.advance(2)
    one.submit(0, SELL, c(49), 100)
    by_hand.advance(3)
    other.submit(0, BUY, c(49), 100, tif=IOC)
    by_hand.advance()
    assert by_hand.journal().digest == accounts.journal().digest


def test_functions_take_turns() -> None:
    """At each moment the first account comes first, and the second sees what it did."""
    seen: list[tuple[int, int, int]] = []

    def first(sim: Simulation) -> None:
        seen.append((0, sim.now, sim.book(0).best_bid))
        if not len(sim.orders):
            sim.submit(0, BUY, c(49), 10)

    def second(sim: Simulation) -> None:
        seen.append((1, sim.now, sim.book(0).best_bid))

    accounts, _, _ = pair(Scene().book(1, BOOK).more(4, BUY, 40, 5))
    accounts.play([first, second], every=2)
    assert seen == [(0, 1, c(48)), (1, 1, c(49)), (0, 3, c(48)), (1, 3, c(49))]


class Notes:
    """A Python projection that keeps what it is told of fills."""

    kinds: Any = ()

    def __init__(self) -> None:
        from foldbook.engine.events import Fill, Submitted

        self.kinds = (Fill, Submitted)
        self.rows: list[tuple[str, int]] = []

    def apply(self, event: Any) -> None:
        self.rows.append((type(event).__name__, event.account))


def test_projections_are_told_of_their_own_account() -> None:
    """At once, also where it was the other's command; a fork goes its own way."""
    accounts, one, other = pair(Scene().book(1, BOOK).more(4, BUY, 40, 5))
    notes = Notes()
    one.subscribe(notes)
    accounts.advance(1)
    one.submit(0, SELL, c(49), 100)
    other.submit(0, BUY, c(49), 60)
    assert notes.rows == [("Submitted", 0), ("Fill", 0)]
    twin = accounts.fork()
    twin[1].submit(0, BUY, c(49), 40)
    assert twin[0].orders.open() == [] and len(one.orders) == 1
    assert len(notes.rows) == 2 and len(twin[0].projections[0].rows) == 3  # type: ignore[attr-defined]
    assert accounts.advance(next_change(0)) and accounts.now == 4
    assert (one.cause, other.cause) == (one.last_burst(), one.last_burst())
    mine = one.journal().rows
    assert set(mine["account"].tolist()) == {0} and len(mine) + len(other.journal()) == len(
        accounts.journal()
    )


def test_commands_on_their_way_are_of_each_account() -> None:
    """With a delay of orders, one is shown what it has sent, the other is not; and their client ids
    are counted apart."""
    scene = Scene().book(1, BOOK).more(9_000_000, BUY, 40, 5)
    accounts, one, other = pair(scene, latency=Latency.constant("1ms"), client_ids=1)
    accounts.advance(1)
    one.submit(0, SELL, c(49), 10, client_id=5)
    assert [order.ahead for order in one.orders.open()] == [-1] and other.orders.open() == []
    assert (one.in_flight(0), other.in_flight(0)) == (1, 0)
    accounts.advance(2)
    other.submit(0, BUY, c(49), 10, client_id=5)
    accounts.advance()
    assert (one.positions.qty(0), other.positions.qty(0)) == (-10, 10)
    assert one.journal().rows["ts"].tolist() == [1, 1, 1_000_001, 1_000_002]


# What cannot be.


def test_what_trading_accounts_cannot_have_is_refused() -> None:
    """By name: delayed sight, compiled code of one's own, settings that are shared, a move by
    oneself."""
    session = session_of(Scene().book(1, BOOK))
    none: dict[str, Any] = {}
    with pytest.raises(ValueError, match="latency: .* no feed or response delay"):
        Accounts(session, [none, none], trading=True, latency=Latency.constant("1ms", feed="1ms"))
    with pytest.raises(ValueError, match=r"account 1: queue holds for all .* cash and risk"):
        Accounts(session, [none, {"queue": None}], trading=True)
    with pytest.raises(ValueError, match="no settings"):
        Accounts(session, [], trading=True)
    with pytest.raises(ValueError, match="cash: -1; expected 0 to"):
        Accounts(session, [none, {"cash": -1}], trading=True)
    accounts = Accounts(session, [none, none], trading=True)
    for act in (accounts[0].advance, accounts[1].fork):
        with pytest.raises(StrategyError, match="with each other"):
            act()
    with pytest.raises(ValueError, match="1 strategies for 2 accounts"):
        accounts.play([Log()])
    with pytest.raises(StrategyError, match="none of the hooks"):
        accounts.play([Log(), object()])
    apart = Accounts(session, [none, none])
    for ask in (apart.journal, lambda: apart.play([])):
        with pytest.raises(StrategyError, match="side by side"):
            ask()


def test_limits_are_of_each_account() -> None:
    """One is limited, the other killed. Groups and client ids of one name are two."""
    session = session_of(Scene().book(1, BOOK))
    limited = {"risk": Risk(max_order_qty=100)}
    accounts = Accounts(session, [limited, {}], trading=True, fees=NO_FEES)
    accounts.advance(1)
    one, other = accounts
    assert one.would_reject(0, BUY, c(40), 101) == Reason.RISK_ORDER_QTY
    assert other.would_reject(0, BUY, c(40), 101) is None
    for sim in accounts:
        sim.set_group(1, 50)
        sim.submit(0, BUY, c(40), 10, client_id=7, group=1)
    assert [len(sim.orders) for sim in accounts] == [1, 1]
    other.submit(0, BUY, c(50), 60, tif=IOC, group=1)
    assert [len(sim.orders) for sim in accounts] == [1, 0], "its group was triggered"
    other.kill()
    assert other.would_reject(0, BUY, c(40), 1) == Reason.KILLED
    assert one.would_reject(0, BUY, c(40), 1) is None and len(one.orders) == 1
