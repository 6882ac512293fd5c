"""One market's messages into its tape: the fold of `book`, in blocks of bounded size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np

from foldbook.engine.queues import QueueCounts
from foldbook.engine.schema import TAPE_DTYPE

from . import book
from .messages import MessageKind

BLOCK_ROWS = 1 << 17
"""Tape rows made at a time, unless one message needs more."""
REFUSALS = {book.FALLING: "ts", book.OFF_GRID: "off_grid", book.BAD_VALUE: "value"}
"""Why a message that decodes is refused all the same."""
LEFT_OUT = {
    book.UNANCHORED: "unanchored",
    book.IN_GAP: "in_gap",
    book.AFTER_CLOSE: "after_close",
    book.UNCHANGED: "unchanged",
    book.IMPOSSIBLE: "impossible",
    book.NO_PAYOUT: "no_payout",
}
"""Why a message that is fine in itself is not on the tape."""
_NEVER = np.iinfo(np.int64)


@attrs.frozen
class Grid:
    """The price grid of a market, $0.0001: step in the centre, step at the edges, their width."""

    step: int
    edge: int = 0
    width: int = 0


def step_of(prices: Sequence[int]) -> int:
    """Return the coarsest step of a grid, $0.0001, that has all of these prices and steps.

    >>> step_of([4000, 4050]), step_of([])
    (50, 100)
    """
    common = math.gcd(*prices)
    return next(step for step in book.STEPS if common % step == 0)


class MarketFold:
    """Folds the messages of one market. Hand in whole books, and a joined trade with its change.

    grid: of the market; None finds one from the prices, cents first, and a finer GRID stands right
    before the first row that needs it.
    """

    def __init__(self, grid: Grid | None = None):
        self._state = np.zeros(book.STATE_WORDS, np.int64)
        self._state[[book.LAST_TS, book.RECV]] = _NEVER.min
        self._state[[book.TAKER, book.MAKER]] = -1
        self._state[book.OFFSET] = _NEVER.max
        self._state[book.ASK] = book.LEVELS - 1
        self._state[[book.CENTER, book.EDGE]] = book.STEPS[0]
        if grid is not None:
            self._state[book.LISTED] = 1
            self._state[book.CENTER] = grid.step
            self._state[book.EDGE] = grid.edge or grid.step
            self._state[book.WIDTH] = grid.width
        self._levels = np.zeros((2, book.LEVELS), np.int64)
        self._shown = np.zeros((2, book.LEVELS), np.int64)
        self.left_out: Counter[str] = Counter()

    def feed(
        self, messages: np.ndarray, refuse: Callable[[int, int], None]
    ) -> Iterator[np.ndarray]:
        """Yield the tape rows of these messages, in blocks that are valid until the next.

        messages: MESSAGE_DTYPE, in order of arrival. refuse: called with the index and the verdict
        of each message that is refused (a key of REFUSALS).
        """
        verdicts = np.zeros(len(messages), np.int8)
        others = np.flatnonzero(np.append(messages["kind"] != MessageKind.LEVEL, True))
        largest = int(np.diff(others, prepend=-1).max())
        rows = np.empty(max(BLOCK_ROWS, 2 * book.MARGIN + largest), TAPE_DTYPE)
        at = 0
        while at < len(messages):
            self._state[book.ROWS] = 0
            end = book.fold_rows(
                messages, at, self._state, self._levels, self._shown, rows, verdicts
            )
            for index in (at + np.flatnonzero(verdicts[at:end])).tolist():
                verdict = int(verdicts[index])
                if verdict in REFUSALS:
                    refuse(index, verdict)
                else:
                    self.left_out[LEFT_OUT[verdict]] += 1
            yield rows[: self._state[book.ROWS]]
            at = end

    def finish(self) -> np.ndarray:
        """Return the rows that the end of the recording adds."""
        rows = np.empty(1, TAPE_DTYPE)
        self._state[book.ROWS] = 0
        book.finish(self._state, self._levels, rows)
        return rows[: self._state[book.ROWS]]

    @property
    def joined(self) -> int:
        """Trades joined to their decrease so far."""
        return int(self._state[book.JOINED])

    @property
    def unjoined(self) -> int:
        """Trades without a decrease so far."""
        return int(self._state[book.UNJOINED])

    @property
    def tick(self) -> int:
        """The finest step that the market has used."""
        return step_of([int(self._state[word]) for word in (book.COMMON, book.CENTER, book.EDGE)])

    @property
    def feed_offset(self) -> int | None:
        """The smallest receive minus exchange time so far, ns; None before a change or trade."""
        offset = int(self._state[book.OFFSET])
        return None if offset == _NEVER.max else offset

    @property
    def places(self) -> QueueCounts:
        """How many decreases had their place stated by the recording, and how."""
        words = (book.JOINED, book.IDENTIFIED, book.GUESSES, book.UNKNOWN_PLACE)
        return QueueCounts(*(int(self._state[word]) for word in words))
