"""One run in progress over a session: the simulated gateway, and stepping, forking, subscribing."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Collection, Sequence
from typing import Protocol

import attrs
import numpy as np

from . import events
from .bus import NO_STOP, Bus
from .errors import StrategyError
from .gateway import order_flags
from .journal import Journal
from .kernels import layout, loop, matching, programs
from .kernels.layout import CURSOR, JOURNAL_COUNT, NOW, ROWS
from .kernels.matching import Command
from .programs import CompiledProjection
from .projections.book import BookView, mirror
from .projections.orders import OrdersView, market_and_number, order_id
from .projections.positions import PositionsView
from .projections.reward import RewardView
from .schema import (
    KEEP,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    Mark,
    Outcome,
    Reason,
    Side,
    TimeInForce,
)
from .session import Session
from .specs import CONSERVATIVE, ZERO_LATENCY, FeeSchedule, Latency, Queue, schedule_at
from .units import dollars

Cause = tuple[int, int, int]
"""(CauseKind, market index, row within the market) that a command names as its cause. Plain ints:
numba takes a slow way with enums."""
STARTED: Cause = (int(CauseKind.START), NO_MARKET, 0)
TIMED: Cause = (int(CauseKind.TIMER), NO_MARKET, 0)


@attrs.frozen
class NextChange:
    """See `next_change`."""

    market: str | int


def next_change(market: str | int = 0) -> NextChange:
    """Return, for `Simulation.advance`, the next change of a market's book."""
    return NextChange(market)


class Projection(Protocol):
    """A projection of the user's own in Python: state folded from the events of some kinds.

    kinds: structs of `events`, such as (Trade, Fill).
    """

    @property
    def kinds(self) -> Collection[type]:
        """The structs whose events it wants."""

    def apply(self, event: events.Event) -> None:
        """Fold one event."""


