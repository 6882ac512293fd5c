"""The bus of one run: the state, the buffers of the journal, and who is called when.

It drives the kernels and holds nothing that they compute: a fork is a copy of the state block and
of a list of sealed journal chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .compiled import WORDS, compiled, prepare
from .errors import CapacityError, JournalError, StrategyError
from .journal import Journal
from .kernels import layout, loop, matching, programs
from .kernels.layout import CURSOR, JOURNAL_BASE, JOURNAL_COUNT, NOW, USER_WORDS, Run
from .kernels.matching import Command
from .programs import CompiledProjection
from .schema import JOURNAL_DTYPE, NO_TIME, Mark
from .session import Session
from .specs import FeeSchedule

NO_STOP = 1 << 62
"""A row count that no tape has: advance without a limit in rows."""
_BUFFER_ROWS = 1024
_PROGRAM_ROWS = 65_536


class Bus:
    """State and journal of one run over a session, and the kernels that move them."""

    __slots__ = ("_fold", "_sealed", "memory", "projections", "run", "session", "slack", "state")

    def __init__(
        self,
        session: Session,
        *,
        cash: int,
        fees: FeeSchedule,
        mark: Mark,
        order_capacity: int,
        projections: Sequence[CompiledProjection] = (),
    ):
        if order_capacity < 1:
            raise ValueError(f"order_capacity: {order_capacity}; expected at least 1")
        self.session = session
        self.projections = tuple(projections)
        user_words = programs.FIRST_WORD + sum(one.words for one in self.projections)
        self.state = layout.new_state(
            session.markets,
            fees=fees,
            mark=mark,
            order_capacity=order_capacity,
            user_words=user_words,
        )
        self.memory = memoryview(self.state)  # type: ignore[arg-type]
        self.slack = layout.slack(session.markets, order_capacity)
        self._sealed: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
        self._fold = combine(self.projections)
        self._renew(max(_BUFFER_ROWS, 4 * self.slack))
        loop.start(self.run, session.start, cash)

    def _renew(self, rows: int) -> None:
        self.run = Run(self.state, np.empty(rows, JOURNAL_DTYPE), np.empty(rows, np.int64))

    def _seal(self, rows: int) -> None:
        """Keep what was written and continue in a buffer with room for `rows`."""
        self.project()
        used = int(self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE])
        if used:
            self._sealed += ((self.run.rows[:used], self.run.places[:used]),)
        self.memory[JOURNAL_BASE] = self.memory[JOURNAL_COUNT]
        self._renew(rows)

    def reserve(self, rows: int) -> None:
        """Make sure that the journal buffer has room for so many rows."""
        used = self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE]
        if used + rows > len(self.run.rows):
            self._seal(max(_BUFFER_ROWS, 4 * rows, 2 * len(self.run.rows)))

    def advance(self, limit: int = NO_TIME, stop: int = NO_STOP) -> int:
        """Fold bursts up to a time and a row; return loop.REACHED or loop.WATCHED."""
        slack = self.slack
        while True:
            self.reserve(slack)
            status: int = loop.advance(self.run, self.session.tape.rows, limit, stop, slack)
            if status != loop.FULL:
                return status

    def expire(self, ts: int, number: int) -> None:
        """Expire orders due at `ts` until the journal has `number` rows: where a replayed request
        answered an expiry of its own time."""
        memory = self.memory
        while memory[JOURNAL_COUNT] < number and memory[layout.DUE] <= ts:
            self.reserve(self.slack)
            matching.expire_next(self.run)

    def submit(self, command: Command) -> int:
        """Submit an order; return its number. Raises CapacityError if no order slot is free."""
        self.reserve(self.slack)
        base = self.base(command.market)
        if self.memory[base + layout.FREE] == 0:
            raise CapacityError(
                f"market {self.session.markets[command.market].ticker}: all order slots are "
                f"taken ({self.memory[layout.ORDER_CAPACITY]}); raise order_capacity"
            )
        return int(matching.submit(self.run, command))

    def amend(self, command: Command) -> None:
        """Amend an order that was submitted before. Raises StrategyError if it never was."""
        self._check_issued(command)
        self.reserve(self.slack)
        matching.amend(self.run, command)

    def cancel(self, command: Command) -> None:
        """Cancel an order that was submitted before. Raises StrategyError if it never was."""
        self._check_issued(command)
        self.reserve(self.slack)
        matching.cancel(self.run, command)

    def _check_issued(self, command: Command) -> None:
        if not 0 < command.order <= self.memory[self.base(command.market) + layout.NUMBERS]:
            ticker = self.session.markets[command.market].ticker
            raise StrategyError(f"order {command.order} of {ticker} was never submitted")

    def play(
        self,
        decide: Callable[..., None],
        words: np.ndarray,
        every: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Run a compiled strategy from here to the end of the tape, inside the fused loop.

        Raises CapacityError or StrategyError for what the strategy did wrong.
        """
        session = self.session
        prepare(decide, programs.RUN, WORDS)
        plan = programs.Plan(
            session.start, every, session.end, self.slack, 1 if self.projections else 0
        )
        self.memory[layout.WATCH] = 0 if every else programs.BOOK_CHANGES
        room = (programs.DECISION_ROOM + 1) * self.slack
        while True:
            used = self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE]
            if used + room > len(self.run.rows):
                self._seal(max(_PROGRAM_ROWS, 2 * room))
            status = programs.play(self.run, session.tape.rows, plan, words, decide, self._fold)
            if progress is not None:
                progress(self.memory[CURSOR], len(session.tape))
            if status == programs.FAILED:
                raise _strategy_error(self.memory[layout.ERROR], self.memory[layout.ORDER_CAPACITY])
            if status == loop.REACHED:
                self.memory[layout.WATCH] = 0
                return

    def project(self) -> None:
        """Bring the user's compiled projections up to the present."""
        if self.projections:
            programs.project(self.run, self.session.tape.rows, self._fold)

    def projection_words(self, index: int) -> np.ndarray:
        """Return the words of one of the user's compiled projections, up to date, as a copy."""
        self.project()
        start = self.memory[USER_WORDS] + programs.FIRST_WORD
        start += sum(one.words for one in self.projections[:index])
        return self.state[start : start + self.projections[index].words].copy()

    def base(self, market: int) -> int:
        """Return the offset of a market's words in the state."""
        return self.memory[layout.table_offset(len(self.session.markets)) + market]

    def row(self, number: int) -> np.void:
        """Return one journal row by its number."""
        offset = number - self.memory[JOURNAL_BASE]
        if offset >= 0:
            return self.run.rows[offset]
        for rows, _ in reversed(self._sealed):
            offset += len(rows)
            if offset >= 0:
                return rows[offset]
        raise IndexError(number)

    def place(self, number: int) -> int:
        """Return the place of one journal row by its number."""
        offset = number - self.memory[JOURNAL_BASE]
        if offset >= 0:
            return int(self.run.places[offset])
        for _, places in reversed(self._sealed):
            offset += len(places)
            if offset >= 0:
                return int(places[offset])
        raise IndexError(number)

    def journal(self) -> Journal:
        """Return a copy of all rows written so far."""
        used = int(self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE])
        return Journal.joined([*self._sealed, (self.run.rows[:used], self.run.places[:used])])

    def adopt(self, journal: Journal, now: int) -> None:
        """Take over a journal that the state has been rebuilt from, and the time it ended at.

        Raises JournalError if not all of its rows could be folded.
        """
        if self.memory[JOURNAL_COUNT] != len(journal):
            raise JournalError(
                f"journal row {self.memory[JOURNAL_COUNT]}: its place is out of order, "
                "or behind the rows that the run applied"
            )
        self.memory[NOW] = max(self.memory[NOW], now)
        self._sealed = ()
        self.memory[JOURNAL_BASE] = 0
        self.run = Run(self.state, journal.rows.copy(), journal.places.copy())
        self._seal(len(journal.rows))

    def state_bytes(self) -> bytes:
        """Return the bytes of the state without the words that say how the run is being driven."""
        self.project()
        return self.state[layout.DRIVER_WORDS :].tobytes()

    def fork(self) -> Bus:
        """Return an independent copy of the run as it stands; sealed rows are shared."""
        memory = self.memory
        used = memory[JOURNAL_COUNT] - memory[JOURNAL_BASE]
        if used:
            run = self.run
            self.project()
            self._sealed += ((run.rows[:used], run.places[:used]),)
            memory[JOURNAL_BASE] = memory[JOURNAL_COUNT]
            self.run = Run(self.state, run.rows[used:], run.places[used:])
        twin = object.__new__(Bus)
        twin.session = self.session
        twin.projections = self.projections
        twin.slack = self.slack
        twin.state = self.state.copy()
        twin.memory = memoryview(twin.state)  # type: ignore[arg-type]
        twin._sealed = self._sealed
        twin._fold = self._fold
        twin._renew(max(_BUFFER_ROWS, 4 * self.slack))
        return twin


