"""Commands that travel: what they find when they arrive, and that a run with delays is repeated."""

from __future__ import annotations

import json
import random

import attrs
import numpy as np
import pytest
from compiled_run import CLIENT_IDS, ORDER_GROUPS, CompiledRun, header_of
from desk import desk, result_of, session_of, told
from drawn_models import SPANS, draw_delay
from reference.latency import CANCEL, ORDER, draw
from scenes import BOOK, BUY, IOC, SELL, Scene, c
from strategies import Maker, Quoting, Recorder
from workloads import drive, make

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Config, MarketStatus, Result, Session, Simulation, Tape
from foldbook.engine.availability import AVAILABILITY_2026_05
from foldbook.engine.errors import CapacityError, StrategyError
from foldbook.engine.kernels.layout import DRIVER_WORDS, FLIGHTS_BESIDE
from foldbook.engine.projections.orders import order_id
from foldbook.engine.schema import NO_MARKET, CauseKind, JournalKind
from foldbook.engine.specs import NO_FEES, Delay, Feed, Latency, Queue
from foldbook.engine.units import MILLISECOND

TEN = Latency.constant(10)


def at(sim: Simulation, ts: int) -> Simulation:
    """Advance to a time."""
    sim.advance(until=ts)
    return sim


# What a command finds.


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (5, [(6, "ACCEPTED"), (19, "CANCELED USER")]),
        (7, [(8, "ACCEPTED"), (20, "FILL"), (21, "CANCEL_REJECTED ORDER_NOT_OPEN")]),
        (6, [(7, "ACCEPTED"), (20, "FILL"), (20, "CANCEL_REJECTED ORDER_NOT_OPEN")]),
    ],
)
def test_a_cancel_races_a_fill(delay, expected) -> None:
    """Sent at 14: it comes before the trade at 20, after it, or after it at the same time."""
    scene = Scene().book(1, BOOK).trade(20, BUY, 48, 500).more(21, BUY, 40, 1)
    scene.more(30, BUY, 40, 1)
    sim = at(desk(scene, latency=Latency.constant(delay)), 1)
    sim.submit(0, BUY, c(49), 100)
    at(sim, 14)
    sim.cancel(sim.orders.open()[0].id)
    assert sim.in_flight(0) == 1
    at(sim, 30)
    assert told(sim) == expected
    assert sim.in_flight(0) == 0


def test_an_amend_overtakes_its_order() -> None:
    """It finds nothing open; one that was sent later finds the order."""
    sim = desk(Scene().book(1, BOOK).more(40, BUY, 40, 1), latency=Latency.constant(10, amend=4))
    id = at(sim, 1).submit(0, BUY, c(40), 100)
    sim.amend(id, c(41))
    sim.decrease(id, by=30)
    at(sim, 8).amend(id, c(42))
    sim.decrease(id, to=70)
    assert sim.in_flight() == 3
    at(sim, 13)
    assert sim.in_flight() == 0
    assert told(sim) == [
        (5, "AMEND_REJECTED ORDER_NOT_OPEN"), (5, "AMEND_REJECTED ORDER_NOT_OPEN"),
        (11, "ACCEPTED"), (12, "AMENDED"), (12, "AMENDED"),
    ]  # fmt: skip
    [order] = sim.orders.open()
    assert (order.price, order.left) == (c(42), 70)


def test_an_order_arrives_after_the_close() -> None:
    """What was sent before a pause or the close is refused behind it."""
    scene = Scene().book(1, BOOK).status(5, MarketStatus.PAUSED).status(20, MarketStatus.CLOSED)
    scene.status(40, MarketStatus.SETTLED, 10_000)
    sim = at(desk(scene, latency=TEN), 1)
    first = sim.submit(0, BUY, c(40), 100)
    at(sim, 11).submit(0, BUY, c(40), 100)
    at(sim, 12).cancel(first)
    at(sim, 40)
    assert told(sim) == [
        (11, "REJECTED TRADING_PAUSED"), (21, "REJECTED MARKET_INACTIVE"),
        (22, "CANCEL_REJECTED MARKET_INACTIVE"),
    ]  # fmt: skip


