"""Three ways to the same journal: done again, replayed, rebuilt; and the first row that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine import Backtest, JournalKind, Result, Session, StrategyError
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
    saved, run = runs.opened(journal, session)
    if strategy is not None:
        run = attrs.evolve(run, strategy=strategy)
    ways = {
        "rerun": done_again(run.backtest(saved.session)),
        "replay": saved.replay(),
        "rebuild": saved.rebuild(),
    }
    differences = {
        name: difference(saved.journal.rows, result.journal.rows, saved.session)
        for name, result in ways.items()
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


def done_again(backtest: Backtest) -> Result:
    """Run, and return the result; of a strategy that raises, what there was until then."""
    try:
        with show.progress("backtest") as report:
            return backtest.run(progress=report)
    except StrategyError as error:
        found: Result = error.result
        return found


def difference(saved: np.ndarray, found: np.ndarray, session: Session) -> str:
    """Return the first row that differs, with the columns that do; empty if none does."""
    both = min(len(saved), len(found))
    unequal = np.flatnonzero(saved[:both] != found[:both])
    if len(unequal):
        row = int(unequal[0])
        columns = ", ".join(
            f"{name} is {found[row][name]}, was {saved[row][name]}"
            for name in JOURNAL_DTYPE.names or ()
            if found[row][name] != saved[row][name]
        )
        return f"row {row} ({described(saved[row], session)}): {columns}"
    if len(saved) == len(found):
        return ""
    longer, where = (saved, "in the journal only") if len(saved) > both else (found, "new")
    return f"row {both} ({described(longer[both], session)}) is {where}"


def described(row: np.void, session: Session) -> str:
    """Return kind, market and time of a journal row."""
    market = int(row["market"])
    ticker = "account" if market == NO_MARKET else session.markets[market].ticker
    return f"{JournalKind(int(row['kind'])).name} {ticker} ts {row['ts']}"
