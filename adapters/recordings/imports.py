"""One import in progress: its files, its markets, and what became of both.

An importer decodes rows to messages and hands them to its markets; folding, counting, refusing,
placing decreases in their queues and storing are done here, for every format alike.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import QueueCounts, find_places
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.specs import Market
from foldbook.engine.units import decimal_price, iso_time

from . import book
from .files import Meter, Progress
from .joining import Joiner
from .messages import MessageKind
from .reports import UNKNOWN, RefusedError, Rejections, Report
from .storing import RecordedMarket, Store
from .tapes import REFUSALS, Grid, MarketFold

_RAW = {
    "snapshots": (MessageKind.SNAPSHOT, MessageKind.BOOK),
    "deltas": (MessageKind.CHANGE, MessageKind.SET),
    "trades": (MessageKind.TRADE,),
}


class Import:
    """An import in progress. Use it in a `with`: what waits on disk is removed at the end.

    format: the importer's name. to: folder of the sessions. files: all that will be read; messages
    index them. group, keep_going, dry_run, progress: as every importer takes them (`options`).
    """

    def __init__(
        self, format: str, to: Path, files: Sequence[Path], *, group: bool = False,
        keep_going: bool = False, dry_run: bool = False, progress: Progress | None = None,
    ):
        self.files = tuple(files)
        self.rejections = Rejections(keep_going)
        self.meter = Meter(progress, files)
        self.facts: dict[str, Any] = {}
        """Facts of each session that is made from here on, beside those that all formats state."""
        to = Path(to)
        if not dry_run:
            to.mkdir(parents=True, exist_ok=True)
        self.work = Path(tempfile.mkdtemp(prefix=".import.", dir=None if dry_run else to))
        """A folder for what waits on disk."""
        self._store = Store(to, format, self.work, group=group, dry_run=dry_run)
        self._numbers = 0

    def __enter__(self) -> Import:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._store.__exit__(kind, error, trace)
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def market(self, ticker: str, recording: str, *, grid: Grid | None = None, event: str = "",
               joins_trades: bool = False) -> ImportedMarket:
        """Begin a market.

        grid: None finds one from the prices. event: see `Market.event`. joins_trades: find for each
        trade what it took from the book, among what has its ts (`joining`); else the messages say.
        """
        self._numbers += 1
        path = self.work / f"{self._numbers}.rows"
        joiner = Joiner() if joins_trades else None
        return ImportedMarket(self, ticker, recording, path, MarketFold(grid), event, joiner)

    def store(self, recorded: RecordedMarket) -> None:
        """Store a market that is complete."""
        self._store.add(recorded)

    def reports(self) -> list[Report]:
        """Return the reports once every market is finished. Raises TapeError if there is none.

        Rows that were refused and belong to none that is stored are counted with the first session.
        """
        reports = self._store.reports()
        if not reports:
            names = ", ".join(map(str, self.files))
            raise TapeError(f"{names}: holds no market with a snapshot of its book or a trade")
        for ticker in list(self.rejections.reasons):
            if ticker != UNKNOWN:
                self.rejections.put(UNKNOWN, *self.rejections.take(ticker))
        reasons, examples = self.rejections.take(UNKNOWN)
        if reasons:
            first = reports[0]
            total = Counter(first.reasons) + reasons
            reports[0] = attrs.evolve(first, reasons=dict(total), rejected=total.total(),
                                      examples=(*examples, *first.examples))
        return reports


class ImportedMarket:
    """One market of an import: takes messages in order of arrival, keeps its tape on disk.

    counts: raw messages by kind, and what else the importer counts. facts, is_unlisted: see
    RecordedMarket. has_receipts: set it to False where recv is made of ts. is_counting: rows and
    raw messages are counted from the messages handed in, each row of a file once where its messages
    stand together (row 0 never); an importer for which that is not so sets it to False, and counts.
    read: rows read; one that knows better than the count sets it at the end.
    """

    def __init__(self, owner: Import, ticker: str, recording: str, path: Path, fold: MarketFold,
                 event: str, joiner: Joiner | None):
        self.ticker = ticker
        self.facts: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.has_receipts = True
        self.is_unlisted = False
        self.is_counting = True
        self.read = 0
        self._owner = owner
        self._recording = recording
        self._path = path
        self._fold = fold
        self._event = event
        self._joiner = joiner
        self._files: set[int] = set()
        self._last = (-1, -1)
        self._rows = 0
        self._first_ts: int | None = None

    def add(self, messages: np.ndarray) -> None:
        """Fold messages (MESSAGE_DTYPE). A book and its levels, and a joined trade and its change,
        must not be split. Raises TapeError for a refusal, unless the import keeps going."""
        if not len(messages):
            return
        self._count(messages)
        self._take(messages if self._joiner is None else self._joiner.feed(messages))

    def _take(self, messages: np.ndarray) -> None:
        """Fold messages, and append what comes of them to the tape."""

        def refuse(index: int, verdict: int) -> None:
            message = messages[index]
            self._owner.rejections.refuse(
                self._owner.files[int(message["file"])], int(message["row"]), self.ticker,
                REFUSALS[verdict], _refusal(messages, index, verdict),
            )

        with self._path.open("ab") as file:
            for rows in self._fold.feed(messages, refuse):
                if self._first_ts is None and len(rows):
                    self._first_ts = int(rows["ts"][0])
                self._rows += len(rows)
                rows.tofile(file)

    def refuse(self, file: int, row: int, error: RefusedError) -> None:
        """Count a row that could not be decoded. Raises TapeError unless the import keeps going."""
        self.read += (file, row) != self._last or not self.is_counting
        self._last = (file, row)
        self._owner.rejections.refuse(self._owner.files[file], row, self.ticker, error.why,
                                      str(error))

    def finish(self, *, has_places: bool = False) -> None:
        """End the tape and store it, if it has a row.

        has_places: the messages state in `ahead` where each decrease stood; else the queues are
        rebuilt by the rules of `engine.queues`.
        """
        if self._joiner is not None:
            self._take(self._joiner.finish())
        with self._path.open("ab") as file:
            rest = self._fold.finish()
            rest.tofile(file)
        self._rows += len(rest)
        if not self._rows:
            self._path.unlink()
            return
        reasons, examples = self._owner.rejections.take(self.ticker)
        rows: np.ndarray = np.memmap(self._path, TAPE_DTYPE, mode="r")
        market = Market(self.ticker or "?", self._fold.tick, self._event)
        queue = self._fold.places
        if not has_places:
            places = find_places(rows, (market,))
            rows, queue = places.written_to(rows), places.counts
        self._owner.store(self._recorded(market, rows, queue, reasons, examples))
        self._path.unlink()

    def _recorded(
        self, market: Market, rows: np.ndarray, queue: QueueCounts, reasons: Counter[str],
        examples: list[str],
    ) -> RecordedMarket:
        fold = self._fold
        return RecordedMarket(
            market, rows, self._recording,
            tuple(self._owner.files[number].name for number in sorted(self._files)),
            self.read, fold.joined, fold.unjoined, dict(self.counts), reasons, examples,
            dict(fold.left_out + self.left_out), queue,
            {"first_ts": self._first_ts, "joined": fold.joined, "unjoined": fold.unjoined,
             "queue": attrs.asdict(queue), **self.facts},
            fold.feed_offset if self.has_receipts else None, self.has_receipts, self._owner.facts,
            self.is_unlisted,
        )

    def _count(self, messages: np.ndarray) -> None:
        """Count raw messages: what came of one row of a file is one that was read."""
        self._files.update(np.unique(messages["file"][messages["row"] > 0]).tolist())
        if not self.is_counting:
            return
        kinds = messages["kind"]
        for name, members in _RAW.items():
            self.counts[name] += int(np.isin(kinds, members).sum())
        files, rows = messages["file"], messages["row"]
        new = np.ones(len(messages), np.bool_)
        new[1:] = (files[1:] != files[:-1]) | (rows[1:] != rows[:-1])
        new[0] = (int(files[0]), int(rows[0])) != self._last
        self._last = (int(files[-1]), int(rows[-1]))
        self.read += int(np.count_nonzero(new & (rows > 0)))


def _refusal(messages: np.ndarray, at: int, verdict: int) -> str:
    """Say what is wrong with a message that decodes."""
    message = messages[at]
    kind = MessageKind(message["kind"])
    if verdict == book.FALLING:
        last = int(messages["ts"][:at].max(initial=np.iinfo(np.int64).min))
        after = f", {iso_time(last)}" if last > message["ts"] else ""
        return (f"ts is {int(message['ts'])} ns, expected no less than that of the row before of "
                f"its market{after}")
    if verdict == book.OFF_GRID and kind in (MessageKind.SNAPSHOT, MessageKind.BOOK):
        return "a price of the book is off the market's price grid"
    if verdict == book.OFF_GRID:
        price = decimal_price(int(message["price"]))
        return f"price is {price} (YES terms), expected one on the market's price grid"
    return (f"{kind.name.lower()} has price {int(message['price'])} and qty {int(message['qty'])}, "
            "expected values that can stand in a book")
