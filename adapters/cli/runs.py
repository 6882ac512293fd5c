"""A run as a value: what `backtest` is told, a journal's header keeps, and `verify` repeats."""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click

from foldbook.engine import (
    FEE_SCHEDULES,
    Backtest,
    Latency,
    Queue,
    Result,
    Session,
    StrategyError,
    dollars,
)
from foldbook.engine.errors import JournalError

from .. import journals
from . import failures, plugins, show


@attrs.frozen
class Run:
    """Everything but the session that decides what a run does, as JSON holds it.

    strategy: "module:Name". markets: tickers that the strategy is told of; empty for all.
    fees: the name of a schedule; None for the one in force at the session's time.
    """

    strategy: str
    params: Mapping[str, Any] = attrs.field(factory=dict)
    markets: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    cash: str = "1000"
    seed: int = 0
    fees: str | None = None
    latency: str = "0ms"
    queue: str = "conservative"
    every: str | None = None

    def backtest(self, session: Session) -> Backtest:
        """Return the run over a session, not yet begun. Raises UsageError for a wrong option."""
        for ticker in self.markets:
            option("--market", session.market_index, ticker)
        if self.fees is not None and self.fees not in FEE_SCHEDULES:
            known = ", ".join(FEE_SCHEDULES)
            raise click.UsageError(f"--fees: {self.fees!r} is not one of {known}")
        settings = {
            "cash": option("--cash", dollars, self.cash),
            "seed": self.seed,
            "fees": None if self.fees is None else FEE_SCHEDULES[self.fees],
            "latency": option("--latency", Latency.constant, self.latency),
            "queue": option("--queue", Queue.named, self.queue),
            "every": self.every,
            "markets": self.markets or None,
        }
        strategy = made(self.strategy, self.params)
        try:
            return Backtest(session, strategy, **settings)
        except (ValueError, TypeError) as error:
            raise click.UsageError(str(error)) from error

    def header(self, session: Session) -> dict[str, Any]:
        """Return what a journal keeps, so that the run can be done again from the file alone."""
        source = dict(session.source)
        if "path" in source:
            source["path"] = str(Path(source["path"]).resolve())
        return {"session": {**source, "digest": session.digest}, "run": attrs.asdict(self)}

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Run:
        """Return the run that `header` kept. Raises JournalError if it kept none."""
        try:
            return cls(**header["run"])
        except (KeyError, TypeError):
            raise JournalError("journal: its header names no run: it was not saved by a command"
                               ) from None


def option(name: str, convert: Callable[[str], Any], text: str) -> Any:
    """Return the value of an option. Raises UsageError, naming the option, if it has none."""
    try:
        return convert(text)
    except (ValueError, KeyError) as error:
        raise click.UsageError(f"{name}: {error.args[0]}") from None


def made(spec: str, params: Mapping[str, Any]) -> Any:
    """Return a new strategy: classes are called with the parameters, functions keep them."""
    try:
        found = plugins.strategy(spec)
        if not params and not isinstance(found, type):
            return found
        if not callable(found):
            raise click.UsageError(f"strategy {spec!r} takes no parameters")
        try:
            bind = inspect.signature(found).bind if isinstance(found, type) else None
            if bind:
                bind(**params)
        except TypeError as error:
            raise click.UsageError(f"strategy {spec!r}: {error}") from None
        return found(**params) if isinstance(found, type) else partial(found, **params)
    except click.ClickException:
        raise
    except Exception as error:
        raise stopped(error, None) from error


def stopped(error: BaseException, journal: Path | None) -> failures.StrategyFailed:
    """Return the failure of a strategy, its traceback kept in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="foldbook-"))
    kept = {"traceback": str(failures.keep_traceback(error, folder))}
    return failures.StrategyFailed(error, kept | ({"journal": str(journal)} if journal else {}))


def finish(run: Run, session: Session, journal: Path | None) -> tuple[Result, float]:
    """Run to the end; return the result and the seconds it took, and save the journal if asked.

    Raises StrategyFailed, with the journal so far saved, for a strategy that raises.
    """
    backtest = run.backtest(session)
    began = time.perf_counter()
    try:
        with show.progress("backtest") as report:
            result = backtest.run(progress=report)
    except StrategyError as error:
        path = journal or Path(tempfile.mkdtemp(prefix="foldbook-")) / "partial.journal"
        save(path, error.result, run, session)
        raise stopped(error, path) from error
    seconds = time.perf_counter() - began
    if journal is not None:
        save(journal, result, run, session)
    return result, seconds


def save(path: Path, result: Result, run: Run, session: Session) -> None:
    """Save the journal of a result, with what it takes to do the run again."""
    header = {**result.header(), **run.header(session)}
    journals.save(path, result.journal.rows, result.journal.places, header)


def opened(path: Path, session: str | None = None) -> tuple[Result, Run]:
    """Return the result that a journal file holds, over its session or another.

    Raises JournalError if the session that it names is not what it was.
    """
    header, rows, places = journals.load(path)
    run = Run.from_header(header)
    source = dict(header["session"])
    digest = source.pop("digest")
    found = plugins.session(session) if session else plugins.session_again(source)
    if found.digest != digest:
        raise JournalError(
            f"journal {path}: is of a session with digest {digest}, and {session or source} has "
            f"{found.digest}"
        )
    return Result.from_journal(found, rows, places, header), run
