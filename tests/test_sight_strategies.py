"""Strategies where the agent sees late: all their forms, their hooks, and what they subscribe."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from reference.latency import delivery_times, known_times
from strategies import Recorder
from test_look_ahead import other_tail

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    CompiledProjection,
    Reason,
    Result,
    Session,
    Side,
    Simulation,
    contracts,
    events,
    next_change,
    strategy,
    verbs,
)
from foldbook.engine.kernels.programs import BOOK_CHANGES
from foldbook.engine.schema import JournalKind, TapeKind
from foldbook.engine.specs import Feed, Latency
from foldbook.examples.market_maker import MarketMaker, prices_compiled

SIZE = contracts(10)
SEEN_LATE = {
    "recorded feed": Latency.constant("20ms", response="10ms", feed=Feed.RECORDED),
    "constant feed": Latency.constant("20ms", response="10ms", feed="30ms"),
    "feed alone": Latency.constant(0, feed="3ms"),
    "answers alone": Latency.constant(0, response="7ms"),
    "commands alone": Latency.constant("5ms", cancel="1ms"),
}
LATENCIES = pytest.mark.parametrize("latency", SEEN_LATE.values(), ids=SEEN_LATE.keys())


class Patient:
    """The market maker of the examples, who waits for the answers to what it sent."""

    def __init__(self) -> None:
        self.maker = MarketMaker()

    def decide(self, sim: Simulation) -> None:
        """Quote in every market."""
        for market, ticker in enumerate(sim.tickers):
            if not sim.in_flight(market):
                self.maker.on_book(sim, ticker)

    def on_book(self, sim: Simulation, market: str) -> None:
        """Quote in every market."""
        self.decide(sim)


@strategy(**MarketMaker()._asdict())
def patient(sim: Any, words: Any) -> None:
    maker = MarketMaker(words[0], words[1], words[2], words[3], words[4])
    for market in range(verbs.markets(sim)):
        if verbs.in_flight(sim, market) > 0 or not verbs.is_open(sim, market):
            continue
        position = verbs.position(sim, market)
        bid, ask = verbs.best(sim, market, 0), verbs.best(sim, market, 1)
        wanted = prices_compiled(maker, bid, ask, position)
        for side in range(2):
            if verbs.best_order_price(sim, market, side) not in (0, wanted[side]):
                verbs.cancel(sim, market, verbs.best_order(sim, market, side))
        for side, room in enumerate((maker.limit - position, maker.limit + position)):
            if wanted[side] and room > 0 and not verbs.best_order(sim, market, side):
                verbs.submit(sim, market, side, wanted[side], min(maker.size, room))


@pytest.fixture(scope="module")
def session() -> Session:
    """One market, two minutes, to its settlement."""
    return synthetic.session(seed=7, events=4000, minutes=2)


@LATENCIES
@pytest.mark.parametrize("every", ["100ms", "7ms", None])
def test_all_forms_write_one_journal(session, latency, every) -> None:
    """Called every so often, or after each change of the book; in Python and compiled."""
    python = Patient() if every is None else Patient().decide
    slow = Backtest(session, python, every=every, latency=latency).run()
    fused = Backtest(session, patient, every=every, latency=latency).run()
    for each in (slow, fused):
        assert each.journal.first_difference(slow.journal) is None
    print(len(slow.journal), len(slow.fills))
    assert len(slow.fills) > 20
    assert slow.simulation.bus.state_bytes() == fused.simulation.bus.state_bytes()
    ours, theirs = (each.simulation.bus.run.seen[10:].tobytes() for each in (slow, fused))
    assert ours == theirs


@LATENCIES
def test_a_function_sees_alike_in_several_markets(latency) -> None:
    """Called by the clock, both forms look at all markets at one moment."""
    session = synthetic.session(seed=8, markets=2, events=4000, minutes=2)
    slow = Backtest(session, Patient().decide, every="20ms", latency=latency).run()
    fused = Backtest(session, patient, every="20ms", latency=latency).run()
    assert slow.digest == fused.digest and len(slow.fills) > 20


@LATENCIES
def test_by_event_in_several_markets_only_causes_differ(latency) -> None:
    """Where bursts of several markets are shown at one moment, `on_book` is called for each and
    names its market's; a compiled strategy is asked once and names the last."""
    session = synthetic.session(seed=8, markets=2, events=4000, minutes=2)
    slow = Backtest(session, Patient(), latency=latency).run()
    fused = Backtest(session, patient, latency=latency).run()
    rows = [np.array(each.journal.rows) for each in (slow, fused)]
    requests = np.isin(rows[0]["kind"], (JournalKind.SUBMITTED, JournalKind.CANCEL_REQUESTED))
    for each in rows:
        for name in ("cause_kind", "cause_market", "cause_row"):
            each[name][requests] = 0
    assert rows[0].tobytes() == rows[1].tobytes() and len(slow.fills) > 20


