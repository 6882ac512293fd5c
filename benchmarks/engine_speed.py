"""How fast runs are: the fused loop alone, compiled and Python strategies, forks, loading.

All four projections are always on, with an open position, fees, and the portfolio marked after each
burst. Journal rows are written; digests are taken outside the timing. The figures and their targets
are in docs/benchmarks.md.

    foldbook bench fused-loop compiled-maker python-on-book
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from foldbook.adapters import sessions, synthetic
from foldbook.engine import (
    Backtest,
    Feed,
    Gateway,
    JournalKind,
    Latency,
    Queue,
    Session,
    Side,
    Simulation,
    TimeInForce,
    cents,
    contracts,
    dollars,
)
from foldbook.engine.kernels.programs import BOOK_CHANGES
from foldbook.engine.player import play
from foldbook.engine.units import MILLISECOND
from foldbook.examples.market_maker import market_maker

from .harness import Case, benchmark

EVERY = 100 * MILLISECOND
HELD = contracts(10)
EVENTS_PER_SECOND = 1_000


@lru_cache(maxsize=2)
def _session(events: int, minutes: int = 15) -> Session:
    return synthetic.session(seed=7, events=events, minutes=minutes)


def _calm_session(events: int) -> Session:
    """Return a session of whole minutes with EVENTS_PER_SECOND."""
    return _session(events, events // (60 * EVENTS_PER_SECOND))


REALISTIC: dict[str, Any] = {
    "latency": Latency.constant("20ms", response="10ms", feed=Feed.RECORDED),
    "queue": Queue.rebuilt,
}
"""Commands and answers travel, market data too, and cancels in front are known: two books."""


def _opened(session: Session, cash: int = dollars(1000), **models: Any) -> Simulation:
    """Return a simulation after the first burst, holding HELD bought at the ask."""
    sim = Simulation(session, cash=cash, order_capacity=8, **models)
    sim.advance(events=1)
    sim.submit(0, Side.BUY, sim.book(0).best_ask, HELD, tif=TimeInForce.IOC)
    return sim


class _Same:
    """Check that a simulation came to the end of its tape, with the same digest each time."""

    def __init__(self, events: int):
        self.events = events
        self.digest = ""

    def __call__(self, sim: Simulation) -> None:
        assert sim.events == self.events, f"{sim.events} events of {self.events}"
        digest = sim.journal().digest
        assert digest == (self.digest or digest), "the same run had another digest before"
        self.digest = digest
        rows = sim.journal().rows
        fills = rows[rows["kind"] == JournalKind.FILL]
        settled = rows[rows["kind"] == JournalKind.SETTLED]
        assert _signed(fills) == _signed(settled), "what was held is not what was settled"


def _signed(rows: np.ndarray) -> int:
    """Return the sum of quantities, sold ones negative."""
    return int(np.where(rows["side"] == Side.BUY, rows["qty"], -rows["qty"]).sum())


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def fused_loop(size: int) -> Case:
    """Fold a session with a position and one deep resting order a side, and no strategy."""
    session = _session(size)

    def run() -> Simulation:
        sim = _opened(session)
        sim.submit(0, Side.BUY, cents(1), HELD)
        sim.submit(0, Side.SELL, cents(99), HELD)
        sim.advance()
        return sim

    return Case(run, size, "events", _Same(size))


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def fused_loop_at_touch(size: int) -> Case:
    """Fold a session with resting orders at the first best prices, never filled completely."""
    session = _session(size)

    def run() -> Simulation:
        sim = _opened(session, cash=dollars(10**10))
        book = sim.book(0)
        best_bid, best_ask = book.best_bid, book.best_ask
        sim.submit(0, Side.BUY, best_bid, contracts(10**9))
        sim.submit(0, Side.SELL, best_ask, contracts(10**9))
        sim.advance()
        return sim

    return Case(run, size, "events", _Same(size))


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def fused_loop_realistic(size: int) -> Case:
    """Fold a session with latency, the rebuilt queue, and one resting order on each side."""
    session = _session(size)

    def run() -> Simulation:
        sim = _opened(session, **REALISTIC)
        sim.submit(0, Side.BUY, cents(1), HELD)
        sim.submit(0, Side.SELL, cents(99), HELD)
        sim.advance()
        return sim

    return Case(run, size, "events", _Same(size))


def _maker(session: Session, **models: Any) -> Case:
    backtest = Backtest(session, market_maker, every=EVERY, order_capacity=8, **models)

    def run(sim: Simulation) -> Simulation:
        play(sim, market_maker, every=EVERY)
        return sim

    return Case(run, len(session.tape), "events", _Same(len(session.tape)), backtest.simulation)


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def compiled_maker(size: int) -> Case:
    """Run the compiled market maker every 100 ms through 15 busy minutes."""
    return _maker(_session(size))


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def compiled_maker_realistic(size: int) -> Case:
    """Run the compiled market maker every 100 ms with latency and the rebuilt queue."""
    return _maker(_session(size), **REALISTIC)


@benchmark(toy=60_000, full=4_980_000, repeats=15)
def compiled_maker_calm(size: int) -> Case:
    """Run the compiled market maker every 100 ms through a session of 1,000 events a second."""
    return _maker(_calm_session(size))


class _Looker:
    """Read the best bid and the open orders each time, and keep one bid in the market."""

    def __init__(self) -> None:
        self.calls = 0

    def on_book(self, sim: Gateway, market: str) -> None:
        self.calls += 1
        best_bid = sim.book(market).best_bid
        if not sim.orders.open(market) and best_bid:
            sim.submit(market, Side.BUY, cents(1), HELD)


@benchmark(toy=5_000, full=500_000, repeats=7)
def python_on_book(size: int) -> Case:
    """Call on_book in Python after each change of the book; it reads best bid and open orders."""
    session = _session(size)
    rows = session.tape.rows
    changes = BOOK_CHANGES >> rows["kind"].astype(np.int64) & 1
    starts = np.flatnonzero(np.diff(rows["ts"], prepend=-1))
    bursts = int(np.maximum.reduceat(changes, starts).sum())

    def setup() -> tuple[Simulation, _Looker]:
        return Simulation(session, order_capacity=8), _Looker()

    def run(prepared: tuple[Simulation, _Looker]) -> tuple[Simulation, _Looker]:
        play(*prepared)
        return prepared

    same = _Same(size)

    def check(answer: tuple[Simulation, _Looker]) -> None:
        assert answer[1].calls == bursts, f"{answer[1].calls} calls for {bursts} bursts"
        same(answer[0])

    return Case(run, bursts, "callbacks", check, setup)


@benchmark(toy=60_000, full=4_980_000, repeats=7)
def python_every(size: int) -> Case:
    """Call a Python function every 100 ms in a session of 1,000 events a second."""
    session = _calm_session(size)

    def decide(sim: Simulation) -> None:
        if sim.book(0).best_bid and not sim.orders.open(0):
            sim.submit(0, Side.BUY, cents(1), HELD)

    def run(sim: Simulation) -> Simulation:
        play(sim, decide, every=EVERY)
        return sim

    return Case(run, size, "events", _Same(size), lambda: Simulation(session, order_capacity=8))


@benchmark(toy=20, full=20_000, repeats=7)
def fork(size: int) -> Case:
    """Fork a simulation of one market on the cent grid, with eight order slots, three in use."""
    sim = _opened(_session(10_000))
    for price in (1, 2, 99):
        sim.submit(0, Side.BUY if price < 50 else Side.SELL, cents(price), HELD)
    before = sim.bus.state_bytes()

    def run() -> Simulation:
        for _ in range(size):
            twin = sim.fork()
        return twin

    def check(twin: Simulation) -> None:
        assert twin.bus.state_bytes() == before, "a fork is not equal"
        twin.cancel_all()
        assert sim.bus.state_bytes() == before, "a fork is not independent"
        assert len(sim.orders.open()) == 3

    return Case(run, size, "forks", check)


@benchmark(toy=20_000, full=2_000_000, repeats=15)
def load_session(size: int) -> Case:
    """Load a saved session: map its tape, and check it."""
    folder = Path(tempfile.mkdtemp(prefix="foldbook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    saved = sessions.save(_session(size), folder / "session")
    run: Callable[[], Any] = lambda: sessions.load(folder / "session")  # noqa: E731

    def check(session: Session) -> None:
        assert len(session.tape) == size
        sessions.verify_digest(session)
        assert session.digest == saved.digest

    return Case(run, size, "events", check)
