"""Random strategies over all hooks: whatever they do, a run can be had again in every way."""

from __future__ import annotations

import random
from typing import Any

import pytest

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Mark, Outcome, Result, Side, Simulation, TimeInForce, dollars
from foldbook.engine import bus as bus_module
from foldbook.engine import player as player_module
from foldbook.engine.units import MILLISECOND, SECOND

ACTIONS_MAX = 1500


class RandomStrategy:
    """Does something random in any hook: orders of all kinds, amends, cancels, timers, forks."""

    def __init__(self, seed: int):
        self.rng = random.Random(f"strategy {seed}")
        self.actions = 0
        self.ids: list[int] = []

    def act(self, sim: Simulation, likely: float = 1.0) -> None:
        """Do one thing."""
        rng = self.rng
        if rng.random() >= likely or self.actions >= ACTIONS_MAX:
            return
        self.actions += 1
        draw = rng.random()
        market = rng.randrange(len(sim.session.markets))
        if draw < 0.55:
            self.submit(sim, market)
        elif draw < 0.75 and self.ids:
            sim.cancel(rng.choice(self.ids[-20:]))
        elif draw < 0.9 and self.ids:
            price = rng.choice((None, sim.book(market).best_bid))
            qty = rng.choice((None, rng.randrange(1, 3000)))
            sim.amend(rng.choice(self.ids[-20:]), price, qty)
        elif draw < 0.96:
            sim.timer(sim.now + rng.choice((0, 1, MILLISECOND, 100 * MILLISECOND, SECOND)))
        elif draw < 0.98:
            sim.cancel_all()
        else:
            sim.fork().advance(events=20)

    def submit(self, sim: Simulation, market: int) -> None:
        """Send one order near the touch, now and then an impossible one."""
        rng = self.rng
        if sim.orders.count(market) > 20:
            sim.cancel_all(market)
        side, outcome = rng.choice(tuple(Side)), rng.choice(tuple(Outcome))
        book = sim.book(market, outcome)
        price = book.best_bid if side == Side.BUY else book.best_ask
        expires = rng.choice((None, None, sim.now + 1, sim.now + MILLISECOND, sim.now + SECOND))
        self.ids.append(
            sim.submit(
                market, side, price + rng.choice((-100, 0, 0, 100)), rng.randrange(1, 2000),
                outcome, rng.choice((0, 0, 0, *TimeInForce)), post_only=rng.random() < 0.2,
                reduce_only=rng.random() < 0.1, expires=expires, client_id=self.actions,
            )
        )  # fmt: skip

    def on_start(self, sim: Simulation) -> None:
        self.act(sim)
        sim.timer(sim.now)

    def on_book(self, sim: Simulation, market: str) -> None:
        self.act(sim, 0.2)

    def on_order(self, sim: Simulation, event: Any) -> None:
        self.act(sim, 0.3)

    def on_fill(self, sim: Simulation, event: Any) -> None:
        self.act(sim, 0.7)

    def on_timer(self, sim: Simulation, ts: int) -> None:
        self.act(sim)

    def on_trade(self, sim: Simulation, event: Any) -> None:
        self.act(sim)

    def on_market(self, sim: Simulation, event: Any) -> None:
        self.act(sim)

    def on_end(self, sim: Simulation) -> None:
        self.act(sim)


def assert_same(one: Result, other: Any) -> None:
    """Journals and states are equal, byte for byte."""
    twin = other.simulation if isinstance(other, Result) else other
    assert one.journal.first_difference(twin.journal()) is None
    assert one.simulation.bus.state_bytes() == twin.bus.state_bytes()


@pytest.mark.parametrize("seed", range(24))
def test_any_run_can_be_had_again(seed, monkeypatch) -> None:
    """Replayed without the strategy, rebuilt without matching, and run again in pieces of 13 rows
    with small buffers: the same journal and state. Reactions to expiries are among the causes."""
    session = synthetic.session(
        300 + seed, markets=1 + seed % 3, events=1200, minutes=1, tick=(100, 10, 1)[seed % 3]
    )
    cash = dollars(random.Random(seed).choice((20, 200, 2000)))

    def run(**options: Any) -> Result:
        strategy = RandomStrategy(seed)
        mark = Mark(seed % 2)
        test = Backtest(session, strategy, cash=cash, mark=mark, client_ids=ACTIONS_MAX)
        return test.run(**options)

    result = run()
    assert_same(result, result.replay())
    assert_same(result, result.rebuild())
    monkeypatch.setattr(player_module, "_PROGRESS_ROWS", 13)
    monkeypatch.setattr(bus_module, "_BUFFER_ROWS", 1)
    assert_same(result, run(progress=lambda *done: None))
    for number in range(0, len(result.fills), 25):
        assert f"fill {number} in" in result.explain(number)
