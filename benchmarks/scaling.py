"""What work costs as it grows: events, markets, open orders, environments and levels.

Each series holds all but one size still, checks the answer of every run, and counts seconds of the
processor, the least of a few runs. What grows faster than linearly is named.

    python -m foldbook.benchmarks.scaling --to benchmarks/results/scaling.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np

from foldbook.adapters import synthetic
from foldbook.adapters.cli.places import FILE
from foldbook.adapters.gym import MarketVectorEnv
from foldbook.engine import Backtest, Side, Simulation, cents, contracts, dollars
from foldbook.examples.market_maker import market_maker

from .env_speed import FOUR
from .machine import about_machine
from .plots import slope

RUNS = 3
FASTER = 1.1
"""A power of growth above this is called faster than linear; below it lies noise."""
Work = Callable[[], None]


@attrs.frozen
class Series:
    """One size that grows. prepare(size) returns what is timed; it checks its own answer.

    toy: the sizes of the test suite. big: sizes that are run on demand only.
    """

    name: str
    unit: str
    what: str
    prepare: Callable[[int], Work]
    sizes: tuple[int, ...]
    toy: tuple[int, ...]
    big: tuple[int, ...] = ()

    def measure(self, sizes: tuple[int, ...]) -> dict[str, Any]:
        """Return seconds for each size, and the power with which they grow from the second on.

        The smallest size is left out of the power where there are enough: what every run costs,
        however small, stands in it.
        """
        points = []
        for size in sizes:
            work = self.prepare(size)
            work()
            points.append((size, min(_seconds(work) for _ in range(RUNS))))
        power = slope(points[1:] if len(points) > 2 else points)
        return {"name": self.name, "unit": self.unit, "what": self.what, "points": points,
                "power": power, "is_faster_than_linear": power > FASTER}  # fmt: skip


def _seconds(work: Work) -> float:
    began = time.process_time()
    work()
    return max(time.process_time() - began, 1e-9)


def _events(size: int) -> Work:
    minutes = max(15, size // 4_000_000)
    session = synthetic.session(seed=7, events=size, minutes=minutes)

    def work() -> None:
        sim = Simulation(session)
        sim.advance()
        assert sim.events == size

    return work


def _markets(size: int) -> Work:
    session = synthetic.session(seed=7, events=1000, markets=size)
    backtest = Backtest(session, market_maker, every="1s", order_capacity=8, cash=dollars(10**6))

    def work() -> None:
        assert backtest.run().simulation.events == 1000 * size

    return work


def _orders(size: int) -> Work:
    session = synthetic.session(seed=7, events=200_000)

    def work() -> None:
        sim = Simulation(session, cash=dollars(10**6), order_capacity=size + 1)
        sim.advance(events=1)
        for _ in range(size):
            sim.submit(0, Side.BUY, cents(1), contracts(1))
        assert len(sim.orders.open()) == size
        sim.advance()
        assert sim.events == 200_000

    return work


def _environments(size: int) -> Work:
    session = synthetic.session(seed=7, events=200_000)
    env = MarketVectorEnv(session, size, observation=FOUR, cadence=10, start="random",
                          max_steps=1000)  # fmt: skip
    env.reset(seed=7)
    actions = np.random.default_rng(7).integers(0, 5, (20, size))

    def work() -> None:
        for row in actions:
            assert np.isfinite(env.step(row)[0]).all()

    return work


def _levels(size: int) -> Work:
    session = synthetic.session(seed=7, events=200_000, tick=10_000 // (size - 1))
    assert session.markets[0].levels == size

    def work() -> None:
        sim = Simulation(session)
        sim.advance()
        assert sim.events == 200_000

    return work


SERIES = (
    Series("events", "events", "replay of one market", _events,
           (10**4, 10**5, 10**6, 10**7), (1_000, 10_000), (10**8,)),
    Series("markets", "markets", "a compiled maker in every market, 1,000 events each", _markets,
           (1, 10, 100, 1000), (1, 4)),
    Series("orders", "open orders", "replay of 200,000 events with orders at one cent", _orders,
           (1, 4, 16, 64, 256), (1, 4)),
    Series("environments", "environments", "twenty steps of all, ten events each", _environments,
           (1, 16, 256, 4096), (1, 4)),
    Series("levels", "levels", "replay of 200,000 events on finer grids", _levels,
           (101, 1001, 10_001), (101, 1001)),
)  # fmt: skip


def measure(*, is_toy: bool = False, is_big: bool = False) -> list[dict[str, Any]]:
    """Return each series, measured."""
    return [
        each.measure(each.toy if is_toy else each.sizes + (each.big if is_big else ()))
        for each in SERIES
    ]


def verdict(measured: list[dict[str, Any]]) -> str:
    """Return the line that names what grows faster than linearly.

    >>> verdict([{"name": "events", "power": 1.0, "is_faster_than_linear": False}])
    'Nothing grows faster than linearly.'
    """
    faster = [f"{each['name']} (power {each['power']:.2f})" for each in measured
              if each["is_faster_than_linear"]]  # fmt: skip
    return f"Faster than linearly grow: {', '.join(faster)}." if faster else (
        "Nothing grows faster than linearly."
    )  # fmt: skip


@click.command()
@click.option("--toy", is_flag=True, help="Tiny sizes: does it work, not how fast is it.")
@click.option("--big", is_flag=True, help="The largest sizes too: 10^8 events, some 4 GB.")
@click.option("--to", type=FILE, help="File for the results, JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(toy: bool, big: bool, to: Path | None, as_json: bool) -> None:
    """Measure how cost grows with work. Example: scaling --toy"""
    measured = measure(is_toy=toy, is_big=big)
    answer = {"machine": about_machine(), "series": measured, "verdict": verdict(measured)}
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(answer, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(answer))
        return
    for each in measured:
        click.echo(f"{each['name']}: {each['what']} (power {each['power']:.2f})")
        for size, seconds in each["points"]:
            click.echo(f"  {size:>12,} {each['unit']}: {seconds:.6f} s")
    click.echo(verdict(measured))


if __name__ == "__main__":
    main(prog_name="scaling")
