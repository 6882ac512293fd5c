"""Finds and explains what is wrong with stored sessions; it repairs nothing.

A session that does not load is explained as far as its files can be read; one that loads is checked
row by row (`checkup`), and all of them are held against each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.kernels import check
from foldbook.engine.session import Session
from foldbook.engine.specs import Market

from . import folder
from .about import markets_of
from .below import paths_below
from .checkup import check_up
from .findings import Finding, Place, Problem, Severity
from .folder import ABOUT_FILE, PORTABLE_FILE, TAPE_FILE, load, verify_digest, verify_portable
from .portable import read_about

PARQUET = ".parquet"
"""A file that is a session by itself ends so; in a folder only folders are looked for."""
RULES = {
    check.BACKWARDS: "time falls: what came before would be seen after",
    check.NO_SUCH_MARKET: "the row belongs to no market of the session",
    check.NO_SUCH_KIND: "the row is of a kind that this version does not know",
    check.NO_SUCH_SIDE: "the row stands on neither side of the book",
    check.OFF_GRID: "the price is no level of the market's tick",
    check.BAD_QTY: "the quantity is not positive, or beyond any that can be",
    check.BELOW_ZERO: "more leaves the level than it holds: something before it is missing",
    check.UNTRUSTED: "the book changes where it is not known",
    check.STRAY_LEVEL: "a level of a snapshot stands apart from its snapshot",
    check.NOT_JOINED: "a trade says that its decrease follows, and it does not",
    check.CROSSED: "a bid stands at or above an ask when the burst is over: nobody could trade so",
    check.BAD_STATUS: "the status or its payout does not exist",
    check.BAD_GRID: "the price grid does not fit the market's tick",
    check.BAD_FEE: "the fee rate is none",
    check.BAD_TERM: "the close time or strike is none",
}
"""What each broken rule of `engine.kernels.check` says about the recording."""


@attrs.frozen
class Diagnosis:
    """What was looked at, and what was found, session by session, the worst first.

    sessions: where they lie, or their names if they lie nowhere.
    """

    sessions: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are more than notes."""
        return tuple(each for each in self.findings if each.severity > Severity.NOTE)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong; notes do no harm."""
        return not self.problems


def diagnose(given: Iterable[str | os.PathLike[str] | Session]) -> Diagnosis:
    """Return what is wrong with sessions: paths of one or of folders of many, or loaded ones.

    Raises TapeError where there is neither a session nor a folder with any.
    """
    places: dict[str, Path | Session] = {}
    for each in given:
        if isinstance(each, Session):
            places.setdefault(each.name, each)
        else:
            places.update((str(place), place) for place in find_sessions(each))
    found: list[Finding] = []
    spans: list[tuple[str, int, int, str]] = []
    session: Session | None
    for place in places.values():
        if isinstance(place, Session):
            session, findings = place, check_up(place)
        else:
            session, findings = examine(place)
        found += findings
        if session is not None:
            # The session itself is let go: there may be more of them than files may be open.
            spans += _spans(session)
    return Diagnosis(tuple(places), (*found, *_twice(spans)))


def find_sessions(path: str | os.PathLike[str]) -> list[Path]:
    """Return the sessions at a path, also what is left of damaged ones, in order of their names.

    Raises TapeError if there is none.
    """
    top = Path(path)
    if _is_session(top) or (top.is_file() and top.suffix == PARQUET):
        return [top]
    if not top.is_dir():
        raise TapeError(f"{top}: is no session, and no folder of any")
    found = [
        each for each in paths_below(top)
        if _is_session(each)
        and not any(part.startswith(".") for part in each.relative_to(top).parts)
    ]
    if not found:
        raise TapeError(f"{top}: holds no session")
    return found


def examine(path: str | os.PathLike[str]) -> tuple[Session | None, list[Finding]]:
    """Return the session at a path, None if it does not load, and what is wrong with it."""
    place = Path(path)
    try:
        session = load(place)
    except TapeError as error:
        return None, [_unloadable(place, error)]
    found = []
    for problem, verify in (
        (Problem.DIGEST, lambda: verify_digest(session)),
        (Problem.FILE, lambda: verify_portable(place)),
    ):
        try:
            verify()
        except TapeError as error:
            found.append(Finding(problem, Severity.ERROR, str(place), str(error)))
    return session, found + check_up(session)


def _is_session(path: Path) -> bool:
    names = (ABOUT_FILE, TAPE_FILE, PORTABLE_FILE)
    return path.is_dir() and any((path / name).is_file() for name in names)


def _unloadable(place: Path, error: TapeError) -> Finding:
    """Say why a session does not load: a file, or a rule that a row breaks."""
    broken = _broken_rule(place)
    if broken is None:
        return Finding(Problem.FILE, Severity.ERROR, str(place), str(error))
    return attrs.evolve(broken, text=f"{error}: {broken.text}")


def _spans(session: Session) -> Iterator[tuple[str, int, int, str]]:
    """Yield (ticker, first ts, last ts, session) of each market that has rows."""
    name = str(session.source.get("path", session.name))
    rows = session.tape.rows
    if not len(rows):
        return
    order = np.argsort(rows["market"], kind="stable")
    present, starts = np.unique(rows["market"][order], return_index=True)
    ends = np.append(starts[1:], len(order)) - 1
    for index, first, last in zip(present, order[starts], order[ends], strict=True):
        yield session.markets[index].ticker, int(rows["ts"][first]), int(rows["ts"][last]), name


def _twice(spans: Iterable[tuple[str, int, int, str]]) -> Iterator[Finding]:
    """Find markets that several sessions hold at the same time."""
    latest: dict[str, tuple[int, str]] = {}
    for ticker, start, end, name in sorted(spans):
        before = latest.get(ticker)
        if before is not None and start <= before[0]:
            yield Finding(Problem.DUPLICATE, Severity.WARNING, name,
                          f"it holds the market at times at which {before[1]} holds it too",
                          ticker)
        latest[ticker] = max(before or (end, name), (end, name))


def _broken_rule(place: Path) -> Finding | None:
    """Return which row of a stored tape breaks which rule; None if that is not what is wrong."""
    try:
        markets, rows = unchecked(place)
    except TapeError:
        return None
    ticks = np.array([market.tick for market in markets], np.int64)
    sizes = [check.market_words(market.tick) for market in markets]
    bases = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    fault, number = check.find_fault(rows, ticks, bases, np.zeros(sum(sizes), np.int64))
    if fault == check.VALID:
        return None
    row = rows[number]
    at = int(row["market"])
    ticker = markets[at].ticker if 0 <= at < len(markets) else None
    return Finding(Problem.RULE, Severity.ERROR, str(place), RULES[int(fault)], ticker,
                   (Place(int(number), int(row["ts"])),))


def unchecked(place: Path) -> tuple[tuple[Market, ...], np.ndarray]:
    """Return markets and rows as they are stored, before any rule is held against them.

    Raises TapeError where the files cannot be read at all.
    """
    about = read_about(place) if place.is_file() else folder._about(place)
    return markets_of(about, place), folder._rows(place, about)