class Trading(Recorder):
    """Notes every call, and trades in most hooks."""

    def on_start(self, sim: Simulation) -> None:
        super().on_start(sim)
        for second in (10, 30, 50):
            sim.timer(sim.now + second * 10**9 + 1)

    def on_book(self, sim: Simulation, market: str) -> None:
        book = sim.book(market)
        self.note("on_book", sim, (market, book.best_bid, book.best_ask, book.best_bid_qty))
        self.note("holds", sim, (sim.positions.qty(market), len(sim.orders.open(market))))
        if not sim.in_flight(market) and len(sim.orders.open(market)) < 2 and book.best_bid:
            sim.submit(market, Side.BUY, book.best_bid, SIZE)

    def on_timer(self, sim: Simulation, ts: int) -> None:
        super().on_timer(sim, ts)
        sim.cancel_all()
        sim.submit(0, Side.SELL, 9900, SIZE)

    def on_fill(self, sim: Simulation, fill: Any) -> None:
        super().on_fill(sim, fill)
        if sim.orders.open():
            sim.cancel(sim.orders.open()[0].id)


@LATENCIES
def test_hooks_are_called_when_news_arrive(session, latency) -> None:
    """What is of the tape after the feed's delay; what is of the account when it is known, which
    is at once for answers to what a hook sent, where nothing delays those."""
    agent = Trading()
    result = Backtest(session, agent, latency=latency).run()
    response = latency.response.values[0]
    hooks = {hook for hook, *_ in agent.calls}
    assert hooks >= {"on_trade", "on_book", "on_fill", "on_order", "on_timer", "on_end"}
    times = [now for _, now, *_ in agent.calls]
    assert times == sorted(times) and times[-1] == session.end
    for hook, now, _, what in agent.calls:
        if hook in ("on_fill", "on_order"):
            assert now == what.ts + response, hook
        elif hook == "on_trade" and not isinstance(latency.feed, Feed):
            assert now == what.ts + latency.feed.values[0]
        elif hook == "on_trade":
            assert now >= what.ts
        elif hook == "on_timer":
            assert now == what
    rows = result.journal.rows
    known = rows["ts"] + response <= session.end
    told = sum(hook == "on_fill" for hook, *_ in agent.calls)
    assert told == int(((rows["kind"] == JournalKind.FILL) & known).sum()) > 5


@LATENCIES
def test_hooks_know_nothing_of_another_tail(session, latency) -> None:
    """Every call up to t, what it was told and what it saw, is the same whatever comes after t."""
    whole = Trading()
    Backtest(session, whole, latency=latency).run()
    ts = session.tape.rows["ts"]
    for number, part in enumerate((0.2, 0.5, 0.8)):
        t = int(ts[int(len(ts) * part)])
        agent = Trading()
        Backtest(other_tail(session, t, number), agent, latency=latency).run()
        before = [call for call in whole.calls if call[1] <= t]
        assert len(before) > 100 and [call for call in agent.calls if call[1] <= t] == before
        assert agent.calls != whole.calls


class Everything:
    """A subscriber who notes what it is told, and when."""

    def __init__(self, kinds: tuple[type, ...]):
        self.kinds = kinds
        self.told: list[Any] = []

    def apply(self, event: Any) -> None:
        """Note it."""
        self.told.append(event)


def expected_events(result: Any, end: int) -> list[Any]:
    """Return all events of a run in the order in which the agent learnt of them by the end; the
    opening of the account before all."""
    tape, journal = result.session.tape.rows, result.journal.rows
    models = result.config.models
    rows = [dict(zip(row.dtype.names, row.tolist(), strict=True)) for row in journal]
    names = [market.ticker for market in result.session.markets]
    found = [
        (time, 0, number, tape[number])
        for number, time in enumerate(delivery_times(tape, models.latency.feed))
    ] + [
        (time if number else 0, 1, number, journal[number])
        for number, time in enumerate(known_times(rows, models))
    ]
    ordered = sorted((each for each in found if each[0] <= end), key=lambda e: e[:3])
    return [events.from_row(row, names) for _, _, _, row in ordered]


@LATENCIES
@pytest.mark.parametrize("form", ["hooks", "function", "compiled", "compiled by event"])
def test_subscribers_hear_everything_in_order(session, latency, form) -> None:
    """A Python projection is told in the order of the agent's news, however the run is driven."""
    subscriber = Everything((*events.TAPE_EVENTS, *events.JOURNAL_EVENTS))
    agent = {"hooks": Patient(), "function": Patient().decide}.get(form, patient)
    every = None if form in ("hooks", "compiled by event") else "100ms"
    run = Backtest(session, agent, every=every, latency=latency, projections=[subscriber])
    result = run.run()
    if latency.delays_sight:
        assert subscriber.told == expected_events(result, session.end)
    assert len(subscriber.told) > len(session.tape)


