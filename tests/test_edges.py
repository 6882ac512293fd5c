"""What users do wrong at the edges of a run, and the names of the errors that say so."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import BOOK, SELL, Scene

from foldbook.adapters import synthetic
from foldbook.engine import (
    KALSHI_2026_08,
    NO_FEES,
    Accounts,
    Availability,
    Backtest,
    CapacityError,
    FeeError,
    Fees,
    FeeSchedule,
    Latency,
    Queue,
    Risk,
    Session,
    Side,
    Simulation,
    StrategyError,
    Tape,
    TimeInForce,
    cents,
    contracts,
    dollars,
    duration,
    next_change,
    price,
    strategy,
)
from foldbook.engine.compiled import inner
from foldbook.engine.kernels import verbs
from foldbook.engine.schema import Mark
from foldbook.engine.specs import Delay, Market
from foldbook.engine.units import SECOND

DRAWN = Latency(order=Delay.empirical([f"{ms}ms" for ms in range(1, 50)]))


@pytest.fixture(scope="module")
def session():
    return synthetic.session(seed=7, events=3_000, minutes=3)


class Takes:
    """Buy at the ask now and then."""

    def __init__(self) -> None:
        self.calls = 0

    def on_book(self, sim, market) -> None:
        self.calls += 1
        ask = sim.book(market).best_ask
        if self.calls % 50 == 0 and ask < 10_000:
            sim.submit(market, Side.BUY, ask, contracts(5), tif=TimeInForce.IOC)


def delays(sim: Simulation) -> list[int]:
    """Return how long each request travels."""
    rows = sim.journal().rows
    return [int(row["arrives"] - row["ts"]) for row in rows if row["arrives"]]


def send(sim: Simulation) -> None:
    sim.submit(0, Side.BUY, 100, 100)


def test_fees_that_change_inside_a_session_are_refused(session) -> None:
    start = session.start + 10**9
    fees = Fees.from_rows([
        {"scope": "*", "type": "quadratic", "multiplier": 0},
        {"scope": "SYN", "start": start, "type": "quadratic", "multiplier": 1},
    ])  # fmt: skip
    with pytest.raises(FeeError, match="inside the session.*slice the session there, or pass"):
        Backtest(session, Takes(), fees=fees)
    flat = Fees.from_rows([{"scope": "*", "type": "flat", "taker_flat": "0.01"}])
    assert Backtest(session, Takes(), fees=flat).run().metrics()["fees"] > 0


def test_market_fees_name_markets_and_schedules(session) -> None:
    ticker = session.markets[0].ticker
    with pytest.raises(ValueError, match="no market of session"):
        Simulation(session, market_fees=((ticker + "x", NO_FEES),))
    with pytest.raises(TypeError, match="no .ticker, FeeSchedule."):
        Simulation(session, market_fees=((ticker, 5),))
    result = Backtest(session, Takes(), market_fees={ticker: NO_FEES}).run()
    assert result.metrics()["fees"] == 0 and len(result.fills) > 3
    places = result.journal.places
    again = type(result).from_journal(session, result.journal.rows, places, result.header())
    assert again.config == result.config


def test_a_chosen_availability_stays_in_the_harsh_case(session) -> None:
    never = Availability("never", (), (), (), (0,))
    band = Backtest(session, Takes(), availability=never).run().band()
    assert band.chosen.fills == band.pessimistic.fills == 0 < band.optimistic.fills


def test_batches_nest_and_end_with_a_fork(session) -> None:
    sim = Simulation(session, latency=DRAWN)
    sim.advance(events=100)
    with sim.batch():
        with sim.batch():
            send(sim)
        twin = sim.fork()
        send(sim)
    send(sim)
    for _ in range(3):
        send(twin)
    one, two, three = delays(sim)
    assert one == two != three
    assert len(set(delays(twin))) > 2


@pytest.mark.parametrize("settings", [
    {"cash": 2**63 - 1}, {"seed": 2**63}, {"risk": {"tokens_per_second": 9 * 10**9}},
    {"risk": {"tokens_per_second": 1, "burst_seconds": 2**60}}, {"client_ids": -1},
    {"order_groups": 10**9},
])  # fmt: skip
def test_numbers_that_no_word_holds_are_refused(settings, session) -> None:
    def simulate():
        risk = Risk(**settings.get("risk", {}))
        return Simulation(session, **settings | {"risk": risk})

    with pytest.raises(ValueError, match="expected|bucket"):
        simulate()


@pytest.mark.parametrize(("exponent", "error"), [(2.5, TypeError), (True, TypeError),
                                                 (0, ValueError), (9, ValueError)])  # fmt: skip
def test_powers_are_small_ints(exponent, error) -> None:
    with pytest.raises(error, match="power"):
        Queue.power(exponent)


def test_own_queue_models_are_functions(session) -> None:
    for wrong in (None, 5):
        with pytest.raises(ValueError, match="a function goes with"):
            Queue.of(wrong)

    def half(ahead, before, qty, row_ahead, flags):
        return ahead - qty // 2

    runs = [Backtest(session, Takes(), queue=Queue.of(model, "half")).run()
            for model in (half, inner(half))]  # fmt: skip
    assert runs[0].digest == runs[1].digest


@pytest.mark.parametrize("name", ["client_id", "group"])
@pytest.mark.parametrize("value", [1.5, "a", True, 2**70])
def test_would_reject_takes_what_submit_takes(name, value, session) -> None:
    sim = Simulation(session)
    sim.advance(events=10)
    found = []
    for ask in (sim.submit, sim.would_reject):
        with pytest.raises((TypeError, ValueError)) as error:
            ask(0, Side.BUY, 100, 100, **{name: value})
        found.append((error.type, str(error.value)))
    assert found[0] == found[1]


def test_the_limit_of_client_ids_is_the_number_that_was_given(session) -> None:
    """Five may be used, not the next power of two."""
    sim = Simulation(session, client_ids=5)
    sim.advance(events=10)
    for client_id in range(1, 6):
        sim.cancel(sim.submit(0, Side.BUY, 100, 100, client_id=client_id))
    with pytest.raises(CapacityError, match="5 are used already"):
        sim.submit(0, Side.BUY, 100, 100, client_id=6)


def test_an_advance_takes_limits_that_can_hold_together(session) -> None:
    """A change of the book and a number of rows, or two numbers of rows, are two wishes."""
    for limits in ({"events": 5}, {"stop": 5}):
        with pytest.raises(StrategyError, match="next_change"):
            Simulation(session).advance(next_change(), **limits)
    with pytest.raises(StrategyError, match="events=5 and stop=9"):
        Simulation(session).advance(events=5, stop=9)


@strategy()
def bids_inside(sim, words):
    """Take the whole best ask, and then bid what the mids say: orders of 1, price the mid."""
    if verbs.best_qty(sim, 0, 1) > 0:
        verbs.submit_as(sim, 0, 0, (verbs.best(sim, 0, 1), verbs.best_qty(sim, 0, 1), 1, 0))
    verbs.submit(sim, 0, 0, verbs.mid2(sim, 0), 1)
    verbs.submit(sim, 0, 0, verbs.mark2(sim, 0), 1)


def test_a_compiled_strategy_reads_the_mids_that_a_python_one_does(session) -> None:
    """`mid2` is of the visible book, which own fills take from, `mark2` of the recorded one."""

    def twin(sim) -> None:
        book = sim.book(0)
        if book.best_ask_qty:
            sim.submit(0, Side.BUY, book.best_ask, book.best_ask_qty, tif=TimeInForce.IOC)
        sim.submit(0, Side.BUY, book.mid2, 1)
        sim.submit(0, Side.BUY, book.mark2, 1)

    one, other = (Backtest(session, each, every="20s").run() for each in (bids_inside, twin))
    prices = one.orders.column("price").tolist()
    assert len(prices) > 12 and prices[1::3] != prices[2::3]
    assert one.digest == other.digest


@pytest.mark.parametrize(("make", "whole"), [
    (contracts, 500), (cents, 500), (dollars, 5_000_000), (price, 50_000), (duration, 5),
])  # fmt: skip
def test_whole_numbers_of_numpy_are_whole_numbers(make, whole) -> None:
    """What an array holds is an int as good as any; its floats are floats, and named so."""
    found = make(np.int64(5))
    assert (found, type(found)) == (whole, int)
    for wrong in (np.float64(0.5), np.bool_(True)):
        with pytest.raises((TypeError, ValueError), match="is a float64|is a bool|is not like"):
            make(wrong)


class AnswersItself:
    """Answers each answer with another order."""

    def on_start(self, sim) -> None:
        send(sim)

    def on_order(self, sim, event) -> None:
        send(sim)


class TimesItself:
    """Sets a timer for now, for ever."""

    def on_start(self, sim) -> None:
        sim.timer(sim.now)

    def on_timer(self, sim, ts) -> None:
        sim.timer(sim.now)


@pytest.mark.parametrize("endless", [AnswersItself, TimesItself])
def test_hooks_without_end_are_stopped(endless, session, monkeypatch) -> None:
    monkeypatch.setattr("foldbook.engine.player._CALLS_MAX", 500)
    with pytest.raises(StrategyError, match="time stands still"):
        Backtest(session, endless()).run()


def test_words_of_a_strategy_are_integers() -> None:
    @strategy(size=contracts(1))
    def idle(sim, words):
        pass

    for wrong in (1.5, True, "1"):
        with pytest.raises(TypeError, match="size"):
            idle(size=wrong)


def test_accounts_keep_one_clock(session) -> None:
    together = Accounts(session, [{}, {}])
    together[1].advance(events=50)
    with pytest.raises(StrategyError, match="moved by itself"):
        together.advance(events=10)


def test_closing_value_is_after_fees() -> None:
    """Four YES bought at 50 could be sold at 48 for 192 cents, less the taker's fee of
    0.07 x 4 x 0.48 x 0.52 dollars."""
    scene = Scene().book(1, BOOK).more(2, SELL, 60, 100)
    sim = Simulation(Session(Tape(scene.rows()), (Market("M"),), name="scene"),
                     mark=Mark.CLOSE, fees=KALSHI_2026_08)  # fmt: skip
    sim.advance(until=1)
    sim.submit(0, Side.BUY, 5_000, 400, tif=TimeInForce.IOC)
    assert sim.reward.value - sim.positions.cash == 1_920_000 - 69_888


@pytest.mark.parametrize(("later", "is_open"), [(15 * SECOND - 1, False), (15 * SECOND, True)])
def test_a_fill_leaves_the_window_of_its_group_after_fifteen_seconds(later, is_open) -> None:
    """Two fills of 3 in a group that may match 5: the second triggers it a nanosecond before the
    first is 15 seconds old, and no longer then."""
    scene = Scene().book(SECOND, BOOK).more(SECOND + later, SELL, 60, 100)
    sim = Simulation(Session(Tape(scene.rows()), (Market("M"),), name="scene"))
    sim.advance(until=SECOND)
    sim.set_group(1, 5)
    sim.submit(0, Side.BUY, 100, 1, group=1)
    sim.submit(0, Side.BUY, 5_000, 3, tif=TimeInForce.IOC, group=1)
    sim.advance(until=SECOND + later)
    sim.submit(0, Side.BUY, 5_000, 3, tif=TimeInForce.IOC, group=1)
    assert sim.positions.qty(0) == 6
    assert bool(sim.orders.open(0)) == is_open


def test_what_is_of_another_type_is_named():
    """A setting or a term of an order that is of another type, or no TimeInForce, is refused by
    name, with what was given and what is expected; nothing is sent."""
    session = synthetic.session(seed=7, events=200)
    with pytest.raises(TypeError, match=r"^latency: 3 is a int; expected Latency$"):
        Simulation(session, latency=3)
    with pytest.raises(TypeError, match=r"^name: 5 is a int; expected str$"):
        FeeSchedule(5)
    sim = Simulation(session)
    for tif in (9, "GTC"):
        with pytest.raises(ValueError, match=rf"^tif: {tif!r}; expected a TimeInForce$"):
            sim.submit(0, Side.BUY, 5_000, contracts(1), tif=tif)
    assert len(sim.bus.journal()) == 1