def _strategy_error(error: int, order_capacity: int) -> Exception:
    if error == layout.ERROR_SLOTS:
        return CapacityError(f"{order_capacity} orders are open already; raise order_capacity")
    if error == layout.ERROR_BUFFER:
        return CapacityError("a compiled strategy filled the journal buffer in one decision")
    wrong = {
        layout.ERROR_ORDER: "an order that was never submitted",
        layout.ERROR_MARKET: "a market that the session does not have",
        layout.ERROR_TERMS: "a side, price, tif or flag that cannot be sent",
    }
    return StrategyError(f"a compiled strategy named {wrong[error]}")


@compiled
def _fold_nothing(words, tape, rows, source, i):  # type: ignore[no-untyped-def]
    pass


def combine(projections: Sequence[CompiledProjection]) -> Callable[..., None]:
    """Return one compiled function that folds events into all projections, in their order."""
    fold = _fold_nothing
    first = sum(one.words for one in projections)
    for one in reversed(projections):
        first -= one.words
        fold = _chain(one.fold, fold, first, first + one.words)
    return fold


def _chain(
    one: Callable[..., None], rest: Callable[..., None], first: int, last: int
) -> Callable[..., None]:
    @compiled
    def fold(words, tape, rows, source, i):  # type: ignore[no-untyped-def]
        one(words[first:last], tape, rows, source, i)
        rest(words, tape, rows, source, i)

    return fold