def test_equal_arrivals_are_first_come_first_served() -> None:
    """Different delays, one arrival: in the order of sending, over markets and kinds."""
    scene = Scene().book(1, BOOK).book(1, BOOK, market=1).more(90, BUY, 40, 1)
    delays = Delay.recorded([0, 2, 3, 4], [20, 19, 18, 17])
    sim = desk(scene, 2, latency=Latency(order=delays, cancel=Delay.constant(16)))
    at(sim, 1).submit(0, BUY, c(41), 10)
    at(sim, 2).submit(1, BUY, c(42), 10)
    first = at(sim, 3).submit(0, BUY, c(43), 10)
    at(sim, 4).submit(1, BUY, c(44), 10)
    at(sim, 5).cancel(first)
    rows = sim.journal().rows
    assert set(rows["arrives"][1:]) == {21}
    at(sim, 21)
    assert len(sim.journal()) == len(rows), "what is due at 21 is due after all of 21"
    at(sim, 22)
    rows = sim.journal().rows[len(rows) :]
    assert rows["price"].tolist() == [c(41), c(42), c(43), c(44), c(43)]
    assert rows["market"].tolist() == [0, 1, 0, 1, 0] and set(rows["ts"]) == {21}
    assert rows["kind"].tolist() == [JournalKind.ACCEPTED] * 4 + [JournalKind.CANCELED]


def test_a_batch_arrives_together() -> None:
    """Drawn delays: a batch has the one of its first request, the next request its own."""
    delays = list(range(10, 400))
    scene = Scene().book(1, BOOK).more(900, BUY, 40, 1)
    for seed in range(5):
        latency = Latency(order=Delay.empirical(delays), cancel=Delay.empirical(delays))
        sim = at(desk(scene, latency=latency, seed=seed), 1)
        with sim.batch():
            first = sim.submit(0, BUY, c(40), 10)
            sim.submit(0, BUY, c(41), 10)
            sim.submit(0, SELL, c(60), 10)
        sim.submit(0, BUY, c(42), 10)
        with sim.batch():
            sim.cancel(first)
            sim.cancel(first)
        with pytest.raises(StrategyError), sim.batch():
            sim.cancel(99)
        sim.cancel(first)
        numbers = (1, 1, 1, 4, 5, 5, 7)
        salts = (ORDER,) * 4 + (CANCEL,) * 3
        expected = [
            1 + delays[draw(seed, number, salt) % len(delays)]
            for number, salt in zip(numbers, salts, strict=True)
        ]
        assert sim.journal().rows["arrives"][1:].tolist() == expected, f"seed {seed}"
        at(sim, 900)
        found = [ts for ts, word in told(sim) if word == "ACCEPTED"]
        assert found == sorted(expected[:4])


def test_orders_in_flight_at_the_end_stay_submitted() -> None:
    """Nothing becomes due at the end of the tape, unless a step by time goes further."""
    sim = at(desk(Scene().book(1, BOOK).more(8, BUY, 40, 1), latency=TEN), 1)
    sim.submit(0, BUY, c(50), 100)
    sim.advance()
    assert sim.now == 8 and sim.in_flight() == 1 and told(sim) == []
    [order] = result_of(sim, latency=TEN).orders
    assert (order.state.name, order.left, order.filled) == ("SUBMITTED", 0, 0)
    assert sim.advance(until=11) and told(sim) == []
    at(sim, 12)
    assert told(sim) == [(11, "ACCEPTED"), (11, "FILL")]


