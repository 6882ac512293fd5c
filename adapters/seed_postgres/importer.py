"""Sessions of the database into sessions of ours: read, merge, store.

Each session of the database becomes one session with all its markets. The record has no trades, so
what a decrease was is not known, and no receive times.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import QueueCounts
from foldbook.engine.session import Session, Tape

from .. import sessions
from ..catalogue import without_password
from ..recordings import UNKNOWN, DryRun, KeepGoing, Progress, RecordedMarket, Report
from ..recordings.storing import session_facts
from .database import Database, SeqScope, opened
from .tables import Listed

FORMAT = "seed-postgres"


class SessionLoader:
    """Loads sessions of such a database into memory.

    url: of the database, postgresql://... . keep_going: leave out rows that are refused, which
    costs the trust in their market's book up to its next snapshot; else the first one raises
    TapeError. seq_scope: "market" or "session": see `database.SeqScope`.
    """

    def __init__(self, url: str, *, keep_going: bool = False, seq_scope: SeqScope = None):
        self._url = url
        self._keep_going = keep_going
        self._seq_scope = seq_scope

    def ids(self) -> list[Any]:
        """Return the numbers of the sessions that are there."""
        with opened(self._url) as database:
            return [each.id for each in database.listed]

    def load(self, session_id: Any) -> Session:
        """Return one session, with all its markets.

        Raises TapeError for a session that is not there, that its recorder gave up, or that has a
        row which is refused; CatalogueError if the database cannot be reached.
        """
        with opened(self._url, self._keep_going, self._seq_scope) as database:
            listed = database.session(session_id)
            members = list(database.markets(listed))
        if not members:
            raise TapeError(f"{database.name(listed)}: holds no snapshot of a book")
        return Session(
            Tape(np.concatenate(list(sessions.merge_tapes([each.rows for each in members])))),
            tuple(each.market for each in members),
            name=f"session-{listed.id}",
            source={"database": database.where, "session_id": listed.id},
            facts=_facts(listed, members),
            reopen=(_load_again, (self._url, session_id, self._keep_going, self._seq_scope)),
        )


def import_recording(
    sources: Sequence[str],
    to: Path,
    *,
    session: Annotated[int | None, "This session of the database alone."] = None,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    seq_scope: SeqScope = None,
    progress: Progress | None = None,
) -> list[Report]:
    """Import the sessions of databases into `to`, each as `session-ID`; return a report for each.

    sources: URLs, postgresql://... . session: the number of the one that is wanted. keep_going:
    count what is refused, and go on; else the first refusal raises TapeError. dry_run: do
    everything but write. progress: called with the rows of a session that are read and in all.
    """
    to = Path(to)
    reports: list[Report] = []
    for source in sources:
        with opened(source, keep_going, seq_scope, progress) as database:
            for listed in _wanted(database, session):
                path = to / f"session-{listed.id}"
                if any(report.session == path for report in reports):
                    raise TapeError(f"{database.name(listed)}: a source before it has a session of "
                                    "this number; import them apart")
                reports += _import_one(database, listed, path, dry_run=dry_run)
            if reports:
                reports[-1] = _with_unnamed(reports[-1], *database.rejections.take(UNKNOWN))
    if not reports:
        names = ", ".join(without_password(source) for source in sources)
        raise TapeError(f"{names}: holds no session with a snapshot of a book")
    return reports


def _wanted(database: Database, session: int | None) -> list[Listed]:
    if session is not None:
        return [database.session(session)]
    return [each for each in database.listed if not database.is_refused(each)]


def _import_one(
    database: Database, listed: Listed, path: Path, *, dry_run: bool
) -> list[Report]:
    """Import one session; the tapes of its markets wait on disk until all are there."""
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".import.", dir=None if dry_run else path.parent))
    try:
        members, tapes, gaps = [], [], 0
        for number, each in enumerate(database.markets(listed)):
            file = work / f"{number}.npy"
            np.save(file, each.rows)
            tapes.append(np.load(file, mmap_mode="r"))
            gaps += each.gaps
            members.append(attrs.evolve(each, rows=each.rows[:0]))
        if not members:
            return []
        markets = tuple(each.market for each in members)
        blocks = sessions.merge_tapes(tapes)
        if dry_run:
            # To make a session is to check its tape.
            Session(Tape(np.concatenate(list(blocks))), markets, name=path.name)
        else:
            sessions.write(path, path.name, markets, blocks, facts=_facts(listed, members))
        events = sum(map(len, tapes))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [_report(path, members, events, gaps, is_written=not dry_run)]


def _facts(listed: Listed, members: Sequence[RecordedMarket]) -> dict[str, Any]:
    """Return what reports may say of a session; nothing that decides reads it."""
    return session_facts(FORMAT, members) | {
        "session_id": listed.id, "status": listed.status,
        "started_at": listed.started, "ended_at": listed.ended,
    }


def _report(
    path: Path, members: Sequence[RecordedMarket], events: int, gaps: int, *, is_written: bool
) -> Report:
    reasons = _sum(each.reasons for each in members)
    queue = sum((each.queue for each in members), QueueCounts())
    return Report(
        session=path,
        markets=tuple(each.ticker for each in members),
        events=events,
        read=sum(each.read for each in members),
        joined=0,
        unjoined=0,
        rejected=sum(reasons.values()),
        reasons=reasons,
        examples=tuple(text for each in members for text in each.examples),
        gaps=gaps,
        left_out=_sum(each.left_out for each in members),
        counts=_sum(each.counts for each in members),
        identified=queue.identified,
        ambiguous=queue.ambiguous,
        missing=queue.missing,
        written=is_written,
    )


def _with_unnamed(report: Report, reasons: Counter[str], examples: list[str]) -> Report:
    """Return a report with what was refused of rows that belong to no market that was made."""
    return attrs.evolve(
        report,
        reasons=_sum([report.reasons, reasons]),
        rejected=report.rejected + reasons.total(),
        examples=(*report.examples, *examples),
    )


def _sum(tables: Iterable[Any]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(total)


def _load_again(url: str, session_id: Any, keep_going: bool, seq_scope: SeqScope) -> Session:
    """Return a session in another process."""
    return SessionLoader(url, keep_going=keep_going, seq_scope=seq_scope).load(session_id)