class Simulation:
    """One run over a session, moved by `advance` and told by `submit`, `amend` and `cancel`.

    cash $0.000001; fees defaults to the schedule in force at the session's start; mark is what
    positions are valued at; order_capacity is how many orders may be open in one market at once.
    Prices, quantities and times are those of `units`; markets are tickers or indices.
    """

    __slots__ = (
        "_books",
        "bus",
        "cause",
        "delivered_journal",
        "delivered_tape",
        "is_playing",
        "orders",
        "positions",
        "projections",
        "reward",
        "session",
        "tickers",
        "timers",
    )

    def __init__(
        self,
        session: Session,
        *,
        cash: int = dollars(1000),
        fees: FeeSchedule | None = None,
        latency: Latency = ZERO_LATENCY,
        queue: Queue = CONSERVATIVE,
        mark: Mark = Mark.MID,
        order_capacity: int = 64,
        projections: Sequence[CompiledProjection] = (),
    ):
        Queue.named(queue.name)
        Latency.constant(latency.order_ns)
        if cash < 0:
            raise ValueError(f"cash: {cash}; expected $0 or more, in $0.000001")
        self.session = session
        self.bus = Bus(
            session,
            cash=_integer("cash", cash),
            fees=fees or schedule_at(session.start),
            mark=Mark(mark),
            order_capacity=order_capacity,
            projections=projections,
        )
        self.cause: Cause = STARTED
        self.is_playing = False
        self.timers: list[int] = []
        self.delivered_tape = 0
        self.delivered_journal = 0
        self.projections: list[Projection] = []
        self._look()

    def _look(self) -> None:
        """Make the views of this run's own state."""
        memory = self.bus.memory
        markets = self.session.markets
        bases = [self.bus.base(index) for index in range(len(markets))]
        self.tickers = tickers = [market.ticker for market in markets]
        self._books = [BookView(memory, base) for base in bases]
        self.orders = OrdersView(memory, bases, tickers, self._market)
        self.positions = PositionsView(memory, bases, tickers, self._market)
        self.reward = RewardView(memory)

    # What a strategy may see.

    @property
    def now(self) -> int:
        """The time of the run, ns."""
        return int(self.bus.memory[NOW])

    @property
    def events(self) -> int:
        """Tape rows applied so far."""
        return int(self.bus.memory[CURSOR])

    def book(self, market: str | int = 0, outcome: Outcome = Outcome.YES) -> BookView:
        """Return the visible book of a market in the terms of an outcome."""
        view = self._books[self._market(market)]
        return view if outcome == Outcome.YES else view.of(outcome)

    # What a strategy may do.

    def submit(
        self,
        market: str | int,
        side: Side,
        price: int,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
        client_id: int | None = None,
    ) -> int:
        """Submit an order and return its id; what the venue refuses is a REJECTED event.

        Raises TypeError for a price or quantity that is not an int, StrategyError for an unknown
        market, CapacityError if order_capacity orders are open in the market.
        """
        index = self._market(market)
        flags = order_flags(post_only, reduce_only)
        terms = self._terms(side, price, qty, outcome)
        number = self.bus.submit(
            Command(
                index,
                0,
                *terms,
                int(TimeInForce(tif)),
                flags,
                _expiry(expires),
                0 if client_id is None else _integer("client_id", client_id),
                *self.cause,
            )
        )
        self.serve()
        return order_id(index, number)

    def amend(
        self,
        id: int,
        price: int | None = None,
        qty: int | None = None,
        outcome: Outcome = Outcome.YES,
    ) -> None:
        """Change the price or the total quantity (filled part included) of an order.

        outcome says in whose terms the price is. Raises StrategyError for an id never issued.
        """
        market, number = self._order(id)
        new_price = KEEP
        if price is not None:
            new_price = self._terms(Side.BUY, price, 1, outcome)[1]
        new_qty = KEEP if qty is None else _integer("qty", qty)
        self.bus.amend(self._command(market, number, new_price, new_qty))
        self.serve()

    def cancel(self, id: int) -> None:
        """Cancel an order; if it is not open any more, that is a CANCEL_REJECTED event.

        Raises StrategyError for an id never issued.
        """
        market, number = self._order(id)
        self.bus.cancel(self._command(market, number, 0, 0))
        self.serve()

    def cancel_all(self, market: str | int | None = None) -> None:
        """Cancel every open order, of one market or of all."""
        for order in self.orders.open(market if market is None else self._market(market)):
            self.cancel(order.id)

    def timer(self, ts: int) -> None:
        """Ask for `on_timer` at a time. Raises StrategyError for a time that has passed."""
        if _integer("timer", ts) < self.now:
            raise StrategyError(f"timer at {ts} is before now, {self.now}")
        bisect.insort(self.timers, ts)

    def would_reject(
        self,
        market: str | int,
        side: Side,
        price: int,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
    ) -> Reason | None:
        """Return the reason why `submit` would be refused now, or None."""
        index = self._market(market)
        flags = order_flags(post_only, reduce_only)
        terms = self._terms(side, price, qty, outcome)
        command = Command(
            index, 0, *terms, int(TimeInForce(tif)), flags, _expiry(expires), 0, 0, 0, 0
        )
        return Reason(matching.submit_refusal(self.bus.state, command)) or None

    # How a run is moved.

    def advance(
        self,
        until: int | NextChange | None = None,
        *,
        events: int | None = None,
        stop: int | None = None,
    ) -> bool:
        """Fold the tape up to a time, a change of a book, or a number of rows.

        until: ns; all rows with ts <= until are folded, and the clock stands there; or
        next_change(market): the end of the next burst that changes the market's book. events: how
        many rows, stop: up to which row; both are rounded up to the end of a burst. Without any, to
        the end of the tape. Returns whether that point was reached before the tape ended.
        """
        if self.is_playing:
            raise StrategyError("advance: a strategy cannot move the run that is played to it")
        memory = self.bus.memory
        limit, watch, market = NO_TIME, 0, -1
        if isinstance(until, NextChange):
            watch, market = programs.BOOK_CHANGES, self._market(until.market)
        elif until is not None:
            limit = _integer("until", until)
        if events is not None:
            stop = self.events + events
        memory[layout.WATCH], memory[layout.WATCH_MARKET] = watch, market
        status = self.bus.advance(limit, NO_STOP if stop is None else stop)
        memory[layout.WATCH], memory[layout.WATCH_MARKET] = 0, -1
        self.cause = self.last_burst() if limit == NO_TIME else TIMED
        self.serve()
        if watch:
            return status == loop.WATCHED
        return self.events < len(self.session.tape) or (
            self.now >= limit if stop is None else self.events >= stop
        )

    def subscribe(self, projection: Projection) -> None:
        """Hand every event of the kinds that a Python projection names to its `apply`, in order.

        It is served before control returns to the caller; a fork gets a deep copy of it.
        """
        strangers = [each for each in projection.kinds if each not in _EVENTS]
        if strangers:
            raise TypeError(f"kinds: {strangers[0]!r} is no event of foldbook.engine.events")
        if self.events:
            self.serve()
            self.delivered_journal = self.bus.memory[JOURNAL_COUNT]
            self.delivered_tape = self.events
        self.projections.append(projection)

    def projection(self, name: str) -> np.ndarray:
        """Return a copy of the int64 words of a compiled projection. Raises KeyError."""
        for index, one in enumerate(self.bus.projections):
            if one.name == name:
                return self.bus.projection_words(index)
        raise KeyError(f"no compiled projection is called {name!r}")

    def fork(self) -> Simulation:
        """Return an independent copy of the run: state, timers and Python projections."""
        twin = object.__new__(Simulation)
        twin.session = self.session
        twin.bus = self.bus.fork()
        twin.cause = self.cause
        twin.is_playing = False
        twin.timers = self.timers.copy()
        twin.delivered_tape = self.delivered_tape
        twin.delivered_journal = self.delivered_journal
        twin.projections = copy.deepcopy(self.projections) if self.projections else []
        twin._look()
        return twin

    def journal(self) -> Journal:
        """Return the journal up to now."""
        return self.bus.journal()

    def last_burst(self) -> Cause:
        """Return the last tape row as a cause."""
        cursor = self.bus.memory[CURSOR]
        if cursor == 0:
            return STARTED
        market = int(self.session.tape.rows[cursor - 1]["market"])
        return int(CauseKind.TAPE), market, self.bus.memory[self.bus.base(market) + ROWS] - 1

    def serve(self) -> None:
        """Fold into the Python projections what they have not seen, in the order of the bus."""
        if not self.projections:
            return
        bus = self.bus
        cursor, count = self.events, bus.memory[JOURNAL_COUNT]
        first, number = self.delivered_tape, self.delivered_journal
        self.delivered_tape, self.delivered_journal = cursor, count
        wanted = {kind for one in self.projections for kind in one.kinds}
        tape_kinds = [n for n, event in enumerate(events.TAPE_EVENTS) if event in wanted]
        kinds = self.session.tape.rows["kind"][first:cursor]
        for i in (np.flatnonzero(np.isin(kinds, tape_kinds)) + first).tolist():
            while number < count and bus.place(number) <= i:
                self._publish(wanted, events.JOURNAL_EVENTS, bus.row(number))
                number += 1
            self._publish(wanted, events.TAPE_EVENTS, self.session.tape.rows[i])
        for rest in range(number, count):
            self._publish(wanted, events.JOURNAL_EVENTS, bus.row(rest))

    def _publish(self, wanted: set[type], kinds: tuple[type, ...], row: np.void) -> None:
        kind = kinds[row["kind"]]
        if kind in wanted:
            event = events.from_row(row, self.tickers)
            for one in self.projections:
                if kind in one.kinds:
                    one.apply(event)

    # Helpers.

    def _market(self, market: str | int) -> int:
        try:
            return self.session.market_index(market)
        except KeyError as error:
            raise StrategyError(str(error.args[0])) from None

    def _order(self, id: int) -> tuple[int, int]:
        market, number = market_and_number(_integer("order id", id))
        if not 0 <= market < len(self.session.markets):
            raise StrategyError(f"order {id} was never submitted")
        return market, number

    def _terms(self, side: Side, price: int, qty: int, outcome: Outcome) -> tuple[int, int, int]:
        """Return (side, price, qty) in YES terms."""
        if not isinstance(side, Side) or not isinstance(outcome, Outcome):
            raise TypeError(f"side {side!r} of {outcome!r}: expected a Side and an Outcome")
        yes_side, yes_price = mirror(side, _integer("price", price), outcome)
        return int(yes_side), yes_price, _integer("qty", qty)

    def _command(self, market: int, number: int, price: int, qty: int) -> Command:
        return Command(market, number, 0, price, qty, 0, 0, NO_TIME, 0, *self.cause)


def _expiry(expires: int | None) -> int:
    return NO_TIME if expires is None else _integer("expires", expires)


def _integer(name: str, value: int) -> int:
    """Return an int. Raises TypeError for what is none, ValueError for one that no row can hold."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if abs(value) > _LIMITS.get(name, NO_TIME):
            raise ValueError(f"{name}: {value} cannot be sent; limit {_LIMITS.get(name, NO_TIME)}")
        return int(value)
    raise TypeError(f"{name}: {value!r} is a {type(value).__name__}, not an int in units")


_LIMITS = {"price": 1 << 30}
_EVENTS = {*events.TAPE_EVENTS, *events.JOURNAL_EVENTS}
