"""Three ways to the same run: done again, replayed, rebuilt; and the first thing that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine import FoldbookError, Journal, JournalKind, Result, Session, Simulation
from foldbook.engine.schema import JOURNAL_DTYPE, NO_MARKET

from . import runs, show


@attrs.frozen
class Verdict:
    """Whether all is equal, as JSON and as lines for people."""

    equal: bool
    data: dict[str, Any]
    lines: list[str]


def verify(journal: Path, session: str | None, strategy: str | None) -> Verdict:
    """Compare a journal with the same run done again, replayed and rebuilt.

    session, strategy: where they are now, if not where the journal's header says.
    """
    saved, header = runs.opened(journal, session)
    again = done_again(saved, runs.Decider.from_header(header), strategy)
    replayed = saved.replay()
    differences = {
        "rerun": difference(saved.journal, again.journal, saved.session),
        "replay": difference(saved.journal, replayed.journal, saved.session),
        "rebuild": state_difference(replayed.simulation, saved.rebuild()),
    }
    equal = not any(differences.values())
    data = {
        "journal": str(journal),
        "equal": equal,
        "rows": len(saved.journal.rows),
        "digest": saved.digest,
        **{name: {"equal": not found, "difference": found or None}
           for name, found in differences.items()},
    }
    lines = [f"{name}: {found or 'equal'}" for name, found in differences.items()]
    return Verdict(equal, data, [*lines, f"digest {saved.digest}"])


def done_again(saved: Result, decider: runs.Decider, strategy: str | None) -> Result:
    """Run, and return the result; of a strategy that raises, what there was until then."""
    if strategy is not None:
        decider = attrs.evolve(decider, strategy=strategy)
    settings = {**saved.config.settings(), "seed": saved.config.seed}
    try:
        with show.progress("backtest") as report:
            return decider.backtest(saved.session, **settings).run(progress=report)
    except FoldbookError as error:
        so_far: Result | None = getattr(error, "result", None)
        if so_far is None:
            raise
        return so_far


def difference(saved: Journal, found: Journal, session: Session) -> str:
    """Return the first row that differs, with the columns that do; empty if none does."""
    both = min(len(saved.rows), len(found.rows))
    for row in np.flatnonzero(saved.rows[:both] != found.rows[:both])[:1]:
        was, now = saved.rows[row], found.rows[row]
        columns = ", ".join(f"{name} is {now[name]}, was {was[name]}"
                            for name in JOURNAL_DTYPE.names or () if now[name] != was[name])
        return f"row {row} ({described(was, session)}): {columns}"
    if len(saved.rows) > both:
        return f"row {both} ({described(saved.rows[both], session)}) is in the journal alone"
    if len(found.rows) > both:
        return f"row {both} ({described(found.rows[both], session)}) is not in the journal"
    for row in np.flatnonzero(saved.places != found.places)[:1]:
        return f"row {row} is at place {found.places[row]}, was at {saved.places[row]}"
    return ""


def described(row: np.void, session: Session) -> str:
    """Return kind, market and time of a journal row."""
    market = int(row["market"])
    ticker = "account" if market == NO_MARKET else session.markets[market].ticker
    return f"{JournalKind(int(row['kind'])).name} {ticker} ts {row['ts']}"


def state_difference(replayed: Simulation, rebuilt: Simulation) -> str:
    """Return what differs between the states of two runs; empty if they are the same bytes."""
    if replayed.bus.state_bytes() == rebuilt.bus.state_bytes():
        return ""
    for name in ("now", "events"):
        if getattr(replayed, name) != getattr(rebuilt, name):
            return f"{name} is {getattr(rebuilt, name)}, was {getattr(replayed, name)}"
    return f"positions are {list(rebuilt.positions)}, were {list(replayed.positions)}"
