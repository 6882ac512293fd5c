"""Seeded random workloads: a valid tape, models, and commands that try everything there is.

The tape is drawn first; the commands are then drawn while the reference runs over it, so that they
aim at what is there (the touch, the position, the orders that are open). A workload is plain data:
`drive` applies it to the reference and to the compiled simulation alike.
"""

from __future__ import annotations

import random

import attrs
from agents import Agent
from drawn_models import draw_models, draw_risk
from drives import Command, Drivable, Workload, apply, drive, send
from occurrences import EVERYTHING, coverage, tape_coverage
from tapes import Recorder, TapeBuilder

from foldbook.engine.schema import Mark
from foldbook.engine.specs import NO_LIMITS, Delay, Market, Models
from foldbook.engine.units import PRICE_ONE

__all__ = [
    "EVERYTHING",
    "Command",
    "Drivable",
    "TapeBuilder",
    "Workload",
    "apply",
    "coverage",
    "drive",
    "make",
    "send",
    "tape_coverage",
]


def with_event(
    markets: tuple[Market, ...], models: Models, seed: int
) -> tuple[tuple[Market, ...], Models]:
    """Put two or more of several markets into one event that returns collateral, for a third of
    all seeds."""
    rng = random.Random(f"foldbook event {seed}")
    if len(markets) < 2 or rng.random() > 0.34:
        return markets, models
    members = rng.sample(markets, rng.randint(2, len(markets)))
    markets = tuple(
        attrs.evolve(market, event="RANDOM" if market in members else "") for market in markets
    )
    return markets, attrs.evolve(models, collateral_return=True)


def make(seed: int, events: int = 2000, commands: int = 200, accounts: int = 1) -> Workload:
    """Return the workload of `seed`: at least so many tape rows, and at least so many commands, of
    accounts that trade with each other where there are several."""
    rng = random.Random(f"foldbook workload {seed}")
    recorder = Recorder(rng, events)
    rows = recorder.record()
    typical = PRICE_ONE * recorder.typical_qty
    cash = rng.choice((2, 10, 60, 1000)) * typical
    if rng.random() < 0.3:
        cash += rng.randrange(typical)
    times = (int(rows["ts"][0]), int(rows["ts"][-1]))
    models = draw_models(rng, times, recorder.typical_qty, cash)
    mark = rng.choice((Mark.MID, Mark.MID, Mark.CLOSE))
    markets, models = with_event(recorder.specs, models, seed)
    workload = Workload(seed, rows, markets, cash, models, mark, ())
    if accounts > 1:
        workload = with_others(workload, accounts, recorder.typical_qty)
    agent = Agent(rng, workload, recorder.typical_qty)
    return attrs.evolve(workload, commands=tuple(agent.commands(commands)))


def with_others(workload: Workload, accounts: int, typical_qty: int) -> Workload:
    """Give a workload more accounts on its book, with cash and limits of their own."""
    rng = random.Random(f"foldbook accounts {workload.seed}")
    none = Delay.constant(0)
    latency = attrs.evolve(workload.models.latency, response=none, feed=none)
    others = []
    for _ in range(accounts - 1):
        cash = max(1, workload.cash * rng.choice((1, 2, 4, 8)) // rng.choice((1, 2, 8)))
        risk = draw_risk(rng, typical_qty, cash) if rng.random() < 0.4 else NO_LIMITS
        others.append((cash, risk))
    models = attrs.evolve(workload.models, latency=latency)
    return attrs.evolve(workload, models=models, others=tuple(others))
