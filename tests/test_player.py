"""Which hook is called when, what its commands are caused by, and what a strategy does wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import Quoting, Recorder
from workloads import TapeBuilder

from foldbook.adapters import synthetic
from foldbook.engine import (
    NO_FEES,
    Backtest,
    CapacityError,
    Market,
    Reason,
    Session,
    Side,
    Simulation,
    StrategyError,
    Tape,
    cents,
    events,
    next_change,
    strategy,
    verbs,
)
from foldbook.engine import player as player_module
from foldbook.engine.schema import (
    NO_MARKET,
    CauseKind,
    JournalKind,
    MarketStatus,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.units import MILLISECOND

T0 = 10**18
BUY, SELL = Side
START, TIMER = (CauseKind.START, NO_MARKET, 0), (CauseKind.TIMER, NO_MARKET, 0)


def scene() -> Session:
    """One market, a burst every 10 ms: book, two trades, a quote, a pause, the end.

    A bid at 48 behind the 500 displayed there is reached at 10 and traded through at 20.
    """
    tape = TapeBuilder()

    def add(ms: int, kind: TapeKind, side: Side = BUY, price: int = 0, qty: int = 0, **more):
        tape.add(T0 + ms * MILLISECOND, kind, side, price, qty, **more)

    add(0, TapeKind.SNAPSHOT)
    add(0, TapeKind.SNAPSHOT_LEVEL, BUY, cents(48), 500)
    add(0, TapeKind.SNAPSHOT_LEVEL, BUY, cents(47), 300)
    add(0, TapeKind.SNAPSHOT_LEVEL, SELL, cents(50), 400)
    for ms, price, qty in ((10, 48, 500), (20, 47, 60)):
        add(ms, TapeKind.TRADE, BUY, cents(price), qty, flags=TapeFlag.JOINED)
        add(ms, TapeKind.DECREASE, BUY, cents(price), qty, ahead=-1)
    add(30, TapeKind.INCREASE, SELL, cents(51), 5)
    add(40, TapeKind.STATUS, qty=MarketStatus.PAUSED)
    add(50, TapeKind.STATUS, qty=MarketStatus.OPEN)
    add(60, TapeKind.STATUS, qty=MarketStatus.CLOSED)
    add(70, TapeKind.STATUS, qty=MarketStatus.SETTLED, price=10_000)
    return Session(Tape(tape.rows()), (Market("SCENE"),), name="scene")


def told(calls: list[tuple[str, int, Any, Any]]) -> list[tuple[str, float]]:
    """Return (what, ms since the start) of calls; events by their names."""
    return [
        (
            f"{hook} {type(what).__name__}" if hook in ("on_order", "on_market") else hook,
            (now - T0) / MILLISECOND,
        )
        for hook, now, _, what in calls
    ]


class Acts(Recorder):
    """Sends one order in each of some hooks, and asks for a timer."""

    def on_start(self, sim: Simulation) -> None:
        super().on_start(sim)
        sim.timer(T0 + 25 * MILLISECOND)
        sim.submit("SCENE", BUY, cents(48), 100, client_id=1)

    def on_book(self, sim: Simulation, market: str) -> None:
        super().on_book(sim, market)
        if sim.now == T0:
            sim.submit(market, BUY, cents(48), 100, client_id=2)

    def on_trade(self, sim: Simulation, trade: Any) -> None:
        super().on_trade(sim, trade)
        if trade.price == cents(48):
            sim.submit("SCENE", BUY, cents(40), 1, expires=sim.now + MILLISECOND, client_id=3)

    def on_fill(self, sim: Simulation, fill: Any) -> None:
        super().on_fill(sim, fill)
        sim.submit("SCENE", SELL, cents(60), 7, client_id=4)

    def on_timer(self, sim: Simulation, ts: int) -> None:
        super().on_timer(sim, ts)
        sim.submit("SCENE", SELL, cents(61), 7, client_id=5)

    def on_end(self, sim: Simulation) -> None:
        super().on_end(sim)
        sim.submit("SCENE", BUY, cents(1), 1, client_id=6)


def test_hooks_are_called_in_the_order_of_events() -> None:
    """Tape events of a burst and what they caused in order, then the book; timers between; orders
    sent in one hook are answered before the next event. Rows of other kinds call nothing."""
    acts = Acts()
    result = Backtest(scene(), acts, fees=NO_FEES).run()
    assert told(acts.calls) == [
        ("on_start", 0), ("on_order Rejected", 0),
        ("on_book", 0), ("on_order Accepted", 0),
        ("on_trade", 10), ("on_order Accepted", 10), ("on_book", 10),
        ("on_order Expired", 11),
        ("on_trade", 20), ("on_fill", 20), ("on_order Accepted", 20), ("on_book", 20),
        ("on_timer", 25), ("on_order Accepted", 25),
        ("on_book", 30),
        ("on_market Status", 40), ("on_market Status", 50),
        ("on_market Status", 60), *[("on_order Canceled", 60)] * 3,
        ("on_market Status", 70), ("on_market Settled", 70),
        ("on_end", 70), ("on_order Rejected", 70),
    ]  # fmt: skip
    assert [fill.qty for fill in result.fills] == [60]
    assert result.metrics()["pnl"] == 60 * (10_000 - cents(48))


def test_commands_name_what_they_react_to() -> None:
    """The cause of each request: START, a tape row, a journal row or the clock; by its number."""
    acts = Acts()
    journal = Backtest(scene(), acts).run().journal
    rows = journal.rows[journal.rows["kind"] == JournalKind.SUBMITTED]
    causes = {
        int(row["client_id"]): tuple(
            int(row[f"cause_{name}"]) for name in ("kind", "market", "row")
        )
        for row in rows
    }
    [fill] = journal.rows[journal.rows["kind"] == JournalKind.FILL]
    assert causes == {
        1: START,
        2: (CauseKind.TAPE, 0, 3),
        3: (CauseKind.TAPE, 0, 5),
        4: (CauseKind.JOURNAL, 0, int(fill["row"])),
        5: TIMER,
        6: (CauseKind.TAPE, 0, 12),
    }
    seen = {(hook, cause[0]) for hook, _, cause, _ in acts.calls}
    assert seen == {
        ("on_start", CauseKind.START), ("on_timer", CauseKind.TIMER), ("on_end", CauseKind.TAPE),
        ("on_book", CauseKind.TAPE), ("on_trade", CauseKind.TAPE),
        ("on_market", CauseKind.TAPE), ("on_market", CauseKind.JOURNAL),
        ("on_fill", CauseKind.JOURNAL), ("on_order", CauseKind.JOURNAL),
    }  # fmt: skip


@pytest.mark.parametrize(
    "hooks",
    [("on_trade",), ("on_fill", "on_book"), ("on_order",), ("on_market", "on_end"), ("on_start",)],
)
def test_only_what_has_a_hook_is_delivered(hooks, monkeypatch) -> None:
    """The kinds that a strategy does not define never become Python objects, and those that it
    does are the same as under a strategy with all hooks."""
    session = scene()
    every = Quoting()
    recorder = Recorder()
    for hook in player_module.HOOKS:

        def both(sim: Simulation, *what: Any, hook: str = hook) -> None:
            getattr(recorder, hook)(sim, *what)
            if hook == "on_book":
                every(sim)

        setattr(every, hook, both)
    expected = Backtest(session, every).run()
    made = []
    from_row = events.from_row
    monkeypatch.setattr(
        player_module.events, "from_row", lambda *row: made.append(from_row(*row)) or made[-1]
    )

    class Some:
        pass

    some, other = Some(), Recorder()
    for hook in hooks:
        setattr(some, hook, getattr(other, hook))
    if "on_book" in hooks:
        some.on_book = lambda sim, market: (other.on_book(sim, market), Quoting()(sim))
    result = Backtest(session, some).run()
    delivered = [call[3] for call in other.calls if call[0] in ("on_trade", "on_fill", "on_order",
                                                                "on_market")]  # fmt: skip
    assert made == delivered
    if "on_book" in hooks:
        assert result.digest == expected.digest
        assert other.calls == [call for call in recorder.calls if call[0] in hooks]
    elif hooks == ("on_trade",):
        assert [call for call in recorder.calls if call[0] == "on_trade"] == other.calls


@pytest.mark.parametrize("ms", [7, 10, 1, 100])
def test_a_function_is_called_every_so_often(ms) -> None:
    """At start + k x every up to the end, in quiet intervals too, after all rows with ts <= it."""
    session = scene()
    calls: list[tuple[int, int, Any]] = []
    Backtest(
        session, lambda sim: calls.append((sim.now, sim.events, sim.cause)), every=f"{ms}ms"
    ).run()
    times = [T0 + k * ms * MILLISECOND for k in range(70 // ms + 1)]
    rows = [int((session.tape.rows["ts"] <= ts).sum()) for ts in times]
    assert calls == list(zip(times, rows, [TIMER] * len(times), strict=True))


def test_timers_are_called_at_their_times() -> None:
    """In the order of their times, after all rows at them, twice if asked twice, also those that a
    timer asks for; none after the end of the tape."""

    class Timed(Recorder):
        def on_start(self, sim: Simulation) -> None:
            for ms in (30, 5, 10, 10, 70, 71):
                sim.timer(T0 + ms * MILLISECOND)

        def on_timer(self, sim: Simulation, ts: int) -> None:
            self.note("on_timer", sim, (ts, sim.events))
            if sum(call[0] == "on_timer" for call in self.calls) == 4:
                sim.timer(sim.now)
                sim.timer(sim.now + 1)

    timed = Timed()
    Backtest(scene(), timed).run()
    seen = [(now, *what) for hook, now, _, what in timed.calls if hook == "on_timer"]
    ms = MILLISECOND
    expected = [(5 * ms, 4), (10 * ms, 6), (10 * ms, 6), (30 * ms, 9), (30 * ms, 9)]
    expected += [(30 * ms + 1, 9), (70 * ms, 13)]
    after = [(T0 + ts, T0 + ts, rows) for ts, rows in expected]
    assert seen == after


def test_next_change_stops_where_on_book_is_called() -> None:
    """Stepping from change to change of one market sees what a strategy's on_book sees."""
    session = synthetic.session(seed=6, events=900, minutes=1, markets=2)
    calls: list[tuple[int, int, Any]] = []

    class Watches:
        def on_book(self, sim: Simulation, market: str) -> None:
            if market == session.markets[1].ticker:
                calls.append((sim.now, sim.events, sim.cause))

    Backtest(session, Watches()).run()
    sim = Simulation(session)
    stops = []
    while sim.advance(next_change(session.markets[1].ticker)):
        stops.append((sim.now, sim.events, sim.cause))
    assert stops == calls and len(stops) > 300
    assert sim.events == len(session.tape)


