"""A run from the command line: who decides, over what session, and the journal that keeps both."""

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
    Backtest,
    CompiledStrategy,
    FoldbookError,
    JournalError,
    Result,
    Session,
)
from foldbook.engine.band import Band

from .. import journals
from . import failures, plugins, show
from .models import option


@attrs.frozen
class Decider:
    """What decides in a run, as a journal's header keeps it.

    strategy: "module:Name". params: its arguments. every: time between the calls of a function.
    markets: tickers that the run is about; empty for all of the session.
    """

    strategy: str
    params: Mapping[str, Any] = attrs.field(factory=dict)
    every: str | None = None
    markets: tuple[str, ...] = ()

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Decider:
        """Return what `header` kept. Raises JournalError if a library wrote it, not a command."""
        try:
            kept = header["decider"]
            return cls(kept["strategy"], kept["params"], kept["every"], tuple(kept["markets"]))
        except (KeyError, TypeError):
            raise JournalError("its header does not say which strategy to run again") from None

    def backtest(self, session: Session, **settings: Any) -> Backtest:
        """Return the run over a session, not yet begun. Raises UsageError for a wrong setting."""
        strategy = made(self.strategy, self.params)
        try:
            return Backtest(session, strategy, every=self.every, **settings)
        except (ValueError, TypeError) as error:
            raise click.UsageError(str(error)) from error


def made(spec: str, params: Mapping[str, Any]) -> Any:
    """Return a strategy: classes and compiled ones are given the parameters, functions keep them.

    Raises UsageError for parameters that it does not take, StrategyFailed if it raises.
    """
    try:
        found = plugins.strategy(spec)
        if isinstance(found, CompiledStrategy):
            return _bound(found, spec, params)(**params)
        if isinstance(found, type):
            return _bound(found, spec, params)(**params)
        return partial(_bound(found, spec, params), **params) if params else found
    except click.ClickException:
        raise
    except (Exception, SystemExit) as error:  # the user's module or class raised
        raise stopped(error) from error


def _bound(found: Any, spec: str, params: Mapping[str, Any]) -> Callable[..., Any]:
    """Return `found` once it is clear that it takes the parameters by these names."""
    takes_ints = isinstance(found, CompiledStrategy)
    for name, value in params.items():
        if takes_ints and not isinstance(value, int):
            raise click.UsageError(f"strategy {spec!r}: {name}={value} is not an integer")
    try:
        if takes_ints:
            found(**params)
        elif isinstance(found, type):
            inspect.signature(found).bind(**params)
        else:
            inspect.signature(found).bind_partial(**params)
    except TypeError as error:
        raise click.UsageError(f"strategy {spec!r}: {error}") from None
    made_of: Callable[..., Any] = found
    return made_of


def narrowed(session: Session, markets: tuple[str, ...]) -> Session:
    """Return a session of some markets alone, in their order; of none named, the session itself.

    What happens in a market does not depend on the others, so neither do its fills.
    """
    if not markets:
        return session
    return session.select(*(option("--market", session.market_index, each) for each in markets))


def finish(
    decider: Decider, session: Session, journal: Path | None, **settings: Any
) -> tuple[Result, float]:
    """Run to the end; return the result and the seconds it took, and save the journal if asked.

    Raises StrategyFailed, with the journal so far saved, for a strategy that raises.
    """
    backtest = decider.backtest(narrowed(session, decider.markets), **settings)
    began = time.perf_counter()
    try:
        with show.progress("backtest") as report:
            result = backtest.run(progress=report)
    except FoldbookError as error:
        so_far = getattr(error, "result", None)
        if so_far is None:
            raise
        path = journal or Path(tempfile.mkdtemp(prefix="foldbook-")) / "partial.journal"
        save(path, so_far, decider, session)
        raise stopped(error, path) from error
    seconds = time.perf_counter() - began
    if journal is not None:
        save(journal, result, decider, session)
    return result, seconds


def band(result: Result) -> Band:
    """Run a result's strategy between the bounds of its models.

    Raises StrategyFailed for a strategy that raises under other models.
    """
    try:
        return result.band()
    except FoldbookError as error:
        if getattr(error, "result", None) is None:
            raise
        raise stopped(error) from error


def stopped(error: BaseException, journal: Path | None = None) -> failures.StrategyFailed:
    """Return the failure of a strategy, its traceback kept in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="foldbook-"))
    kept = {"traceback": str(failures.keep_traceback(error, folder))}
    return failures.StrategyFailed(error, kept | ({"journal": str(journal)} if journal else {}))


def save(path: Path, result: Result, decider: Decider, session: Session) -> None:
    """Save the journal of a result with all that it takes to do the run again.

    session: the whole one, of which the run may have been about some markets alone.
    """
    source = {**session.source, "name": session.name, "digest": session.digest}
    if "path" in source:
        source["path"] = str(Path(source["path"]).resolve())
    place, _, name = decider.strategy.rpartition(":")
    if place.endswith(".py"):
        decider = attrs.evolve(decider, strategy=f"{Path(place).resolve()}:{name}")
    header = {**result.header(), "session": source, "decider": attrs.asdict(decider)}
    journals.save(path, result.journal.rows, result.journal.places, header)


def opened(path: Path, session: str | None) -> tuple[Result, dict[str, Any]]:
    """Return the result that a journal file tells of, and the file's header.

    session: where it is now, if not where the header says. Raises JournalError if it is another.
    """
    header, rows, places = journals.load(path)
    try:
        source = dict(header["session"])
        digest = source.pop("digest")
        name = source.pop("name", None)
    except (KeyError, TypeError):
        raise JournalError(f"journal {path}: its header names no session") from None
    whole = plugins.session(session) if session else plugins.session_again(source)
    if whole.digest != digest:
        raise JournalError(
            f"journal {path}: is of session {name} with digest {digest}; "
            f"{session or whole.name} has {whole.digest}"
        )
    markets = tuple(header.get("decider", {}).get("markets", ()))
    session_run = narrowed(whole, markets)
    header_run = {**header, "session": {**header["session"], "digest": session_run.digest}}
    return Result.from_journal(session_run, rows, places, header_run), header
