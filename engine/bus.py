"""The bus of one run: the state, the buffers of the journal, and who is called when.

It drives the kernels and holds nothing that they compute: a fork is a copy of the state block and
of a list of sealed journal chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .availability import ALWAYS, words
from .compiled import INT, JIT_DISABLED, WORDS, compiled, prepare
from .delivery import delays_table, delivery_times
from .errors import CapacityError, JournalError, StrategyError
from .intrinsics import Held
from .journal import Journal
from .kernels import commands, desks, layout, loop, programs, sending
from .kernels.layout import CURSOR, JOURNAL_BASE, JOURNAL_COUNT, NOW, USER_WORDS, Capacities, Run
from .kernels.refusals import Command
from .kernels.verbs import ROWS_OF_CANCEL
from .programs import CompiledProjection
from .schema import JOURNAL_DTYPE, NO_TIME, JournalKind, Mark
from .session import Session, Tape
from .specs import Latency, Models, QueueModel, Risk

NO_STOP = 1 << 62
"""A row count that no tape has: advance without a limit in rows."""
_BUFFER_ROWS = 1024
_CAPACITY_MAX = 1_000_000
_NOTHING = np.zeros(0, np.int64)
_FORGOTTEN_ROWS = 4096
_PROGRAM_ROWS = 65_536


IN_USE = -1
"""Whoever's account is in use."""

Cause = tuple[int, int, int]
"""(CauseKind, market index, row within the market) that a command names as its cause. Plain ints:
numba takes a slow way with enums."""