def test_a_strategy_is_handed_the_seed() -> None:
    """`strategy.seed` where there is such an attribute, and nothing where there is none."""

    class Seeded(Quoting):
        seed = 0

    seeded, plain = Seeded(), Quoting()
    result = Backtest(scene(), seeded, seed=12).run()
    assert seeded.seed == 12 and result.config.seed == 12
    Backtest(scene(), plain, seed=12).run()
    assert not hasattr(plain, "seed")


# What a strategy does wrong.


@pytest.mark.parametrize("hook", ["on_book", "on_order", "on_trade", "decide"])
def test_a_strategy_that_raises_keeps_its_journal(hook) -> None:
    """StrategyError names file and line, is chained to what was raised, and has the run so far."""
    session = synthetic.session(seed=2, events=1500, minutes=1)
    calls = 0

    def failing(sim: Simulation, *what: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == (9 if hook == "on_trade" else 60):
            raise ZeroDivisionError("by hand")

    class Fails(Quoting):
        def on_book(self, sim: Simulation, market: str) -> None:
            super().on_book(sim, market)
            if hook == "on_book":
                failing(sim)

    fails: Any = Fails()
    every = None
    if hook == "decide":
        fails, every = lambda sim: (Quoting()(sim), failing(sim)), "100ms"
    elif hook != "on_book":
        setattr(fails, hook, failing)
    with pytest.raises(StrategyError, match=r"by hand \(.*test_player.py, line \d+\)") as caught:
        Backtest(session, fails, every=every).run()
    error = caught.value
    assert isinstance(error.__cause__, ZeroDivisionError)
    result: Any = error.result
    whole = Backtest(session, Quoting(), every=every).run()
    known = len(result.journal)
    assert 20 < known < len(whole.journal)
    assert result.journal.rows.tobytes() == whole.journal.rows[:known].tobytes()
    assert result.replay().digest == result.digest
    assert result.simulation.events < len(session.tape)
    assert result.rebuild().bus.state_bytes() == result.simulation.bus.state_bytes()


def test_whose_fault_it_was_is_told_apart(monkeypatch) -> None:
    """A hook that cannot be called is the strategy's; what a projection raises names it; and what
    the engine itself raises is no StrategyError."""

    class Shy:
        def on_book(self) -> None:
            """Takes nothing."""

    with pytest.raises(StrategyError, match=r"strategy raised TypeError: .* were given$"):
        Backtest(scene(), Shy()).run()

    class Broken:
        kinds = (events.Trade,)

        def apply(self, event: Any) -> None:
            raise ZeroDivisionError("by hand")

    broken = r"projection Broken raised ZeroDivisionError: by hand \(.*test_player.py, line \d+\)"
    with pytest.raises(StrategyError, match=broken) as caught:
        Backtest(scene(), Recorder(), projections=[Broken()]).run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.result is not None
    sim = Simulation(scene())
    sim.subscribe(Broken())
    with pytest.raises(StrategyError, match=broken):
        sim.advance()

    def defect(self: Any) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr(Simulation, "last_burst", defect)
    with pytest.raises(IndexError, match="a defect"):
        Backtest(scene(), Recorder()).run()


@pytest.mark.parametrize(
    ("price", "qty", "reason"),
    [
        (0, 100, Reason.INVALID_PRICE),
        (10_000, 100, Reason.INVALID_PRICE),
        (-100, 100, Reason.INVALID_PRICE),
        (4750, 100, Reason.INVALID_PRICE),
        (cents(48), 0, Reason.INVALID_QTY),
        (cents(48), -1, Reason.INVALID_QTY),
        (cents(48), 10**14 + 1, Reason.INVALID_QTY),
    ],
)
def test_what_the_venue_would_refuse_is_an_event(price, qty, reason) -> None:
    """A price of 0 or 1, off the grid, zero or negative quantity: REJECTED, with its reason."""
    sim = Simulation(scene())
    sim.advance(events=4)
    sim.submit(0, BUY, price, qty)
    asked, refused = sim.journal().rows[-2:]
    assert (asked["kind"], asked["price"], asked["qty"]) == (JournalKind.SUBMITTED, price, qty)
    assert (refused["kind"], refused["reason"]) == (JournalKind.REJECTED, reason)
    assert len(sim.orders) == 0 and sim.positions.reserved == 0


def test_a_second_cancel_is_refused() -> None:
    """Cancel and amend of an order that is gone are events, and change nothing."""
    sim = Simulation(scene())
    sim.advance(events=4)
    order = sim.submit("SCENE", BUY, cents(48), 100)
    sim.cancel(order)
    before = sim.positions.cash, sim.positions.reserved
    sim.cancel(order)
    sim.amend(order, qty=5)
    rows = sim.journal().rows[-4:]
    assert rows["kind"].tolist() == [
        JournalKind.CANCEL_REQUESTED, JournalKind.CANCEL_REJECTED,
        JournalKind.AMEND_REQUESTED, JournalKind.AMEND_REJECTED,
    ]  # fmt: skip
    assert rows["reason"].tolist() == [0, Reason.ORDER_NOT_OPEN] * 2
    assert (sim.positions.cash, sim.positions.reserved) == before == (1_000_000_000, 0)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda sim: sim.cancel(99), StrategyError, "order 99 was never submitted"),
        (lambda sim: sim.cancel(0), StrategyError, "was never submitted"),
        (lambda sim: sim.amend(5 << 32 | 1, qty=1), StrategyError, "was never submitted"),
        (lambda sim: sim.cancel(-1), StrategyError, "was never submitted"),
        (lambda sim: sim.submit("OTHER", BUY, 4800, 1), StrategyError, "market 'OTHER' is not in"),
        (lambda sim: sim.book(1), StrategyError, "market 1 is not in session scene"),
        (lambda sim: sim.timer(sim.now - 1), StrategyError, "is before now"),
        (lambda sim: sim.submit(0, BUY, 48.0, 1), TypeError, "price: 48.0 is a float"),
        (lambda sim: sim.submit(0, BUY, 4800, 1.5), TypeError, "qty: 1.5 is a float"),
        (lambda sim: sim.submit(0, BUY, True, 1), TypeError, "price: True is a bool"),
        (lambda sim: sim.submit(0, "buy", 4800, 1), TypeError, "expected a Side"),
        (lambda sim: sim.submit(0, BUY, 1 << 40, 1), ValueError, "price: .* cannot be sent"),
        (lambda sim: sim.cancel("1"), TypeError, "order id: '1' is a str"),
    ],
)
def test_what_a_caller_mistakes_is_raised_and_leaves_no_row(wrong, error, text) -> None:
    """Ids, markets and times that do not exist and numbers without a unit raise, from a Simulation
    as they are and from a Backtest as a StrategyError with the run so far; nothing is written."""
    sim = Simulation(scene())
    sim.advance(events=4)
    sim.submit(0, BUY, cents(40), 1)
    before = sim.bus.state_bytes()
    with pytest.raises(error, match=text):
        wrong(sim)
    assert sim.bus.state_bytes() == before and len(sim.journal()) == 3

    class Mistaken:
        def on_trade(self, sim: Simulation, trade: Any) -> None:
            sim.submit(0, BUY, cents(40), 1)
            wrong(sim)

    with pytest.raises(StrategyError, match=text) as caught:
        Backtest(scene(), Mistaken()).run()
    assert len(caught.value.result.journal) == 3  # type: ignore[attr-defined]