def test_capacity_counts_what_is_on_its_way() -> None:
    """Two slots: two orders on their way fill them, whatever becomes of them on arrival."""
    scene = Scene().book(1, BOOK).book(1, BOOK, market=1).more(90, BUY, 40, 1)
    sim = at(desk(scene, 2, latency=TEN, order_capacity=2), 1)
    sim.submit(0, BUY, c(40), 10)
    sim.submit(0, BUY, 4001, 10)
    with pytest.raises(CapacityError, match="M0: all order slots are taken"):
        sim.submit(0, BUY, c(40), 10)
    sim.submit(1, BUY, c(40), 10)
    assert [sim.in_flight(market) for market in (0, 1)] == [2, 1]
    at(sim, 12)
    assert told(sim)[1] == (11, "REJECTED INVALID_PRICE")
    sim.submit(0, BUY, c(50), 10, tif=IOC)
    with pytest.raises(CapacityError):
        sim.submit(0, BUY, c(40), 10)
    at(sim, 30).submit(0, BUY, c(40), 10)
    room = 2 * 2 * 2 + FLIGHTS_BESIDE - 1
    for _ in range(room):
        sim.cancel(order_id(1, 1))
    with pytest.raises(CapacityError, match=f"{room + 1} commands are in flight; raise"):
        sim.cancel(order_id(1, 1))


# The same again.


def assert_same(one: Simulation, other: Simulation, what: str) -> None:
    """Journals, places, states and seen states are equal, byte for byte."""
    ours, theirs = one.journal(), other.journal()
    assert ours.first_difference(theirs) is None, what
    assert ours.places.tolist() == theirs.places.tolist(), what
    assert one.bus.state_bytes() == other.bus.state_bytes(), what
    ours, theirs = (each.bus.run.seen[DRIVER_WORDS:].tobytes() for each in (one, other))
    assert ours == theirs, f"{what}: what the agent sees"


@pytest.fixture(scope="module")
def session() -> Session:
    """Two markets, a minute each, to their settlement."""
    return synthetic.session(seed=3, markets=2, events=3000, minutes=1)


def drawn_latency(seed: int, session: Session) -> Latency:
    """Return delays of all kinds: constant, drawn, recorded, none."""
    rng = random.Random(f"latency {seed}")
    orders = [draw_delay(rng, (session.start, session.end)) for _ in range(4)]
    feeds = (Feed.RECORDED, Delay.constant(rng.choice(SPANS)), Delay.constant(0))
    return Latency(*orders, feeds[seed % 3])


@pytest.mark.parametrize("seed", range(9))
def test_runs_with_delays_are_repeated(session, seed) -> None:
    """Run twice, replayed, rebuilt, and read from its parts: journal, state and sight are equal."""
    latency = drawn_latency(seed, session)
    options = {"latency": latency, "seed": seed, "order_capacity": 500}
    for agent, every in ((Maker(size=100), "250ms"), (OnceInFlight(), None)):
        result = Backtest(session, agent, every=every, **options).run()
        what = f"seed {seed}, {agent}"
        assert len(result.journal) > 100, what
        again = Backtest(session, agent, every=every, **options).run()
        assert_same(again.simulation, result.simulation, f"{what}: again")
        assert_same(result.replay().simulation, result.simulation, f"{what}: replayed")
        assert_same(result.rebuild(), result.simulation, f"{what}: rebuilt")
        header = json.loads(json.dumps(result.header()))
        rows, places = result.journal.rows, result.journal.places
        read = Result.from_journal(session, rows, places, header)
        assert_same(read.simulation, result.simulation, f"{what}: read")
        assert read.run_digest == result.run_digest and len(read.fills) == len(result.fills)


class OnceInFlight(Quoting):
    """Quotes after each change of a book, once what it sent is answered."""

    def quote(self, sim: Simulation, market: int) -> None:
        """Quote in one market."""
        if not sim.in_flight(market):
            super().quote(sim, market)


