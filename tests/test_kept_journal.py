"""A run without a journal does what one with it does, and holds few rows at any time."""

from __future__ import annotations

import pytest
from strategies import Quoting, compiled_maker

from foldbook.adapters import synthetic
from foldbook.engine import CompiledProjection, Latency, Simulation, bus, events
from foldbook.engine.kernels.layout import JOURNAL_BASE, JOURNAL_COUNT
from foldbook.engine.player import play
from foldbook.engine.specs import NO_LIMITS
from foldbook.engine.units import SECOND

EVERY = SECOND // 20
LATE = Latency.constant("5ms", response="3ms", feed="2ms")


@pytest.fixture(scope="module")
def session():
    return synthetic.session(seed=5, markets=2, events=20_000, minutes=10)


class Orders:
    """Counts the journal events that it is shown, and adds up their numbers."""

    kinds = (events.Accepted, events.Fill, events.Canceled)

    def __init__(self):
        self.seen = []

    def apply(self, event):
        self.seen.append((type(event).__name__, event.ts, event.order, event.qty))


class Listening(Quoting):
    """The maker that quotes after some changes, and notes every fill and trade it is told of."""

    def __init__(self):
        super().__init__()
        self.told = []
        self.next = 0

    def on_book(self, sim, market):
        # Late sight shows it no answer for a while: it would send the same order again.
        if sim.now >= self.next:
            self.next = sim.now + EVERY
            super().on_book(sim, market)

    def on_fill(self, sim, event):
        self.told.append((sim.now, event.order, event.qty))

    def on_trade(self, sim, event):
        self.told.append((sim.now, event.price, event.qty))


def compiled(sim):
    play(sim, compiled_maker, every=EVERY)


def function(sim):
    play(sim, Quoting(), every=EVERY)


def hooks(sim):
    strategy = Listening()
    play(sim, strategy)
    return strategy.told


def by_hand(sim):
    maker = Quoting()
    for ts in range(sim.session.start, sim.session.end, EVERY):
        sim.advance(until=ts)
        maker(sim)


@pytest.mark.parametrize("latency", [Latency.constant(0), LATE], ids=["at once", "late"])
@pytest.mark.parametrize("drive", [compiled, function, hooks, by_hand])
def test_same_run(session, drive, latency, monkeypatch):
    """State, what projections were shown and what hooks were told are the same without a journal,
    of which few rows are held at the end."""
    monkeypatch.setattr(bus, "_PROGRAM_ROWS", 1)
    monkeypatch.setattr(bus, "_FORGOTTEN_ROWS", 1)
    runs = []
    for keeps in (True, False):
        sim = Simulation(session, latency=latency, journal=keeps)
        orders = Orders()
        if drive is not compiled:
            sim.subscribe(orders)
        runs.append((drive(sim), orders.seen, sim.bus.state_bytes()))
        memory = sim.bus.memory
        held = sum(len(rows) for rows, _ in sim.bus.sealed)
        held += memory[JOURNAL_COUNT] - memory[JOURNAL_BASE]
        assert (held < memory[JOURNAL_COUNT] / 2) == (not keeps)
    assert runs[0] == runs[1]


def note_order(words, rows, i):
    """Fold the place of each row in the order of the bus into a checksum."""
    words[0] += 1
    words[1] = (words[1] * 31 + rows[i]["ts"] + 7 * rows[i]["kind"]) % 1_000_000_007


@pytest.mark.parametrize("latency", [Latency.constant(0), LATE], ids=["at once", "late"])
def test_compiled_projections(session, latency, monkeypatch):
    """Compiled projections fold every journal row, in order, before it is forgotten."""
    monkeypatch.setattr(bus, "_FORGOTTEN_ROWS", 1)
    words = []
    for keeps in (True, False):
        order = CompiledProjection("order", 2, on_tape=note_order, on_journal=note_order)
        sim = Simulation(session, latency=latency, journal=keeps, projections=[order])
        compiled(sim)
        words.append(sim.projection("order").tolist())
    assert words[0] == words[1]
    assert words[0][0] > 1000 + len(session.tape)


def test_projection_of_compiled_strategy(session):
    """What a projection in Python reads behind a compiled strategy is kept until it has."""
    seen = []
    for keeps in (True, False):
        sim = Simulation(session, journal=keeps)
        orders = Orders()
        sim.subscribe(orders)
        compiled(sim)
        seen.append(orders.seen)
    assert len(seen[0]) > 1000
    assert seen[0] == seen[1]


def test_asking_for_it(session):
    """Asking for rows that were not kept says how to keep them; a fork keeps none either."""
    sim = Simulation(session, journal=False)
    compiled(sim)
    for run in (sim, sim.fork()):
        with pytest.raises(TypeError, match="make the run with journal=True"):
            run.journal()


def test_trading_accounts_keep_theirs(session):
    """Accounts that trade with each other read each other's rows."""
    with pytest.raises(ValueError, match="journal: accounts that trade with each other keep"):
        Simulation(session, others=[(1000, NO_LIMITS)], journal=False)