def test_order_slots_run_out_by_name() -> None:
    """One order more than order_capacity raises CapacityError, which says what to raise; the run so
    far is kept."""

    class Many:
        def on_book(self, sim: Simulation, market: str) -> None:
            sim.submit(market, BUY, cents(40), 1)

    with pytest.raises(CapacityError, match="order_capacity") as caught:
        Backtest(scene(), Many(), order_capacity=2).run()
    result: Any = caught.value.result
    assert result.journal.rows["kind"].tolist()[1:] == [
        JournalKind.SUBMITTED, JournalKind.ACCEPTED,
    ] * 2  # fmt: skip
    assert result.replay().digest == result.digest
    assert len(Backtest(scene(), Many(), order_capacity=4).run().orders) == 4


@strategy()
def too_many_orders(sim, words):  # type: ignore[no-untyped-def]
    """Opens an order at each decision."""
    verbs.submit(sim, 0, 0, 4000, 1)


@strategy()
def too_many_commands(sim, words):  # type: ignore[no-untyped-def]
    """Sends without end in one decision."""
    for _ in range(100_000):
        verbs.submit(sim, 0, 0, 0, 1)


@strategy()
def stranger(sim, words):  # type: ignore[no-untyped-def]
    """Cancels an order that was never submitted."""
    verbs.cancel(sim, 0, 7)