@pytest.mark.parametrize("seed", range(100, 116))
def test_random_workloads_with_delays_are_replayed(seed) -> None:
    """Batches, groups, kill switch, limits and all: the requests derive the same rows again.

    Only what the agent sees can be delayed otherwise than as drawn: it causes what was sent.
    """
    workload = make(seed, 900, 120)
    feed = (Feed.RECORDED, Delay.constant(SPANS[seed % len(SPANS)]))[seed % 2]
    latency = attrs.evolve(workload.models.latency, feed=feed)
    models = attrs.evolve(workload.models, latency=latency)
    workload = attrs.evolve(workload, models=models)
    run = CompiledRun(workload)
    drive(run, workload)
    run.bus.follow()
    config = Config(
        cash=workload.cash, seed=models.seed, models=models, mark=workload.mark,
        order_capacity=64, client_ids=CLIENT_IDS, order_groups=ORDER_GROUPS,
    )  # fmt: skip
    journal = run.bus.journal()
    header = header_of(run.bus, config)
    result = Result.from_journal(run.bus.session, journal.rows, journal.places, header)
    replayed = result.replay().simulation
    for each, how in ((result.simulation, "rebuilt"), (replayed, "replayed")):
        what = f"seed {seed}: {how}"
        assert each.bus.journal().first_difference(journal) is None, what
        assert each.bus.state_bytes() == run.bus.state_bytes(), what
        ours, theirs = (one.run.seen[DRIVER_WORDS:].tobytes() for one in (each.bus, run.bus))
        assert ours == theirs, f"{what}: what the agent sees"


def test_drawn_delays_come_from_the_seed(session) -> None:
    """The same seed gives the same arrivals, another one others; all are from the table."""
    table = [3 * MILLISECOND, 8 * MILLISECOND, 21 * MILLISECOND]
    latency = Latency(order=Delay.empirical(table), cancel=Delay.empirical(table))
    options = {"every": "250ms", "latency": latency, "order_capacity": 500}
    runs = [Backtest(session, Maker(), seed=seed, **options).run() for seed in (5, 5, 6)]
    assert runs[0].digest == runs[1].digest != runs[2].digest
    rows = runs[0].journal.rows
    sent = rows[rows["arrives"] > 0]
    lags, counts = np.unique(sent["arrives"] - sent["ts"], return_counts=True)
    assert lags.tolist() == table and counts.min() > len(sent) // 5
    answers = rows[np.isin(rows["kind"], (JournalKind.ACCEPTED, JournalKind.REJECTED))]
    assert set(answers["ts"].tolist()) <= set(sent["arrives"].tolist())