@LATENCIES
def test_steps_to_changes_stop_where_they_are_shown(session, latency) -> None:
    """next_change() stands where a change of the book reaches the agent, and ends with the tape."""
    sim = Simulation(session, latency=latency)
    if not latency.delays_sight:
        return
    moments = []
    while sim.advance(next_change()):
        moments.append(sim.now)
        if len(moments) % 50 == 0:
            sim.submit(0, Side.BUY, sim.book().best_bid or 100, SIZE)
    rows = session.tape.rows
    delivered = np.array(delivery_times(rows, latency.feed))
    changes = np.isin(rows["kind"], [kind for kind in TapeKind if BOOK_CHANGES >> kind & 1])
    expected = sorted({time for time in delivered[changes].tolist() if time <= session.end})
    assert moments == expected and sim.now == session.end


@pytest.mark.parametrize("latency", list(SEEN_LATE.values())[:4], ids=list(SEEN_LATE)[:4])
@pytest.mark.parametrize("seed", range(3))
def test_subscribers_of_a_stepped_run(session, latency, seed) -> None:
    """In steps of all sorts, forked in the middle, and beyond the end: the order stays the same."""
    rng = random.Random(seed)
    sim = Simulation(session, latency=latency)
    sim.subscribe(Everything((*events.TAPE_EVENTS, *events.JOURNAL_EVENTS)))
    while sim.events < len(session.tape):
        how = rng.random()
        if how < 0.4:
            sim.advance(events=rng.choice((1, 10, 100)))
        elif how < 0.7:
            sim.advance(until=sim.now + rng.randrange(1, 2 * 10**9))
        else:
            sim.advance(next_change())
        if sim.book().best_bid and rng.random() < 0.5:
            sim.submit(0, Side.BUY, sim.book().best_bid, SIZE)
        if rng.random() < 0.2:
            sim.cancel_all()
        if rng.random() < 0.1:
            sim = sim.fork()
    sim.advance(until=session.end + 10**9)
    told = sim.projections[0].told
    result = Result(sim, Backtest(session, patient, latency=latency).config)
    assert told == expected_events(result, sim.now), f"seed {seed}"
    assert len(sim.journal()) > 100


# Projections of the user's own.


class Told:
    """The kinds of what a Python projection is told, in one number."""

    kinds = (*events.TAPE_EVENTS, *events.JOURNAL_EVENTS)

    def __init__(self) -> None:
        self.said = 0

    def apply(self, event: events.Event) -> None:
        """Fold one event."""
        known = events.TAPE_EVENTS if isinstance(event, events.TapeEvent) else ()
        kind = type(event)
        number = known.index(kind) if known else 50 + events.JOURNAL_EVENTS.index(kind)
        self.said = (self.said * 131 + number) % 1_000_003


def told_tape(words: Any, rows: Any, i: int) -> None:
    """Fold one row of the tape."""
    words[0] = (words[0] * 131 + rows[i]["kind"]) % 1_000_003


def told_journal(words: Any, rows: Any, i: int) -> None:
    """Fold one row of the journal."""
    words[0] = (words[0] * 131 + 50 + rows[i]["kind"]) % 1_000_003


@LATENCIES
def test_projections_are_told_what_has_arrived_in_its_order(latency, session) -> None:
    """Compiled and Python projections hear the same, at any moment and however the run is cut."""
    heard = []
    for steps in (1, 7):
        compiled = CompiledProjection("told", 1, on_tape=told_tape, on_journal=told_journal)
        sim = Simulation(session, latency=latency, projections=[compiled])
        told = Told()
        sim.subscribe(told)
        start, end = session.start, session.start + (session.end - session.start) // 4
        for number in range(8):
            goal = start + (end - start) * (number + 1) // 8
            for step in range(steps):
                sim.advance(until=sim.now + (goal - sim.now) * (step + 1) // steps)
            assert sim.projection("told")[0] == told.said
            if number % 2 == 0 and sim.book(0).best_bid:
                sim.submit(0, Side.BUY, sim.book(0).best_bid, SIZE)
        heard.append(told.said)
    assert heard[0] == heard[1] != 0


@LATENCIES
def test_a_fork_made_by_a_hook_goes_as_far_as_it_is_told(latency, session) -> None:
    """What the player watches for stops the run that it plays, and no fork of it."""
    reached = []

    class Forks:
        def on_book(self, sim: Simulation, market: str) -> None:
            if len(reached) < 5:
                twin = sim.fork()
                until = sim.now + 2_000_000_000
                twin.advance(until=until)
                reached.append(twin.now == until and twin.events > sim.events + 20)

    Backtest(session, Forks(), latency=latency).run()
    Backtest(session, Forks()).run()
    assert reached == [True] * 5


def test_would_reject_judges_expiries_by_the_clock(session) -> None:
    """An order that has expired by now is refused, however old the book is that is seen."""
    sim = Simulation(session, latency=Latency.constant(0, feed="5s"))
    sim.advance(until=session.start + 8_000_000_000)
    bid = sim.book(0).best_bid
    assert sim.would_reject(0, Side.BUY, bid, SIZE, expires=sim.now) is Reason.INVALID_ORDER
    assert sim.would_reject(0, Side.BUY, bid, SIZE, expires=sim.now + 1) is None
