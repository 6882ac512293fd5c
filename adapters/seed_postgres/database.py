"""One database while it is read: its sessions, and the markets of one of them as tapes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import find_places
from foldbook.engine.specs import Market

from ..catalogue import without_password
from ..postgres.connecting import connected
from ..recordings import (
    MESSAGE_DTYPE,
    UNKNOWN,
    MarketFold,
    Progress,
    RecordedMarket,
    RefusedError,
    Rejections,
)
from ..recordings.storing import NAMES_A_FOLDER
from ..recordings.tapes import REFUSALS
from . import tables
from .book import MarketBook, Message, check_number
from .tables import Listed, Row

STATUSES = ("closed", "active")
"""Of sessions that can be read; what the recorder calls an error is refused."""
BATCH_ROWS = 4096
"""Rows folded at a time."""
SeqScope = Annotated[
    Literal["market", "session"] | None,
    "What sequence numbers count: the rows of each market, or all of the session. Default: the "
    "session if no two of its markets share a number, else each market.",
]


@contextmanager
def opened(
    url: str, keep_going: bool = False, seq_scope: SeqScope = None,
    progress: Progress | None = None,
) -> Iterator[Database]:
    """Give a database, all questions to which see one moment of it.

    Raises CatalogueError if it cannot be reached, TapeError if it is without a table or column.
    """
    if seq_scope not in (None, "market", "session"):
        raise ValueError(f"seq_scope: {seq_scope!r}, expected 'market', 'session' or None")
    with connected(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield Database(without_password(url), connection, Rejections(keep_going), seq_scope,
                       progress)


class Database:
    """A database with the three tables.

    where: its URL without a password. rejections: what was refused so far, by market.
    """

    def __init__(
        self, where: str, connection: Any, rejections: Rejections, seq_scope: str | None,
        progress: Progress | None,
    ):
        self.where = where
        self.rejections = rejections
        self._connection = connection
        self._seq_scope = seq_scope
        self._progress = progress
        tables.check_tables(connection, where)
        self.listed = tables.listed(connection)

    def name(self, listed: Listed) -> str:
        """Return how messages call a session."""
        return f"{self.where} session {listed.id}"

    def session(self, session_id: Any) -> Listed:
        """Return a session by its number. Raises TapeError if it is not there or is refused."""
        for each in self.listed:
            if each.id == session_id:
                if self.is_refused(each):
                    raise TapeError(self.rejections.take(UNKNOWN)[1][0])
                return each
        known = ", ".join(str(each.id) for each in self.listed[:20]) or "it has none"
        raise TapeError(f"{self.where}: has no session {session_id!r}: {known}")

    def is_refused(self, listed: Listed) -> bool:
        """Whether the recorder itself gave a session up. Raises TapeError unless it keeps going."""
        if listed.status not in STATUSES:
            self._refuse(listed, "status", f"status is {listed.status!r}, expected one of "
                                           f"{', '.join(STATUSES)}")
        return listed.status not in STATUSES

    def markets(self, listed: Listed) -> Iterator[RecordedMarket]:
        """Yield the markets of a session by ticker, but those that never had a snapshot."""
        shared = tables.shared_number(self._connection, listed.id)
        if shared is not None and self._seq_scope == "session":
            raise TapeError(f"{self.name(listed)}: sequence_number {shared} is in several markets, "
                            "expected one count over all of the session")
        is_one_count = shared is None and self._seq_scope != "market"
        losses = tables.holes(self._connection, listed.id) if is_one_count else []
        total = tables.count(self._connection, listed.id)
        rows = self._metered(
            tables.events(self._connection, listed.id, is_one_count=is_one_count), total
        )
        for ticker, group in itertools.groupby(rows, key=lambda row: row.ticker):
            if ticker not in listed.tickers:
                self._refuse(listed, "market", f"market_tickers is without {ticker!r}, expected "
                                               "every market that has rows")
                continue
            if not NAMES_A_FOLDER.fullmatch(ticker):
                raise TapeError(f"{self.name(listed)}: market_ticker {ticker!r} is no ticker: "
                                "expected letters, digits, '.', '_' and '-', a letter or digit "
                                "first")
            market = _Market(self.name(listed), ticker, MarketBook(losses), self.rejections)
            made = market.read(group)
            if made is not None:
                yield made

    def _metered(self, rows: Iterator[Row], total: int) -> Iterator[Row]:
        for number, row in enumerate(rows):
            if self._progress is not None and number % BATCH_ROWS == 0:
                self._progress(number, total)
            yield row
        if self._progress is not None:
            self._progress(total, total)

    def _refuse(self, listed: Listed, why: str, text: str) -> None:
        place = f"{self.where} {tables.SESSIONS}"
        self.rejections.refuse(place, listed.id, UNKNOWN, why, text)


class _Market:
    """Reads one market: rows to messages to its tape."""

    def __init__(self, session: str, ticker: str, book: MarketBook, rejections: Rejections):
        self._session = session
        self._ticker = ticker
        self._book = book
        self._rejections = rejections
        self._fold = MarketFold()

    def read(self, rows: Iterator[Row]) -> RecordedMarket | None:
        """Return the market, or None if no row of a tape comes of it."""
        tape: list[np.ndarray] = []
        read = 0
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            taken = [each for number, row in enumerate(batch, start=read + 1)
                     for each in self._take(row, number)]
            read += len(batch)
            tape += map(np.array, self._fold.feed(np.array(taken, MESSAGE_DTYPE),
                                                  self._refuse_folded(batch, read - len(batch))))
        tape.append(self._fold.finish())
        events = np.concatenate(tape)
        reasons, examples = self._rejections.take(self._ticker)
        if not len(events):
            self._rejections.put(UNKNOWN, reasons, examples)
            return None
        return self._recorded(events, read, reasons, examples)

    def _take(self, row: Row, number: int) -> Sequence[Message]:
        """Return the messages of a row. A refused one costs the trust in the book."""
        taken: list[Message] = []
        try:
            self._book.begin(row, number)
            try:
                check_number(row)
            except RefusedError as error:
                self._refuse(row, number, error)
                taken += self._book.lose()
                if not row.is_snapshot:
                    return taken
            taken += self._book.take(row)
        except RefusedError as error:
            self._refuse(row, number, error)
            taken += self._book.lose()
        return taken

    def _refuse(self, row: Row, number: int, error: RefusedError) -> None:
        self._rejections.refuse(
            f"{self._session} {row.table} {self._ticker}", number, self._ticker, error.why,
            f"timestamp_ms {row.timestamp_ms}, sequence_number {row.number}: {error}",
        )

    def _refuse_folded(self, batch: Sequence[Row], before: int) -> Callable[[int, int], None]:
        def refuse(index: int, verdict: int) -> None:
            raise AssertionError(f"{self._session} {self._ticker}: message {index} of rows "
                                 f"{before + 1} to {before + len(batch)}: {REFUSALS[verdict]}")

        return refuse

    def _recorded(
        self, events: np.ndarray, read: int, reasons: Any, examples: list[str]
    ) -> RecordedMarket:
        market = Market(self._ticker, self._fold.tick)
        places = find_places(events, (market,))
        facts = {"first_ts": int(events["ts"][0]), "joined": 0, "unjoined": 0}
        return RecordedMarket(
            market, places.written_to(events), self._session, (), read,
            counts={"snapshots": self._book.snapshots, "deltas": self._book.deltas, "trades": 0},
            reasons=reasons, examples=examples,
            left_out=dict(self._fold.left_out + self._book.left_out),
            queue=places.counts, facts=facts, has_receipts=False,
        )