def test_recorded_delays_are_those_of_their_time(session) -> None:
    """Each request travels as long as the last measurement before it says."""
    first, last = session.start, session.end
    times = [first + (last - first) * part // 4 for part in range(1, 4)]
    values = [1 * MILLISECOND, 30 * MILLISECOND, 2 * MILLISECOND]
    latency = Latency(order=Delay.recorded(times, values))
    rows = Backtest(session, Maker(), every="250ms", latency=latency).run().journal.rows
    sent = rows[rows["kind"] == JournalKind.SUBMITTED]
    at_hand = np.maximum(np.searchsorted(times, sent["ts"], side="right") - 1, 0)
    assert (sent["arrives"] - sent["ts"] == np.array(values)[at_hand]).all()
    assert len(np.unique(at_hand)) == 3


ZEROS = {
    "constant": Latency.constant("0ns", response=0, feed=0),
    "drawn": Latency(*[Delay.empirical([0, 0, 0])] * 4),
    "recorded": Latency(*[Delay.recorded([5, 9], [0, 0])] * 4),
}


@pytest.mark.parametrize("latency", ZEROS.values(), ids=ZEROS.keys())
def test_zero_latency_is_no_latency(session, latency) -> None:
    """Delays of zero of any kind: the same journal and state, byte for byte."""
    for agent, every in ((Maker(), "250ms"), (Quoting(), None)):
        plain = Backtest(session, agent, every=every).run()
        zero = Backtest(session, agent, every=every, latency=latency).run()
        assert_same(zero.simulation, plain.simulation, f"{agent}")


def test_a_feed_that_comes_at_once_shows_the_same() -> None:
    """All rows received when they happened: seen apart from the venue, and yet the same."""
    session = synthetic.session(seed=4, events=3000, minutes=1)
    rows = np.array(session.tape.rows)
    rows["recv"] = rows["ts"]
    session = Session(Tape(rows), session.markets, name="at once")
    latency = Latency(feed=Feed.RECORDED)
    for agent, every in ((Maker(), "250ms"), (Quoting(), None)):
        plain = Backtest(session, agent, every=every).run()
        shown = Backtest(session, agent, every=every, latency=latency).run()
        assert shown.simulation.bus.sees_late
        assert_same_journal(shown, plain)


def assert_same_journal(one: Result, other: Result) -> None:
    """Journals are equal."""
    assert one.journal.first_difference(other.journal) is None and len(one.journal) > 100


# Around a run.


def test_timers_are_on_time() -> None:
    """Between two news, at the very time, and not beyond the end of the tape."""
    scene = Scene().book(1, BOOK)
    for ts in range(100, 1000, 100):
        scene.more(ts, BUY, 40, 1)

    class Timed(Recorder):
        def on_start(self, sim: Simulation) -> None:
            for ts in (901, 33, 149, 33, 850):
                sim.timer(ts)

        def on_timer(self, sim: Simulation, ts: int) -> None:
            super().on_timer(sim, ts)
            if ts == 33:
                with pytest.raises(StrategyError, match="before now"):
                    sim.timer(32)
            sim.submit(0, BUY, c(41), 10)

    agent = Timed()
    latency = Latency.constant(7, response=9, feed=49)
    result = Backtest(session_of(scene), agent, latency=latency, fees=NO_FEES).run()
    calls = [call for call in agent.calls if call[0] == "on_timer"]
    assert [call[1:] for call in calls] == [
        (ts, (CauseKind.TIMER, NO_MARKET, 0), ts) for ts in (33, 33, 149, 850)
    ]
    rows = result.journal.rows
    sent = rows[rows["kind"] == JournalKind.SUBMITTED]
    assert sent["ts"].tolist() == [33, 33, 149, 850]
    assert set(sent["cause_kind"]) == {CauseKind.TIMER}
    orders = [call for call in agent.calls if call[0] == "on_order"]
    assert [call[1] for call in orders] == [33 + 16, 33 + 16, 149 + 16, 850 + 16]
    books = [call[1] for call in agent.calls if call[0] == "on_book"]
    assert books == [50, *range(149, 900, 100)]


def test_a_band_with_latency(session) -> None:
    """The kindest run has no delays, the harshest twice those of the chosen one."""
    latency = Latency.constant("20ms", cancel="5ms", response="10ms", feed=Feed.RECORDED)
    result = Backtest(session, OnceInFlight(), latency=latency).run()
    band = result.band()
    assert [case.latency for case in band.cases] == [
        "none", "order=20ms,amend=20ms,cancel=5ms,response=10ms,feed=recorded",
        "order=40ms,amend=40ms,cancel=10ms,response=20ms,feed=recorded",
    ]  # fmt: skip
    assert band.chosen.digest == result.digest and band.chosen.fills == len(result.fills) > 10
    double = attrs.evolve(latency, **{
        name: Delay((2 * getattr(latency, name).values[0],))
        for name in ("order", "amend", "cancel", "response")
    })  # fmt: skip
    gone = {"availability": AVAILABILITY_2026_05}
    harsh = Backtest(session, OnceInFlight(), latency=double, **gone).run()
    kind = Backtest(session, OnceInFlight(), queue=Queue.optimistic).run()
    assert band.pessimistic.digest == harsh.digest and band.optimistic.digest == kind.digest


@pytest.mark.parametrize("kill_at", [1, 5, 12, 40])
def test_the_kill_switch_reaches_what_is_on_its_way(kill_at) -> None:
    """Orders that arrive after it are refused; those that are known to be open are canceled."""
    latency = Latency.constant(10, response=20)
    sim = at(desk(Scene().book(1, BOOK).more(99, BUY, 40, 1), latency=latency), 1)
    sim.submit(0, BUY, c(40), 100)
    at(sim, kill_at).kill()
    at(sim, 99)
    word = [text for _, text in told(sim) if not text.startswith("CANCEL_REJECTED")][-1]
    assert word == {1: "REJECTED KILLED", 5: "REJECTED KILLED"}.get(kill_at, word)
    if kill_at == 40:
        assert word == "CANCELED USER"
