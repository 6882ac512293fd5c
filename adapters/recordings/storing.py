"""Markets of recordings into sessions: one each, or all in one; checked alone in a dry run.

A session is written to its place in one step, and nothing that was stored before is touched by a
failure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import QueueCounts
from foldbook.engine.schema import TapeKind
from foldbook.engine.session import Tape, check_tape
from foldbook.engine.specs import Market

from .. import sessions
from .reports import Report

RAW_COUNTS = ("snapshots", "deltas", "trades")
"""Counts of raw messages that every report has."""


@attrs.frozen(eq=False)
class RecordedMarket:
    """One market of one recording, ready to be stored.

    rows: its tape, TAPE_DTYPE, market index 0. recording, files: where it is from, for people.
    counts: raw messages by kind (RAW_COUNTS), and more. facts: what `describe` may say of it.
    feed_offset_ns: smallest receive minus exchange time. session_facts: facts of its session.
    is_unlisted: metadata was given, and has no record of it.
    """

    market: Market
    rows: np.ndarray
    recording: str
    files: tuple[str, ...]
    read: int = 0
    joined: int = 0
    unjoined: int = 0
    counts: Mapping[str, int] = attrs.field(factory=dict)
    reasons: Mapping[str, int] = attrs.field(factory=dict)
    examples: Sequence[str] = ()
    left_out: Mapping[str, int] = attrs.field(factory=dict)
    queue: QueueCounts = attrs.field(factory=QueueCounts)
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    feed_offset_ns: int | None = None
    has_receipts: bool = True
    session_facts: Mapping[str, Any] = attrs.field(factory=dict)
    is_unlisted: bool = False

    events: int = attrs.field()
    """Rows of the tape: known where the rows are not at hand, too."""
    gaps: int = attrs.field()

    @events.default
    def _count_events(self) -> int:
        return len(self.rows)

    @gaps.default
    def _count_gaps(self) -> int:
        return int(np.count_nonzero(self.rows["kind"] == TapeKind.GAP))

    @property
    def ticker(self) -> str:
        return self.market.ticker

    def without_rows(self) -> RecordedMarket:
        """Return the same, for whoever has the rows elsewhere."""
        return attrs.evolve(self, rows=self.rows[:0].copy())


class Store:
    """Takes markets one by one, and answers with a report for each session. Use it in a `with`.

    One session is written while the next one is made.

    to: folder of the sessions. format: name of the importer. work: an existing folder for tapes
    that wait; the caller removes it. group: one session of all markets, not one each. dry_run:
    check, and write nothing below `to`.
    """

    def __init__(self, to: Path, format: str, work: Path, *, group: bool, dry_run: bool):
        self._to = Path(to)
        self._format = format
        self._work = work
        self._group = group
        self._dry_run = dry_run
        self._background = sessions.Background()
        self._origins: dict[str, str] = {}
        self._reports: list[Report] = []
        self._waiting: list[tuple[int, RecordedMarket, Path]] = []

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._background.__exit__(kind, error, trace)

    def add(self, recorded: RecordedMarket) -> None:
        """Store a market, or keep it until all are there. Raises TapeError for one that is no
        valid tape (if not now, then with the next one), cannot name a folder, or was there before.
        """
        self._check(recorded)
        if self._group:
            path = self._work / f"{len(self._waiting)}.npy"
            np.save(path, recorded.rows)
            self._wait(recorded, path, int(recorded.rows["recv"][0]))
            return
        path = self._to / recorded.ticker
        self._write(path, recorded.ticker, (recorded.market,), [recorded.rows], [recorded])
        self._reports.append(self._report(path, [recorded]))

    def add_made(self, recorded: RecordedMarket, path: Path) -> None:
        """Take a market that another process has prepared, as `add` does.

        path: where its session lies, which is put in its place; of a group: its rows (npy). After
        a dry run nothing needs to lie there: it has been checked.
        """
        self._check(recorded)
        if self._group:
            self._wait(recorded, path, int(np.load(path, mmap_mode="r")["recv"][0]))
            return
        target = self._to / recorded.ticker
        if not self._dry_run:
            sessions.move(path, target)
        self._reports.append(self._report(target, [recorded]))

    def reports(self) -> list[Report]:
        """Store what waits, and return a report for each session, in order, once all are there."""
        if self._waiting:
            self._merge()
        self._background.finish()
        return self._reports

    def _check(self, recorded: RecordedMarket) -> None:
        check_ticker(recorded)
        if recorded.ticker in self._origins:
            raise TapeError(f"market {recorded.ticker}: is in two recordings, "
                            f"{self._origins[recorded.ticker]} and {recorded.recording}; import "
                            "them apart")
        self._origins[recorded.ticker] = recorded.recording

    def _wait(self, recorded: RecordedMarket, path: Path, first_recv: int) -> None:
        self._waiting.append((first_recv, recorded.without_rows(), path))

    def _merge(self) -> None:
        self._waiting.sort(key=lambda each: (each[0], each[1].ticker))
        members = [each for _, each, _ in self._waiting]
        markets = tuple(each.market for each in members)
        tapes = [np.load(path, mmap_mode="r") for _, _, path in self._waiting]
        series = {market.ticker.partition("-")[0] for market in markets}
        name = series.pop() if len(series) == 1 else "group"
        self._write(self._to / name, name, markets, sessions.merge_tapes(tapes), members)
        self._reports.append(self._report(self._to / name, members))
        self._waiting = []

    def _write(
        self, path: Path, name: str, markets: tuple[Market, ...], blocks: Any,
        members: Sequence[RecordedMarket],
    ) -> None:
        if self._dry_run:
            check_tape(Tape(np.concatenate(list(blocks))), markets)
            return
        facts = session_facts(self._format, members)
        self._background.write(path, name, markets, blocks, facts=facts)

    def _report(self, path: Path, members: Sequence[RecordedMarket]) -> Report:
        reasons = _sum(each.reasons for each in members)
        queue = sum((each.queue for each in members), QueueCounts())
        return Report(
            session=path,
            markets=tuple(each.ticker for each in members),
            events=sum(each.events for each in members),
            read=sum(each.read for each in members),
            joined=sum(each.joined for each in members),
            unjoined=sum(each.unjoined for each in members),
            rejected=sum(reasons.values()),
            reasons=reasons,
            examples=tuple(text for each in members for text in each.examples),
            gaps=sum(each.gaps for each in members),
            left_out=_sum(each.left_out for each in members),
            counts=_counts(members),
            identified=queue.identified,
            ambiguous=queue.ambiguous,
            missing=queue.missing,
            unlisted=tuple(each.ticker for each in members if each.is_unlisted),
            written=not self._dry_run,
        )


def session_facts(format: str, members: Sequence[RecordedMarket]) -> dict[str, Any]:
    """Return what reports may say of a session; nothing that decides reads it."""
    offsets = [each.feed_offset_ns for each in members if each.feed_offset_ns is not None]
    facts: dict[str, Any] = {
        "format": format,
        "files": sorted({name for each in members for name in each.files}),
        "raw": _counts(members),
        "rejected": sum(sum(each.reasons.values()) for each in members),
        "left_out": _sum(each.left_out for each in members),
        "feed_offset_ns": min(offsets, default=None),
        "receive_times": all(each.has_receipts for each in members),
        "markets": {each.ticker: dict(each.facts) for each in members},
    }
    for each in members:
        facts.update(each.session_facts)
    return facts


NAMES_A_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_ticker(recorded: RecordedMarket) -> None:
    """Check that a ticker can name a folder. Raises TapeError."""
    if not NAMES_A_FOLDER.fullmatch(recorded.ticker):
        raise TapeError(f"{recorded.recording}: market_ticker {recorded.ticker!r} is no ticker: "
                        "expected letters, digits, '.', '_' and '-', a letter or digit first")


def _counts(members: Sequence[RecordedMarket]) -> dict[str, int]:
    return dict.fromkeys(RAW_COUNTS, 0) | _sum(each.counts for each in members)


def _sum(tables: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(total)