@pytest.mark.parametrize(
    ("compiled", "error", "text"),
    [
        (too_many_orders, CapacityError, "raise order_capacity"),
        (too_many_commands, CapacityError, "journal buffer in one decision"),
        (stranger, StrategyError, "never submitted"),
    ],
)
def test_compiled_strategies_fail_by_name(compiled, error, text) -> None:
    """The same mistakes of a compiled strategy end the run with the same errors."""
    with pytest.raises(error, match=text) as caught:
        Backtest(scene(), compiled, every="10ms", order_capacity=2).run()
    result: Any = caught.value.result
    assert result.replay().digest == result.digest
    with pytest.raises(TypeError, match=f"{compiled.name}: no parameter 'size'"):
        compiled(size=1)


def test_what_cannot_be_played_is_said_at_once() -> None:
    """An object without hooks, a plain function without `every`, a time that is none."""
    for nothing in (object(), lambda sim: None):
        with pytest.raises(StrategyError, match="none of the hooks"):
            Backtest(scene(), nothing).run()
    for every in (0, -5, "0ms"):
        with pytest.raises(ValueError, match="every"):
            Backtest(scene(), lambda sim: None, every=every).run()
    with pytest.raises(ValueError, match="duration"):
        Backtest(scene(), lambda sim: None, every="soon")
    assert np.array_equal(Backtest(scene(), Recorder()).run().journal.places, [0])
