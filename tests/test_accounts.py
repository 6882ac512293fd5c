"""Accounts: each is what it would be alone, and all stand at one time."""

from __future__ import annotations

import pytest

from foldbook.adapters import synthetic
from foldbook.engine import Accounts, Latency, Queue, Side, TimeInForce, contracts, dollars
from foldbook.engine.simulation import Simulation, next_change

SETTINGS = (
    {"cash": dollars(1000)},
    {"cash": dollars(50), "queue": Queue.rebuilt},
    {"cash": dollars(1000), "latency": Latency.constant("30ms", response="10ms", feed="15ms")},
)


@pytest.fixture(scope="module")
def session():
    return synthetic.session(seed=3, events=6_000, minutes=2)


def trade(sim: Simulation) -> None:
    """Take the best ask and rest a bid."""
    book = sim.book(0)
    if book.best_bid and book.best_ask < 10_000:
        sim.submit(0, Side.BUY, book.best_ask, contracts(3), tif=TimeInForce.IOC)
        sim.submit(0, Side.BUY, book.best_bid, contracts(2))
        sim.cancel_all(0)


def test_each_is_what_it_is_alone(session) -> None:
    together = Accounts(session, SETTINGS)
    alone = [Simulation(session, **settings) for settings in SETTINGS]
    step = (session.end - session.start) // 40
    for number in range(1, 41):
        moment = session.start + number * step
        together.advance(moment)
        for sim in alone:
            sim.advance(moment)
        for sim in (*together, *alone):
            trade(sim)
    assert len({sim.journal().digest for sim in together}) == len(SETTINGS)
    for one, twin in zip(together, alone, strict=True):
        assert one.journal().digest == twin.journal().digest
        assert one.bus.state_bytes() == twin.bus.state_bytes()


def test_they_stand_at_one_time(session) -> None:
    together = Accounts(session, SETTINGS[:2])
    assert together.advance(next_change(0))
    for events in (1, 7, 100):
        together.advance(events=events)
        assert len({(sim.now, sim.events) for sim in together}) == 1
    assert together.now == together[1].now


def test_a_fork_leaves_the_accounts_alone(session) -> None:
    together = Accounts(session, SETTINGS)
    together.advance(events=500)
    before = [sim.bus.state_bytes() for sim in together]
    twin = together.fork()
    twin.advance(events=500)
    for sim in twin:
        trade(sim)
    assert [sim.bus.state_bytes() for sim in together] == before
    assert len(twin) == len(together) == 3


def test_no_accounts_are_refused(session) -> None:
    with pytest.raises(ValueError, match="no settings"):
        Accounts(session, ())