class Bus:
    """State and journal of one run over a session, and the kernels that move them.

    others: (cash, limits) of accounts beside the first, which trade with it on one book. Commands
    are those of the account in use, see `use`. Raises ValueError for what only one account has.

    memory and sight are views of the venue's state and of the state that the agent sees, which is
    one of its own where it `sees_late`, and else one and the same.
    """

    __slots__ = (
        "_address",
        "_delivered",
        "_fold",
        "_held",
        "_queue",
        "keeps_journal",
        "memory",
        "projections",
        "run",
        "sealed",
        "sees_late",
        "session",
        "sight",
        "slack",
        "state",
    )

    def __init__(
        self,
        session: Session,
        *,
        cash: int,
        models: Models,
        mark: Mark = Mark.MID,
        order_capacity: int = 64,
        client_ids: int = 0,
        order_groups: int = 0,
        projections: Sequence[CompiledProjection] = (),
        others: Sequence[tuple[int, Risk]] = (),
        keeps_journal: bool = True,
    ):
        for name, value, least in (
            ("order_capacity", order_capacity, 1),
            ("client_ids", client_ids, 0),
            ("order_groups", order_groups, 0),
        ):
            if not least <= value <= _CAPACITY_MAX:
                raise ValueError(f"{name}: {value}; expected {least} to {_CAPACITY_MAX}")
        known = {market.ticker for market in session.markets}
        for ticker, _ in models.market_fees:
            if ticker not in known:
                raise ValueError(f"market_fees: {ticker!r} is no market of session {session.name}")
        if others and models.latency.delays_sight:
            raise ValueError(
                "latency: accounts that trade with each other have no feed or response delay yet"
            )
        if others and projections:
            raise ValueError(
                "projections: accounts that trade with each other have no compiled ones yet"
            )
        self.session = session
        self.keeps_journal = keeps_journal
        self.projections = tuple(projections)
        user_words = programs.FIRST_WORD + sum(one.words for one in self.projections)
        capacities = Capacities(order_capacity, client_ids, order_groups, user_words)
        risks = [risk for _, risk in others]
        self.state = layout.new_state(session.markets, models, mark, capacities, risks)
        self.memory = memoryview(self.state)  # type: ignore[arg-type]
        self.slack = self.memory[layout.SLACK]
        self._queue = _queue_function(models)
        self.sealed: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
        self._fold = combine(self.projections)
        tables = delays_table(models.latency)
        if models.fees.curve is not None:
            self.memory[layout.FEE_TABLE] = len(tables)
            tables = np.concatenate([tables, *map(np.array, models.fees.curve)])
        if models.availability != ALWAYS:
            self.memory[layout.AVAILABILITY] = len(tables)
            tables = np.concatenate([tables, np.array(words(models.availability))])
        rows = max(_BUFFER_ROWS, 4 * self.slack)
        self._take(
            Run(
                self.state,
                np.empty(rows, JOURNAL_DTYPE),
                np.empty(rows, np.int64),
                self.state,
                tables,
            )
        )
        for account, amount in enumerate((cash, *(amount for amount, _ in others))):
            self.use(account)
            loop.start(self.run, session.start, amount)
        self._delivered = _NOTHING
        self.sight = self.memory
        self.sees_late = models.latency.delays_sight
        if self.sees_late:
            self._delivered = _delivery(session, models.latency)
            self._take(self.run._replace(seen=self.state.copy()))
            self.run.seen[layout.SIGHT] = 1
            self.sight = memoryview(self.run.seen)  # type: ignore[arg-type]

    @property
    def accounts(self) -> int:
        """How many accounts there are."""
        return int(self.memory[layout.ACCOUNTS])

    def use(self, account: int) -> None:
        """Put an account to use: commands are its own, and so is what `memory` says of one."""
        if self.memory[layout.ACCOUNT] != account:
            desks.swap(self.state, account)

    def _seal(self, rows: int, forgets: bool = False) -> None:
        """Keep what was written, or forget it, and continue in a buffer with room for `rows`.

        Rows that the agent does not know of yet move along.
        """
        self.project()
        base = self.memory[JOURNAL_BASE]
        used = int(self.memory[JOURNAL_COUNT] - base)
        known = min(used, int(self.sight[JOURNAL_COUNT] - base))
        if known and not forgets:
            self.sealed += ((self.run.rows[:known], self.run.places[:known]),)
        self.memory[JOURNAL_BASE] = base + known
        run, rest = self.run, used - known
        kept = run.rows, run.places
        if not forgets or len(run.rows) < rows + rest:
            kept = np.empty(rows + rest, JOURNAL_DTYPE), np.empty(rows + rest, np.int64)
        kept[0][:rest] = run.rows[known:used]
        kept[1][:rest] = run.places[known:used]
        self._take(Run(run.state, *kept, run.seen, run.tables))

    def forget(self, read: int) -> None:
        """Let go of sealed journal rows, unless they are kept, once all below `read` were read."""
        if self.sealed and not self.keeps_journal and read >= self.memory[JOURNAL_BASE]:
            self.sealed = ()

    def restart(self) -> None:
        """Forget the journal: another run begins in the same state block."""
        self.sealed = ()
        self.memory[JOURNAL_BASE] = 0
        rows = self.run.rows
        if len(rows) < 4 * self.slack:
            self._take_buffer(np.empty(max(_BUFFER_ROWS, 4 * self.slack), JOURNAL_DTYPE))

    def restore(
        self, state: np.ndarray, seen: np.ndarray, rows: np.ndarray, places: np.ndarray
    ) -> None:
        """Put the run where another one stood. Its arrays are copied; seen: what its agent saw."""
        self.state[:] = state
        if self.sees_late:
            self.run.seen[:] = seen
        self.sealed = ()
        self.memory[JOURNAL_BASE] = 0
        self._take_buffer(np.empty(len(rows) + _BUFFER_ROWS, JOURNAL_DTYPE))
        self.run.rows[: len(rows)] = rows
        self.run.places[: len(rows)] = places

    def _take_buffer(self, rows: np.ndarray) -> None:
        self._take(self.run._replace(rows=rows, places=np.empty(len(rows), np.int64)))

    def _take(self, run: Run) -> None:
        """Go on with other arrays."""
        self.run = run
        self._address = 0

    def _hold(self) -> int:
        """Return where run and tape lie for kernels, until other arrays are taken."""
        self._held = Held(loop.PLAYED, (self.run, self.session.tape.rows))
        self._address = self._held.address
        return self._address

    def command_error(self) -> Exception:
        """Return what a compiled command did wrong, and clear it."""
        error, self.memory[layout.ERROR] = self.memory[layout.ERROR], layout.ERROR_NONE
        return _strategy_error(error, self.memory[layout.ORDER_CAPACITY])

    def reserve(self, rows: int) -> None:
        """Make sure that the journal buffer has room for so many rows."""
        used = self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE]
        if used + rows > len(self.run.rows):
            grown = 2 * len(self.run.rows) if self.keeps_journal else 0
            self._seal(max(_BUFFER_ROWS, 4 * rows, grown))

    def advance(self, limit: int = NO_TIME, stop: int = NO_STOP) -> int:
        """Fold bursts up to a time and a row; return loop.REACHED or loop.WATCHED.

        What the agent sees stays as it was: see `follow`.
        """
        slack = self.slack
        while True:
            if self._queue is None:
                status: int = loop.advance(self._address or self._hold(), limit, stop, slack)
            else:
                tape = self.session.tape.rows
                status = loop.advance_with(self.run, tape, limit, stop, slack, self._queue)
            if status != loop.FULL:
                return status
            self.reserve(slack)

    def follow(self) -> None:
        """Show the agent what has been delivered to it, and what it knows of, by now."""
        if not self.sees_late:
            return
        tape, now = self.session.tape.rows, self.memory[NOW]
        if self._queue is None:
            loop.follow(self.run, tape, self._delivered, now)
        else:
            loop.follow_with(self.run, tape, self._delivered, now, self._queue)

    def next_news(self) -> int:
        """Return when the agent is next shown something of what has happened or stands on the
        tape; NO_TIME if never."""
        cursor = self.sight[CURSOR]
        delivery = NO_TIME
        if cursor < len(self.session.tape):
            delivery = int(self._delivered[cursor])
        return min(delivery, int(loop.next_known(self.run)))

    def delivered(self, first: int, stop: int) -> np.ndarray:
        """Return when tape rows from `first` up to `stop` reach the agent, ns."""
        return self._delivered[first:stop]

    def known(self, first: int, stop: int, before: int) -> np.ndarray:
        """Return when the agent knows of journal rows from `first` up to `stop`, ns, if it knew of
        the one before them at `before`."""
        rows = np.array([self.row(number) for number in range(first, stop)], JOURNAL_DTYPE)
        times = np.empty(len(rows), np.int64)
        loop.known_times(self.run, rows, first, before, times)
        return times

    def happen_until(self, ts: int, number: int) -> None:
        """Let happen what is due by `ts` (expiries, arrivals, restorations) until the journal has
        `number` rows: where a replayed request answered something of its own time."""
        memory = self.memory
        while memory[JOURNAL_COUNT] < number and memory[layout.DUE] <= ts:
            self.reserve(self.slack)
            commands.next_due(self.run)

    def submit(self, command: Sequence[int], account: int = IN_USE) -> int:
        """Submit an order; return its number. command: values of a Command; account: whose it is.

        Raises CapacityError if there is no room for it.
        """
        number = sending.submit(self._address or self._hold(), account, *command)
        return number or self._unsent(sending.submit, command, account)

    def amend(self, command: Sequence[int], account: int = IN_USE) -> None:
        """Amend an order that was submitted before. Raises StrategyError if it never was."""
        self._sent(sending.amend, command, account)

    def decrease(self, command: Sequence[int], account: int = IN_USE) -> None:
        """Decrease an order that was submitted before. Raises StrategyError if it never was."""
        self._sent(sending.decrease, command, account)

    def cancel(self, command: Sequence[int], account: int = IN_USE) -> None:
        """Cancel an order that was submitted before. Raises StrategyError if it never was."""
        self._sent(sending.cancel, command, account)

    def cancel_all(self, market: int, cause: Cause, account: int = IN_USE) -> None:
        """Cancel every order of a market that is open or on its way."""
        self._sent(sending.cancel_all, (market, *cause), account)

    def _sent(self, send: Callable[..., int], command: Sequence[int], account: int) -> int:
        """Send a command by a kernel of `sending`, and return what that returns."""
        return send(self._address or self._hold(), account, *command) or self._unsent(
            send, command, account
        )

    def _unsent(self, send: Callable[..., int], command: Sequence[int], account: int) -> int:
        """Send what could not be sent for want of room in the journal buffer; raise what else was
        wrong with it."""
        memory = self.memory
        error, memory[layout.ERROR] = memory[layout.ERROR], layout.ERROR_NONE
        if error == layout.ERROR_BUFFER:
            self.reserve(self.slack + ROWS_OF_CANCEL * self.sight[layout.FLIGHT_COUNT])
            return self._sent(send, command, account)
        ticker = self.session.markets[command[0]].ticker
        if error == layout.ERROR_SLOTS:
            raise CapacityError(
                f"market {ticker}: all order slots are taken ({memory[layout.ORDER_CAPACITY]}); "
                "raise order_capacity"
            )
        if error == layout.ERROR_FLIGHTS:
            raise CapacityError(
                f"{memory[layout.FLIGHT_CAPACITY]} commands are in flight; raise order_capacity"
            )
        if error == layout.ERROR_CLIENTS:
            raise CapacityError(
                f"client_id {Command(*command).client_id}: {memory[layout.CLIENT_CAPACITY]} "
                "are used already; raise client_ids"
            )
        raise StrategyError(f"order {command[1]} of {ticker} was never submitted")

    def set_group(self, group: int, limit: int, cause: Cause) -> None:
        """Create or reset an order group. Raises CapacityError for a number too high."""
        if not 0 < group <= self.memory[layout.GROUP_CAPACITY]:
            raise CapacityError(
                f"group {group}: expected 1 to {self.memory[layout.GROUP_CAPACITY]}; "
                "raise order_groups"
            )
        self.reserve(self.slack)
        commands.set_group(self.run, group, limit, cause)

    def kill(self, on: bool, cause: Cause) -> None:
        """Turn the kill switch."""
        self.reserve(self.slack)
        commands.set_kill(self.run, int(on), cause)

    def send_again(self, row: np.void) -> None:
        """Send a request that a journal holds, to arrive when it did."""
        self.follow()
        self.use(int(row["account"]))
        kind = JournalKind(row["kind"])
        self.memory[layout.ARRIVES] = int(row["arrives"])
        try:
            self._send_row(kind, row)
        finally:
            self.memory[layout.ARRIVES] = 0

    def _send_row(self, kind: JournalKind, row: np.void) -> None:
        values = {name: int(row[name]) for name in Command._fields}
        if kind is JournalKind.SUBMITTED:
            self.submit(Command(**values | {"order": 0}))
        elif kind is JournalKind.AMEND_REQUESTED:
            self.amend(Command(**values))
        elif kind is JournalKind.DECREASE_REQUESTED:
            self.decrease(Command(**values))
        elif kind is JournalKind.CANCEL_REQUESTED:
            self.cancel(Command(**values))
        else:
            cause = int(row["cause_kind"]), int(row["cause_market"]), int(row["cause_row"])
            if kind is JournalKind.GROUP_SET:
                self.set_group(int(row["group"]), int(row["qty"]), cause)
            else:
                self.kill(bool(row["qty"]), cause)

    @property
    def in_batch(self) -> bool:
        """Whether a batch has begun and not ended."""
        return self.memory[layout.BATCH] != 0

    def begin_batch(self) -> None:
        """Let the requests from here to `end_batch` travel together."""
        self.memory[layout.BATCH] = layout.BATCH_BEGUN

    def end_batch(self) -> None:
        """End a batch."""
        self.memory[layout.BATCH] = 0

    def play(
        self,
        decide: Callable[..., None],
        words: np.ndarray,
        every: int,
        progress: Callable[[int, int], None] | None = None,
        reads_later: bool = False,
    ) -> None:
        """Run a compiled strategy from here to the end of the tape, inside the fused loop.

        reads_later: somebody reads the journal rows behind it, so they are kept till then.
        Raises CapacityError or StrategyError for what the strategy did wrong.
        """
        session = self.session
        prepare(decide, loop.RUN, WORDS)
        forgets = not (self.keeps_journal or reads_later)
        plan = programs.Plan(
            session.start,
            every,
            session.end,
            self.slack,
            int(bool(self.projections)),
            int(self.sees_late),
            int(forgets and progress is None),
        )
        watch = 0 if every or self.sees_late else programs.BOOK_CHANGES
        self.memory[layout.WATCH] = watch
        room = (programs.DECISION_ROOM + 1) * self.slack
        while True:
            used = self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE]
            if used + room > len(self.run.rows):
                self._seal(max(_FORGOTTEN_ROWS if forgets else _PROGRAM_ROWS, 2 * room), forgets)
            sources = self.run, session.tape.rows, self._delivered
            if self._queue is None:
                status = programs.play(*sources, plan, words, decide, self._fold)
            else:
                user = decide, self._fold, self._queue
                status = programs.play_with(*sources, plan, words, *user)
            if progress is not None:
                progress(self.memory[CURSOR], len(session.tape))
            if status == programs.FAILED:
                raise self.command_error()
            if status == loop.REACHED:
                self.memory[layout.WATCH] = 0
                return

    def project(self) -> None:
        """Bring the user's compiled projections up to the present."""
        if self.projections:
            programs.project(self.run, self.session.tape.rows, self._delivered, self._fold)

    def projection_words(self, index: int) -> np.ndarray:
        """Return the words of one of the user's compiled projections, up to date, as a copy."""
        self.project()
        start = self.memory[USER_WORDS] + programs.FIRST_WORD
        start += sum(one.words for one in self.projections[:index])
        return self.state[start : start + self.projections[index].words].copy()

    def base(self, market: int) -> int:
        """Return the offset of a market's words in the state."""
        return self.memory[layout.table_offset(len(self.session.markets)) + market]

    def desk(self, market: int) -> int:
        """Return the offset of what the account in use has in a market besides its position."""
        return layout.desk_offset(len(self.session.markets), market)

    def row(self, number: int) -> np.void:
        """Return one journal row by its number."""
        offset = number - self.memory[JOURNAL_BASE]
        if offset >= 0:
            return self.run.rows[offset]
        for rows, _ in reversed(self.sealed):
            offset += len(rows)
            if offset >= 0:
                return rows[offset]
        raise IndexError(number)

    def place(self, number: int) -> int:
        """Return the place of one journal row by its number."""
        offset = number - self.memory[JOURNAL_BASE]
        if offset >= 0:
            return int(self.run.places[offset])
        for _, places in reversed(self.sealed):
            offset += len(places)
            if offset >= 0:
                return int(places[offset])
        raise IndexError(number)

    def journal(self) -> Journal:
        """Return a copy of all rows written so far. Raises TypeError if they are not kept."""
        if not self.keeps_journal:
            raise TypeError("journal: its rows are not kept; make the run with journal=True")
        used = int(self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE])
        return Journal.joined([*self.sealed, (self.run.rows[:used], self.run.places[:used])])

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
        self.sealed = ()
        self.memory[JOURNAL_BASE] = 0
        self._take(self.run._replace(rows=journal.rows.copy(), places=journal.places.copy()))
        self.follow()
        if self.sees_late:
            loop.see_own_requests(self.run)
        self._seal(max(_BUFFER_ROWS, 4 * self.slack))

    def state_bytes(self) -> bytes:
        """Return the bytes of the state without the words that say how the run is being driven,
        and as they are while the first account is in use."""
        self.project()
        self.use(0)
        return self.state[layout.DRIVER_WORDS :].tobytes()

    def rebuild(self, rows: np.ndarray, places: np.ndarray, stop: int) -> int:
        """Fold tape rows up to `stop` and the journal rows placed among them, and match nothing;
        return how many journal rows were folded."""
        tape = self.session.tape.rows
        if self._queue is None:
            return int(loop.rebuild(self.run, tape, rows, places, stop))
        writable = rows.copy(), places.copy()
        return int(loop.rebuild_with(self.run, tape, *writable, stop, self._queue))

    def fork(self) -> Bus:
        """Return an independent copy of the run as it stands; sealed rows are shared."""
        if self.memory[JOURNAL_COUNT] > self.memory[JOURNAL_BASE]:
            self._seal(0)
        run = self.run
        state = self.state.copy()
        for word in (layout.WATCH, layout.HAPPENED, layout.ARRIVES):
            state[word] = 0
        state[layout.WATCH_MARKET] = -1
        seen = run.seen.copy() if self.sees_late else state
        twin = object.__new__(Bus)
        twin.session = self.session
        twin.projections = self.projections
        twin.keeps_journal = self.keeps_journal
        twin.slack = self.slack
        twin.sealed = self.sealed
        twin._fold = self._fold
        twin._queue = self._queue
        twin._delivered = self._delivered
        twin.state = state
        twin.memory = twin.sight = memoryview(state)  # type: ignore[arg-type]
        if self.sees_late:
            twin.sight = memoryview(seen)  # type: ignore[arg-type]
        rest = self.memory[JOURNAL_COUNT] - self.memory[JOURNAL_BASE]
        twin.sees_late = self.sees_late
        twin._take(Run(state, run.rows[:rest].copy(), run.places[:rest].copy(), seen, run.tables))
        return twin


_deliveries: WeakKeyDictionary[Tape, dict[Any, np.ndarray]] = WeakKeyDictionary()


def _delivery(session: Session, latency: Latency) -> np.ndarray:
    """Return when each tape row reaches the agent; worked out once for each tape and feed."""
    known = _deliveries.setdefault(session.tape, {})
    if latency.feed not in known:
        known[latency.feed] = delivery_times(session.tape.rows, latency.feed)
    return known[latency.feed]


def _queue_function(models: Models) -> Callable[..., int] | None:
    """Return the user's own queue model, compiled. Raises StrategyError if it does not compile."""
    if models.queue.model is not QueueModel.USER:
        return None
    function = models.queue.function
    assert function is not None
    if not JIT_DISABLED:
        function = compiled(getattr(function, "py_func", function))
    prepare(function, INT, INT, INT, INT, INT, returns=INT)
    return function


def _strategy_error(error: int, order_capacity: int) -> Exception:
    if error == layout.ERROR_SLOTS:
        return CapacityError(f"{order_capacity} orders are open already; raise order_capacity")
    if error == layout.ERROR_FLIGHTS:
        return CapacityError("too many commands are in flight; raise order_capacity")
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
