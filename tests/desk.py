"""Small simulations over tapes written by hand, and their journals as short words."""

from __future__ import annotations

from typing import Any

from scenes import Scene

from foldbook.engine import Backtest, Result, Session, Simulation, Tape
from foldbook.engine.schema import JournalKind, Reason
from foldbook.engine.specs import NO_FEES, Market
from foldbook.engine.units import CASH_ONE


def desk(scene: Scene, markets: int = 1, tick: int = 100, **options: Any) -> Simulation:
    """Return a simulation over a scene that was written; markets are M0, M1, ..."""
    options = {"cash": 1000 * CASH_ONE, "fees": NO_FEES} | options
    return Simulation(session_of(scene, markets, tick), **options)


def session_of(scene: Scene, markets: int = 1, tick: int = 100) -> Session:
    """Return a scene as a session."""
    specs = tuple(Market(f"M{index}", tick=tick) for index in range(markets))
    return Session(Tape(scene.rows()), specs, name="scene")


def result_of(sim: Simulation, **options: Any) -> Result:
    """Return the result of a simulation that was made with these options."""
    options = {"cash": 1000 * CASH_ONE, "fees": NO_FEES} | options
    return Result(sim, Backtest(sim.session, lambda sim: None, every=1, **options).config)


def told(sim: Simulation, first: int = 1, requests: bool = False) -> list[tuple[int, str]]:
    """Return (ts, "KIND REASON") of the journal rows from `first` on; requests only if asked."""
    words = []
    for row in sim.journal().rows[first:]:
        kind = JournalKind(row["kind"]).name
        reason = f" {Reason(row['reason']).name}" if row["reason"] else ""
        if requests or not (kind == "SUBMITTED" or kind.endswith("REQUESTED")):
            words.append((int(row["ts"]), kind + reason))
    return words


def last(sim: Simulation) -> str:
    """Return the last of them."""
    return told(sim, requests=True)[-1][1]
